"""The ledger's tables are of months: made under traffic, ahead of time, and one gate over all of them."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from billing.books import check_all, check_frequently
from billing.errors import ChargeUnknown
from billing.reaper import reap
from billing.seal import seal
from billing.values import Hold
from gigarouter.diagnostics import CheckFailed, _months
from gigarouter.schema import migrate, migrations_folder
from store.embedded import Embedded
from store.ids import AccountId, new_id
from store.postgres import Database
from tests.builders.billing import Billing, an_account, billing, usage_of
from tests.builders.database import add_credit
from tests.builders.values import a_payer

BEFORE = "0031"
NEXT_MONTH = (datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=32)).replace(
    day=1
)
BOUNDARY = (NEXT_MONTH - timedelta(milliseconds=1), NEXT_MONTH)


@pytest.fixture
def old_url(servers: Embedded) -> Iterator[str]:
    """A database at the revision before the ledger had months."""
    name = "before_ledger_months"
    servers.postgres.query(f'CREATE DATABASE "{name}"')
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    config.attributes["database_url"] = servers.postgres.url(name)
    command.upgrade(config, BEFORE)
    yield servers.postgres.url(name)
    servers.postgres.query(f'DROP DATABASE "{name}" WITH (FORCE)')


async def rows(db: Database, query: str) -> list[tuple[object, ...]]:
    async with db.transaction() as tx:
        return [tuple(row) for row in await tx.execute(text(query))]


async def hold_of(b: Billing, account: AccountId, request_id: UUID | None = None, amount: int = 10) -> Hold:
    hold = await b.admit(a_payer(account), amount, request_id=request_id)
    assert isinstance(hold, Hold), hold
    return hold


async def wrong_in(db: Database) -> list[object]:
    await seal(db)
    return [finding for finding in (*await check_frequently(db), *await check_all(db)) if finding.wrong]


async def book_fact(connection: Any, fact: str, entry: UUID, kind: str = "correction") -> None:
    async with connection.transaction():
        statement = "INSERT INTO entries (id, kind, source_ref) VALUES ($1, $2, $3)"
        await connection.execute(statement, entry, kind, fact)
        await connection.execute(
            """INSERT INTO postings (entry_id, leg, ledger_account_id, amount_nano)
            VALUES ($1, 1, '00000000-0000-7000-8000-000000000001', 5),
                ($1, 2, '00000000-0000-7000-8000-000000000004', -5)""",
            entry,
        )


async def wait_until_blocked(db: Database, connection: Any) -> None:
    query = f"SELECT cardinality(pg_blocking_pids({connection.get_server_pid()}))"
    for _ in range(600):
        if (await rows(db, query)) != [(0,)]:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it waits for nobody")


def test_calls_go_on_while_the_ledger_is_partitioned_and_what_was_before_is_whole(old_url: str, redis_url: str) -> None:
    """Calls and grants of a release that knows no months, and readers of all tables, beside the migration."""

    async def story() -> None:
        async with billing(old_url, redis_url) as b:
            accounts = [await an_account(b.db, 10**6) for _ in range(3)]
            first = await hold_of(b, accounts[0])
            await b.charging.charge(first, usage_of(10))
            is_over, charged = False, [10]

            async def call(account: AccountId) -> None:
                while not is_over:
                    hold = await hold_of(b, account)
                    await b.charging.charge(hold, usage_of(cost := random.randrange(1, 11)))
                    charged.append(cost)

            async def give() -> None:
                while not is_over:
                    account = random.choice(accounts)
                    async with b.db.transaction() as tx:
                        await add_credit(tx, account, 5)
                        await asyncio.sleep(0.05)
                    await b.projection.refresh(account)

            async def read() -> None:
                while not is_over:
                    await seal(b.db)
                    # The checks themselves read tables of later migrations.
                    assert await rows(b.db, "SELECT coalesce(sum(amount_nano), 0) FROM postings") == [(0,)]
                    await asyncio.sleep(0.1)

            tasks = [asyncio.ensure_future(work) for work in (*map(call, accounts * 2), give(), read())]
            await asyncio.sleep(0.2)
            await asyncio.to_thread(migrate, old_url)
            before = len(charged)
            while len(charged) < before + 20 and not any(task.done() for task in tasks):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            is_over = True
            await asyncio.gather(*tasks)
            assert (b.charging.given_up, b.charging.fenced) == (0, 0)
            assert await rows(b.db, "SELECT count(*), sum(cost_nano) FROM usage_events") == [
                (len(charged), sum(charged))
            ]
            for table in ("ended_calls", "entries", "postings", "grant_uses"):
                elsewhere = f"SELECT count(*) FROM {table} WHERE tableoid <> '{table}_before'::regclass"
                assert await rows(b.db, elsewhere) == [(0,)]
            # A call of before the months that is charged again is as it ended.
            receipt = await b.charging.charge(first, usage_of(10))
            assert receipt is not None
            assert receipt.charged == 10
            assert await rows(b.db, "SELECT count(*) FROM ended_calls") == [(len(charged),)]
            for account in accounts:
                await b.projection.refresh(account)
            await b.settle()
            await b.assert_books_are_right()
            assert await wrong_in(b.db) == []

    asyncio.run(story())


def test_a_call_ends_once_at_the_boundary_of_two_months(database_url: str, redis_url: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b, billing(database_url, redis_url) as other:
            account = await an_account(b.db, 1_000)
            calls = [new_id(at) for at in BOUNDARY * 4]
            holds = [await hold_of(b, account, call) for call in calls]
            await b.make_overdue(account)
            for _ in range(2):
                charges = [b.charging.charge(hold, usage_of(10)) for hold in holds]
                reaps = [reap(db, b.projection, 60) for db in (b.db, other.db)]
                ends = await asyncio.gather(*charges, *reaps, return_exceptions=True)
                assert {type(end) for end in ends if isinstance(end, BaseException)} <= {ChargeUnknown}
            ended = await rows(b.db, "SELECT request_id, outcome, tableoid::regclass::text FROM ended_calls")
            assert sorted(str(row[0]) for row in ended) == sorted(map(str, calls))
            assert {row[2] for row in ended} == {f"ended_calls_{at:%Y%m}" for at in BOUNDARY}
            booked = await rows(b.db, "SELECT request_id FROM usage_events")
            assert sorted(booked) == sorted((row[0],) for row in ended if row[1] == "charged")
            await b.settle()
            await b.assert_books_are_right()

    asyncio.run(story())


def test_a_fact_is_booked_once_by_writers_that_meet(database_url: str) -> None:
    """The second waits for the first: refused where that commits, else booked; across months, too."""

    async def story() -> None:
        db = Database(database_url)
        first, second = [await db.connect() for _ in range(2)]
        for fact, is_committed in (("kept", True), ("undone", False)):
            transaction = first.transaction()
            await transaction.start()
            await book_fact(first, fact, new_id())
            waiting = asyncio.ensure_future(book_fact(second, fact, new_id(datetime.now(UTC) + timedelta(days=31))))
            await wait_until_blocked(db, second)
            assert not waiting.done()
            await (transaction.commit() if is_committed else transaction.rollback())
            if is_committed:
                with pytest.raises(asyncpg.UniqueViolationError, match="booked_facts_pkey"):
                    await waiting
            else:
                await waiting
        # A savepoint that is rolled back takes its fact with it; calls have no row.
        async with first.transaction():
            with suppress(ZeroDivisionError):
                async with first.transaction():
                    await book_fact(first, "again", new_id())
                    raise ZeroDivisionError
            await book_fact(first, "again", new_id())
        usage = new_id()
        await book_fact(first, f"usage:{usage}", usage, "usage")
        facts = "SELECT source_ref FROM booked_facts ORDER BY 1"
        assert await rows(db, facts) == [("again",), ("kept",), ("undone",)]
        assert await rows(db, "SELECT count(*), count(DISTINCT source_ref) FROM entries") == [(4, 4)]
        for connection in (first, second):
            await connection.close()
        await db.close()

    asyncio.run(story())


MOVE = """
    UPDATE ledger_accounts SET posted_nano = posted_nano + 5, version = version + 1
    WHERE kind = 'customer_credit' RETURNING id, version
