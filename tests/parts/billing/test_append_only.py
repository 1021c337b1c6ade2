"""As the product's role, nothing that was booked can be changed: every UPDATE and DELETE of money is tried."""

import asyncio

import asyncpg
import pytest

from store.ids import new_id
from store.postgres import Database
from tests.builders.billing import an_account, billing, usage_of
from tests.builders.values import a_payer

# What the role may UPDATE at all, and each of these only in one direction (tested below). The sealed sums are a copy,
# which a check compares with the postings.
ALLOWED = {
    *(("grants", "remaining_nano"), ("key_spend", "spent_nano")),
    *(("ledger_accounts", column) for column in ("posted_nano", "version")),
    *(("sealed_balances", column) for column in ("amount_nano", "postings")),
    *(("sealed_usage", column) for column in ("entries", "used_nano", "booked_nano")),
    *(("sealed_usage", column) for column in ("used_cost_nano", "booked_cost_nano")),
    ("contract_minimums", "booked_at"),
}
MONEY = (
    *("entries", "postings", "grants", "grant_uses", "ledger_accounts", "prices", "key_spend", "usage_events"),
    *("ended_calls", "ledger_archives", "posted_balances", "sealed_batches", "sealed_balances", "sealed_usage"),
    *("booked_facts", "receivables", "receivable_payments", "receivable_reminders", "provider_invoice_lines"),
    "collected_payments",
    *("contracts", "contract_terms", "contract_ends", "contract_prices", "contract_minimums"),
)
# Columns of money in other tables: what a key, a provider or a credit line may spend, what calls cost us, how much is
# given each month, at which credit a recharge began, what is proposed, and what others say, which has states. Triggers
# of the last are tried below (:func:`test_what_others_say_moves_by_its_states_alone`).
ELSEWHERE = {
    *("keys", "endpoints", "credit_lines", "grant_schedules", "recharges", "proposals"),
    *("collections", "document_requests"),
    *("provider_invoices", "differences", "undelivered_attempts"),
}
REFUSED = (
    asyncpg.InsufficientPrivilegeError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.RestrictViolationError,
)
# What customers and operators limit, and what was told of it.
LIMITS = {"key_caps", "account_caps", "budgets", "spend_alerts"}
# By weeks: what a call cost, beside how it went, to be shown and then dropped; nothing is summed from it.
LOG = "routes"
COLUMNS = """
    SELECT c.relname AS table, a.attname AS column FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY 1, 2
"""
CREDIT = "kind = 'customer_credit'"


class Role:
    """The product's role on a database where a call was charged."""

    def __init__(self, url: str) -> None:
        self.url = url

    def run(self, *statements: str) -> None:
        """All of them in one transaction, which is committed."""

        async def commit() -> None:
            db = Database(self.url)
            connection = await db.connect()
            try:
                async with connection.transaction():
                    for statement in statements:
                        await connection.execute(statement)
            finally:
                await connection.close()
                await db.close()

        asyncio.run(commit())

    def is_refused(self, *statements: str) -> bool:
        try:
            self.run(*statements)
        except REFUSED:
            return True
        return False

    def rows(self, query: str) -> list[asyncpg.Record]:
        async def fetch() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(self.url)
            try:
                return list(await connection.fetch(query))
            finally:
                await connection.close()

        return asyncio.run(fetch())


@pytest.fixture(scope="module")
def role(module_database_url: str, servers: object) -> Role:
    async def charge_one_call() -> None:
        redis_url = servers.redis_url  # type: ignore[attr-defined]
        async with billing(module_database_url, redis_url) as b:
            account = await an_account(b.db, 1_000)
            hold = await b.admit(a_payer(account), 100)
            await b.charging.charge(hold, usage_of(40))  # type: ignore[arg-type]

    asyncio.run(charge_one_call())
    return Role(module_database_url)


def money_columns(role: Role) -> list[tuple[str, str]]:
    """The columns of all money tables, months of usage included."""
    found = [(row["table"], row["column"]) for row in role.rows(COLUMNS)]
    return [(table, column) for table, column in found if table.startswith(MONEY)]


def test_every_table_with_money_is_among_them(role: Role) -> None:
    with_money = {row["table"] for row in role.rows(COLUMNS) if row["column"].endswith("_nano")}
    assert {table for table in with_money if not table.startswith((*MONEY, LOG))} <= ELSEWHERE | LIMITS


def test_every_update_of_every_column_is_refused(role: Role) -> None:
    columns = money_columns(role)
    assert len(columns) > 100
    done = {pair for pair in columns if not role.is_refused(f'UPDATE "{pair[0]}" SET "{pair[1]}" = "{pair[1]}"')}
    # That a value stays as it is may be allowed; a running balance makes a version for it, so there it is not.
    assert done == {pair for pair in ALLOWED if pair[0] != "ledger_accounts"}


@pytest.mark.parametrize("statement", ["DELETE FROM", "TRUNCATE", "DROP TABLE", "ALTER TABLE {} DISABLE TRIGGER ALL"])
def test_nothing_is_deleted_and_no_guard_is_taken_away(role: Role, statement: str) -> None:
    tables = sorted({table for table, _ in money_columns(role)})
    filled = [statement.format(table) if "{}" in statement else f"{statement} {table}" for table in tables]
    assert [command for command in filled if not role.is_refused(command)] == []


ENTRY = f"INSERT INTO entries (id, kind, source_ref) VALUES ('{new_id()}', 'correction', 'x')"

AGAIN = f"INSERT INTO entries (id, kind, source_ref) SELECT '{new_id()}',"


