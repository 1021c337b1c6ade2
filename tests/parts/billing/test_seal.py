"""Entries are sealed in a chain: none is skipped, none comes to lie behind the seal, and a change of any shows."""

import asyncio
import hashlib
import json
import random
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text

from billing import seal as sealing
from billing.books import check_all, check_frequently
from billing.seal import FIRST_DIGEST, Verdict, seal, verify
from store.ids import new_id
from store.postgres import Database
from tests.builders.billing import an_account
from tests.builders.database import add_credit

ENTRY = "INSERT INTO entries (id, kind, source_ref, note) VALUES ($1, 'correction', $1::uuid::text, $2)"
LEGS = """
    INSERT INTO postings (entry_id, leg, ledger_account_id, amount_nano)
    VALUES ($1, 1, '00000000-0000-7000-8000-000000000001', 5), ($1, 2, '00000000-0000-7000-8000-000000000004', -5)
"""
NOTE = 'a "note", with \\ and\nlines, ü and 漢'


async def book(connection: Any) -> None:
    entry = new_id()
    await connection.execute(ENTRY, entry, NOTE)
    await connection.execute(LEGS, entry)


async def walk(db: Database) -> Verdict:
    async with db.transaction(snapshot=True) as tx:
        return await verify(tx)


async def unsealed(db: Database) -> int:
    """How many entries no batch has."""
    async with db.transaction() as tx:
        entries = await tx.scalar(
            text("SELECT (SELECT count(*) FROM entries) - coalesce(sum(entries), 0) FROM sealed_batches")
        )
    return int(entries or 0)


def test_what_is_booked_across_a_seal_is_in_the_next_one(database_url: str) -> None:
    """A transaction that began before others and booked after them, one that booked first and commits last."""

    async def story() -> None:
        db = Database(database_url)
        early, late, between = [await db.connect() for _ in range(3)]
        first, last = early.transaction(), late.transaction()
        await first.start()
        await early.fetchval("SELECT pg_current_xact_id()")
        await last.start()
        await book(late)
        async with between.transaction():
            await book(between)
        assert await seal(db) == 0, "the oldest transaction is open, and all others came after it"
        await book(early)
        await first.commit()
        assert await seal(db) == 1, "that of the second is still open"
        async with between.transaction():
            await book(between)
        await last.commit()
        assert await seal(db) == 3
        assert await unsealed(db) == 0
        found = await walk(db)
        assert (found.wrong_batch, found.batches, found.entries) == (None, 2, 4)
        for connection in (early, late, between):
            await connection.close()
        await db.close()

    asyncio.run(story())