"""


async def post_version(connection: Any, entry: UUID, account: UUID, version: int) -> None:
    """An entry of 5 to a customer's credit that claims a version."""
    statement = "INSERT INTO entries (id, kind, source_ref) VALUES ($1, 'correction', $1::uuid::text)"
    await connection.execute(statement, entry)
    await connection.execute(
        """INSERT INTO postings (entry_id, leg, ledger_account_id, amount_nano, version)
        VALUES ($1, 1, $2, 5, $3), ($1, 2, '00000000-0000-7000-8000-000000000004', -5, NULL)""",
        *(entry, account, version),
    )


def test_a_version_is_posted_once_whatever_month_its_entry_is_in(database_url: str) -> None:
    async def story() -> None:
        db = Database(database_url)
        await an_account(db, 100)
        connection, other = [await db.connect() for _ in range(2)]
        refused = pytest.raises(
            asyncpg.IntegrityConstraintViolationError, match=r"(next to be|has no posting|its version)"
        )
        # Twice by one transaction, in two months; again by a later one; one that was left out.
        for entries, ahead in ((BOUNDARY, 0), (BOUNDARY[::-1], 0), (BOUNDARY[1:], 1), ((), 0)):
            with refused:
                async with connection.transaction():
                    account, version = await connection.fetchrow(MOVE)
                    for at in entries:
                        await post_version(connection, new_id(at), account, version + ahead)
        for at in BOUNDARY:
            async with connection.transaction():
                account, version = await connection.fetchrow(MOVE)
                await post_version(connection, new_id(at), account, version)
            for claimed in (version, version - 1, version + 1):
                with refused:
                    async with connection.transaction():
                        await post_version(connection, new_id(), account, claimed)
        # The second writer gets the next version where the first commits, and the same where that is rolled back.
        for is_committed in (True, False):
            transaction = connection.transaction()
            await transaction.start()
            account, version = await connection.fetchrow(MOVE)
            await post_version(connection, new_id(BOUNDARY[0]), account, version)
            waiting = asyncio.ensure_future(move_and_post(other))
            await wait_until_blocked(db, other)
            await (transaction.commit() if is_committed else transaction.rollback())
            assert await waiting == version + is_committed
        posted = (
            "SELECT count(version), count(DISTINCT version), max(version), sum(amount_nano) FILTER (WHERE version > 0)"
        )
        ((count, distinct, newest, amount),) = await rows(db, f"{posted} FROM postings")
        assert (count, distinct, newest) == (6, 6, 6)
        balances = "SELECT l.version, p.version, posted_nano, amount_nano FROM ledger_accounts l JOIN posted_balances p"
        assert await rows(db, f"{balances} ON p.ledger_account_id = l.id") == [(6, 6, amount, amount)]
        for used in (connection, other):
            await used.close()
        await db.close()

    asyncio.run(story())