def postings(credit_version: str) -> str:
    return f"""
        INSERT INTO postings (entry_id, leg, ledger_account_id, amount_nano, version)
        SELECT e.id, 1, l.id, 7, {credit_version}
        FROM entries e, ledger_accounts l WHERE e.source_ref = 'x' AND l.{CREDIT}
        UNION ALL SELECT e.id, 2, l.id, -7, NULL
        FROM entries e, ledger_accounts l WHERE e.source_ref = 'x' AND l.kind = 'clearing'
    """


@pytest.mark.parametrize(
    "statements",
    [
        ("UPDATE grants SET remaining_nano = remaining_nano + 1",),
        ("UPDATE key_spend SET spent_nano = spent_nano - 1",),
        ("UPDATE key_spend SET spent_nano = 0",),
        (f"UPDATE ledger_accounts SET posted_nano = posted_nano + 7 WHERE {CREDIT}",),
        (f"UPDATE ledger_accounts SET version = version + 1 WHERE {CREDIT}",),
        (f"UPDATE ledger_accounts SET version = version - 1 WHERE {CREDIT}",),
        # A version without a posting, and with one of another amount.
        (f"UPDATE ledger_accounts SET posted_nano = posted_nano + 7, version = version + 1 WHERE {CREDIT}",),
        (
            f"UPDATE ledger_accounts SET posted_nano = posted_nano + 8, version = version + 1 WHERE {CREDIT}",
            ENTRY,
            postings("version"),
        ),
        # A fact that was booked before, by whatever kind of entry; facts are written by their entries alone.
        (f"{AGAIN} 'correction', source_ref FROM booked_facts",),
        (f"{AGAIN} 'usage', source_ref FROM booked_facts",),
        ("INSERT INTO booked_facts VALUES ('y', gen_random_uuid())",),
        # A ledger account that does not exist; a use of a grant for an entry that was booked before.
        (ENTRY, postings("version").replace("l.id,", "gen_random_uuid(),")),
        ("INSERT INTO grant_uses SELECT e.id, g.id, 1 FROM entries e, grants g",),
        # Postings that move no running balance: without a version, with one that is taken, with one that is to come.
        (ENTRY, postings("NULL::bigint")),
        (ENTRY, postings("version")),
        (ENTRY, postings("version + 1")),
        (ENTRY, postings("0")),
        # A posting of an entry that was booked before; rows that begin with money.
        (
            "INSERT INTO postings (entry_id, leg, ledger_account_id, amount_nano) SELECT id, 9,"
            " '00000000-0000-7000-8000-000000000001', 5 FROM entries",
        ),
        (
            "INSERT INTO ledger_accounts (id, kind, account_id, posted_nano)"
            " SELECT gen_random_uuid(), 'customer_credit', gen_random_uuid(), 5",
        ),
        (
            "INSERT INTO grants (id, account_id, kind, amount_nano, remaining_nano, source_ref)"
            " SELECT gen_random_uuid(), account_id, 'purchased', 10, 5, 'y' FROM grants LIMIT 1",
        ),
        ("SET session_replication_role = replica",),
    ],
)
def test_what_may_change_changes_one_way_only(role: Role, statements: tuple[str, ...]) -> None:
    assert role.is_refused(*statements)


def test_what_the_product_does_is_allowed(role: Role) -> None:
    assert not role.is_refused(
        f"UPDATE ledger_accounts SET posted_nano = posted_nano + 7, version = version + 1 WHERE {CREDIT}",
        ENTRY,
        postings("version"),
        "UPDATE key_spend SET spent_nano = spent_nano + 1",
        "UPDATE grants SET remaining_nano = remaining_nano - 1",
        "SELECT FROM grants FOR UPDATE",
    )


def test_what_others_say_moves_by_its_states_alone(role: Role) -> None:
    """An invoice keeps what it says and is settled once; a difference keeps what it is of; neither goes."""
    provider = "(SELECT id FROM providers WHERE name = 'append-only')"
    owner = [
        "INSERT INTO providers (id, name, kind) VALUES (gen_random_uuid(), 'append-only', 'sandbox')",
        f"INSERT INTO invoice_maps (provider_id, version, map, created_by) SELECT {provider}, 1, 'x', 'tests'",
        "INSERT INTO provider_invoices (id, provider_id, number, since, until, map_version, sha256, total_nano, lines,"
        f" tolerance_nano, imported_by) SELECT gen_random_uuid(), {provider}, '1', '2026-01-01', '2026-02-01', 1,"
        " sha256('x'), 5, 1, 0, 'tests'",
        "INSERT INTO differences (id, scope, kind, object, amount_nano, message)"
        " VALUES (gen_random_uuid(), 'stripe', 'not_booked', 'txn_1', 7, 'tests')",
    ]
    role.run(*owner)
    settled = "UPDATE provider_invoices SET state = 'settled', settled_at = now(), accrued_nano = {}"
    for statement in (
        "UPDATE provider_invoices SET total_nano = 6",
        "UPDATE provider_invoices SET state = 'settled'",
        "UPDATE provider_invoices SET paid_at = now()",
        "DELETE FROM provider_invoices",
        "UPDATE invoice_maps SET map = 'y'",
        "UPDATE differences SET object = 'txn_2'",
        "UPDATE differences SET resolved_at = now(), resolved_by = 'Ada'",
        "DELETE FROM differences",
        "INSERT INTO provider_invoices (id, provider_id, number, since, until, map_version, sha256, total_nano, lines,"
        f" tolerance_nano, imported_by) SELECT gen_random_uuid(), {provider}, '2', '2026-01-31', '2026-03-01', 1,"
        " sha256('y'), 5, 1, 0, 'tests'",
    ):
        assert role.is_refused(statement), statement
    role.run(settled.format(5))
    assert role.is_refused(settled.format(4))
    assert role.is_refused("UPDATE provider_invoices SET state = 'void', settled_at = NULL, accrued_nano = NULL")