def test_transactions_that_stay_open_across_seals_lose_nothing(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve writers that wait, roll back and use savepoints at random, two sealers beside them."""
    monkeypatch.setattr(sealing, "BATCH_ENTRIES_MAX", 7)
    chance = random.Random(12)

    async def story() -> None:
        db = Database(database_url)
        committed, writing = 0, True

        async def write() -> None:
            nonlocal committed
            connection = await db.connect()
            for _ in range(12):
                transaction = connection.transaction()
                await transaction.start()
                entries = chance.randrange(1, 4)
                for _ in range(entries):
                    await asyncio.sleep(chance.random() / 30)
                    async with connection.transaction():
                        await book(connection)
                await asyncio.sleep(chance.random() / 10)
                if chance.random() < 0.2:
                    await transaction.rollback()
                else:
                    await transaction.commit()
                    committed += entries
            await connection.close()

        async def keep_sealing() -> None:
            while writing:
                await seal(db)
                assert (await walk(db)).wrong_batch is None
                await asyncio.sleep(0.01)

        sealers = [asyncio.ensure_future(keep_sealing()) for _ in range(2)]
        await asyncio.gather(*(write() for _ in range(12)))
        writing = False
        await asyncio.gather(*sealers)
        await seal(db)
        found = await walk(db)
        assert (found.wrong_batch, found.entries, found.postings) == (None, committed, 2 * committed)
        assert found.batches > 5
        assert await unsealed(db) == 0
        assert [finding for finding in (*await check_frequently(db), *await check_all(db)) if finding.wrong] == []
        await db.close()

    asyncio.run(story())


FORGERIES = {
    "an amount": "UPDATE postings SET amount_nano = amount_nano * 2 WHERE entry_id = $1",
    "a ledger account": "UPDATE postings SET ledger_account_id = '00000000-0000-7000-8000-000000000005'"
    " WHERE entry_id = $1 AND leg = 1",
    "a note": "UPDATE entries SET note = note || ' ' WHERE id = $1",
    "a month": "UPDATE entries SET period = period - interval '1 month' WHERE id = $1",
    "a missing entry": "WITH gone AS (DELETE FROM postings WHERE entry_id = $1 RETURNING entry_id)"
    " DELETE FROM entries WHERE id IN (SELECT entry_id FROM gone)",
    "an entry behind the seal": "INSERT INTO entries (id, kind, source_ref, xact)"
    " SELECT overlay(id::text PLACING '000000000001' FROM 25)::uuid, 'correction', 'forged', xact FROM entries"
    " WHERE id = $1",
    "an entry of before": "INSERT INTO entries (id, kind, source_ref, xact)"
    " SELECT overlay(id::text PLACING '000000000001' FROM 25)::uuid, 'correction', 'forged', NULL FROM entries"
    " WHERE id = $1",
    "a digest": "UPDATE sealed_batches SET digest = sha256('x') WHERE number = 3",
    "a missing batch": "DELETE FROM sealed_batches WHERE number = 3 AND $1::uuid IS NOT NULL",
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_the_first_wrong_batch_is_named(database_url: str, monkeypatch: pytest.MonkeyPatch, forgery: str) -> None:
    """Whoever owns the database can change anything, and it shows."""
    monkeypatch.setattr(sealing, "BATCH_ENTRIES_MAX", 5)

    async def story() -> None:
        db, owner = Database(database_url), await asyncpg.connect(database_url)
        # The first two batches have entries of before there was a seal.
        await owner.execute(
            "ALTER TABLE entries ALTER COLUMN xact DROP DEFAULT; SET session_replication_role = replica"
        )
        for _ in range(10):
            async with owner.transaction():
                await book(owner)
        await owner.execute("ALTER TABLE entries ALTER COLUMN xact SET DEFAULT pg_current_xact_id()")
        await owner.execute("SET session_replication_role = origin")
        for _ in range(15):
            async with owner.transaction():
                await book(owner)
        assert await seal(db) == 25
        assert (await walk(db)).batches == 5
        third = await owner.fetchval("SELECT last_entry FROM sealed_batches WHERE number = 3")
        await owner.execute("SET session_replication_role = replica")
        statement = FORGERIES[forgery]
        await owner.execute(statement, *([third] if "$1" in statement else []))
        found = await walk(db)
        assert (found.wrong_batch, found.batches) == (3, 2), found.message
        assert found.message
        await owner.close()
        await db.close()

    asyncio.run(story())


async def book_as(connection: Any, xact: str) -> None:
    async with connection.transaction():
        entry = new_id()
        statement = f"INSERT INTO entries (id, kind, source_ref, xact) VALUES ($1, 'correction', $2, {xact})"
        await connection.execute(statement, entry, entry.hex)
        await connection.execute(LEGS, entry)


def test_an_entry_bears_its_own_transaction(database_url: str) -> None:
    async def story() -> None:
        db = Database(database_url)
        connection = await db.connect()
        for forged in ("NULL", "'1'", "(pg_current_xact_id()::text::bigint + 1)::text::xid8"):
            with pytest.raises(asyncpg.IntegrityConstraintViolationError):
                await book_as(connection, forged)
        await connection.close()
        await db.close()

    asyncio.run(story())


def test_an_auditor_computes_the_chain_with_json_and_sha256_alone(database_url: str) -> None:
    """By what docs/ledger.md says, and none of our code."""

    async def story() -> None:
        db, auditor = Database(database_url), await asyncpg.connect(database_url)
        account = await an_account(db, 1_000)
        async with db.transaction() as tx:
            await add_credit(tx, account, 5)
        async with auditor.transaction():
            await book(auditor)
        assert await seal(db) == 3
        digest = FIRST_DIGEST
        lines = ""
        for e in await auditor.fetch("SELECT * FROM entries ORDER BY xact, id"):
            legs = await auditor.fetch("SELECT * FROM postings WHERE entry_id = $1 ORDER BY leg", e["id"])
            instant = e["booked_at"].strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            owner = str(e["account_id"]) if e["account_id"] else None
            facts = [str(e["id"]), e["kind"], e["source_ref"], owner, str(e["period"]), instant, e["note"]]
            postings = [[p["leg"], str(p["ledger_account_id"]), p["amount_nano"], p["version"]] for p in legs]
            lines += json.dumps([*facts, postings], ensure_ascii=False) + "\n"
        digest = hashlib.sha256(digest + lines.encode()).digest()
        assert await auditor.fetchval("SELECT digest FROM sealed_batches") == digest
        await auditor.close()
        await db.close()

    asyncio.run(story())