async def move_and_post(connection: Any) -> int:
    async with connection.transaction():
        account, version = await connection.fetchrow(MOVE)
        await post_version(connection, new_id(BOUNDARY[1]), account, version)
    return int(version)


@pytest.mark.parametrize("year", [1999, 2099])
def test_an_id_without_a_month_is_refused_loudly(database_url: str, redis_url: str, year: int) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await an_account(b.db, 1_000)
            stray = await hold_of(b, account, new_id(datetime(year, 1, 1, tzinfo=UTC)))
            good = await hold_of(b, account)
            with pytest.raises(ChargeUnknown, match="no partition"):
                await b.charging.charge(stray, usage_of(10))
            assert await b.charging.charge(good, usage_of(10)) is not None
            assert b.charging.given_up == 1
            assert await rows(b.db, "SELECT request_id FROM ended_calls") == [(good.id,)]

    asyncio.run(story())


def test_months_are_made_ahead_once_and_their_lack_is_told(database_url: str) -> None:
    async def story() -> None:
        db = Database(database_url)
        make = "SELECT make_ledger_months((now() AT TIME ZONE 'UTC')::date, {})"
        assert await rows(db, make.format(4)) == [(0,)], "the migration has made them"
        assert "made" in await _months(db)
        owner = Database(database_url, as_owner=True)
        async with owner.transaction() as tx:
            for table in await tx.scalars(
                text("SELECT relid::text FROM pg_partition_tree('ended_calls') WHERE isleaf")
            ):
                if not table.endswith(f"{datetime.now(UTC):%Y%m}"):
                    await tx.execute(text(f"DROP TABLE {table}"))
        with pytest.raises(CheckFailed, match="next month"):
            await _months(db)
        assert await rows(db, make.format(2)) == [(1,)]
        assert "made" in await _months(db)
        await owner.close()
        await db.close()

    asyncio.run(story())
