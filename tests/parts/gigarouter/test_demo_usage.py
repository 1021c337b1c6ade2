"""Made-up usage adds up as any: made once, by key and account, through the ledger."""

import asyncio
from datetime import UTC, datetime

from cryptography.fernet import Fernet

from billing.ledger import trial_balance, unbalanced_entries
from gigarouter.demo_usage import ACCOUNTS, DAYS, PERSON, prepare_usage
from store.postgres import Database
from tests.builders.database import DatabaseBuilder


def test_a_month_of_two_accounts_is_made_once_and_is_in_the_ledger(database_url: str) -> None:
    build = DatabaseBuilder(database_url, Fernet.generate_key().decode())
    build.import_seed()
    prepare_usage(database_url)
    made = build.value("SELECT count(*) FROM usage_events")
    assert made > 1_000
    prepare_usage(database_url)
    assert build.value("SELECT count(*) FROM usage_events") == made
    roles = build.rows("SELECT role FROM members WHERE email = $1 ORDER BY role DESC", PERSON)
    assert [row["role"] for row in roles] == [account.role.value for account in ACCOUNTS]
    [span] = build.rows("SELECT min(occurred_at) AS first, max(occurred_at) AS last FROM usage_events")
    assert (span["last"] - span["first"]).days >= DAYS - 2
    assert span["last"] <= datetime.now(UTC)
    charged = build.value("SELECT sum(charged_nano) FROM usage_events")
    spent = build.value("SELECT sum(spent_nano) FROM key_spend WHERE period = 'total'")
    revenue = build.value(
        "SELECT -sum(amount_nano) FROM postings p JOIN ledger_accounts l ON l.id = p.ledger_account_id "
        "JOIN entries e ON e.id = p.entry_id WHERE l.kind = 'customer_credit' AND e.kind = 'usage'"
    )
    assert charged == spent == revenue > 0

    async def books() -> tuple[int, int]:
        db = Database(database_url)
        try:
            async with db.transaction() as tx:
                return sum(line.amount for line in await trial_balance(tx)), await unbalanced_entries(tx)
        finally:
            await db.close()

    assert asyncio.run(books()) == (0, 0)
