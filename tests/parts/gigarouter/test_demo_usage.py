"""Made-up usage adds up as any: made once, by key and account, through the ledger."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from cryptography.fernet import Fernet

from billing.close.pack import tables_of
from billing.close.pack_tables import Table
from billing.ledger import trial_balance, unbalanced_entries
from billing.periods import next_month
from billing.seal import seal
from gigarouter.demo_calls import MADE_UP
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
    # The log of calls has the same calls, and some that were refused, failed or given up, which cost nothing.
    [same] = build.rows(
        "SELECT count(*) AS calls, bool_and((r.account_id, r.key_id, r.model_id, r.tokens, r.cost_nano, r.at)"
        " = (u.account_id, u.key_id, u.model_id, u.tokens, u.charged_nano, u.occurred_at)) AS are_same"
        " FROM usage_events u JOIN routes r ON r.request_id = u.request_id"
        " WHERE u.occurred_at > now() - interval '29 days'"
    )
    lately = "SELECT count(*) FROM usage_events WHERE occurred_at > now() - interval '29 days'"
    assert same["are_same"]
    assert same["calls"] == build.value(lately)
    others = build.rows("SELECT outcome, sum(cost_nano) AS cost, count(*) AS n FROM routes GROUP BY 1")
    counted = {row["outcome"]: row["n"] for row in others}
    assert set(counted) == {"answered", "refused", "failed", "canceled"}
    assert not any(row["cost"] for row in others if row["outcome"] != "answered")
    assert build.value("SELECT count(*) FROM routes WHERE route ->> 'policy' <> $1", MADE_UP) == 0
    used = "SELECT count(*) FROM key_uses k WHERE used_at = (SELECT max(at) FROM routes r WHERE r.key_id = k.key_id)"
    assert build.value(used) == sum(len(account.keys) for account in ACCOUNTS)

    first = (datetime.now(UTC) - timedelta(days=DAYS, hours=1)).date().replace(day=1)

    async def books() -> tuple[int, int, list[tuple[list[Table], list[str]]]]:
        db = Database(database_url)
        try:
            await seal(db)
            async with db.transaction() as tx:
                papers = [await tables_of(tx, month) for month in (first, next_month(first))]
                return sum(line.amount for line in await trial_balance(tx)), await unbalanced_entries(tx), papers
        finally:
            await db.close()

    total, unbalanced, months = asyncio.run(books())
    assert (total, unbalanced) == (0, 0)
    for tables, faults in months:
        assert faults == []
        require_nothing_below_zero(tables)


def require_nothing_below_zero(tables: list[Table]) -> None:
    """Credit was paid for before it was used, so no month has any deferred revenue or margin below zero."""
    columns = {"deferred_revenue": "opening closing", "margin_by_model_and_provider": "revenue margin"}
    for table in (table for table in tables if table.name in columns):
        assert table.rows, table.name
        for column in columns[table.name].split():
            place = table.columns.index(column)
            assert all(Decimal(row[place]) >= 0 for row in table.rows), (table.name, column, table.rows)
