"""Measures the frequent checks of the books beside generated postings: ``python -m bench.books 10_000 10_000_000``.

The rows are generated as the owner of the database with its triggers off, four postings an entry over a thousand
accounts, and count as sealed but for the newest thousand entries, which is what a busy ten seconds leave unsealed.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import asyncpg

from billing.books import check_frequently
from gigarouter.schema import migrate
from store.embedded import Embedded
from store.postgres import Database

ACCOUNTS, LEGS, UNSEALED, TURNS = 1_000, 4, 1_000, 11

_ACCOUNTS = f"""
    INSERT INTO accounts (id, name) SELECT md5('a' || n)::uuid, 'account ' || n
    FROM generate_series(0, {ACCOUNTS - 1}) n;
    INSERT INTO ledger_accounts (id, kind, account_id, posted_nano, version)
    SELECT md5(kind || n)::uuid, kind, md5('a' || n)::uuid, 0, 0
    FROM generate_series(0, {ACCOUNTS - 1}) n, unnest(ARRAY['customer_credit', 'customer_overdraft']) kind;
"""
# Each entry gives an account 5 of credit. Ids sort by time, as the product's do.
_ID = "(left(first_id_at(now())::text, 14) || '7000-9000-' || lpad(to_hex(n), 12, '0'))::uuid"
_ENTRIES = f"""
    WITH numbers AS (SELECT n FROM generate_series($1::bigint, $2::bigint) n), booked AS (
        INSERT INTO entries (id, kind, source_ref, account_id, xact)
        SELECT {_ID}, 'usage', 'bench:' || n, md5('a' || n % {ACCOUNTS})::uuid, (n + 10)::text::xid8 FROM numbers
    )
    INSERT INTO postings (entry_id, leg, ledger_account_id, amount_nano, version)
    SELECT {_ID}, leg, CASE leg WHEN 1 THEN md5('customer_credit' || n % {ACCOUNTS})::uuid
        WHEN 2 THEN '00000000-0000-7000-8000-000000000001' WHEN 3 THEN '00000000-0000-7000-8000-000000000006'
        ELSE '00000000-0000-7000-8000-000000000007' END::uuid,
        CASE leg WHEN 1 THEN 5 WHEN 2 THEN -5 WHEN 3 THEN -3 ELSE 3 END, CASE leg WHEN 1 THEN n / {ACCOUNTS} + 1 END
    FROM numbers, generate_series(1, {LEGS}) leg
"""
_SEALED = f"""
    INSERT INTO sealed_balances SELECT p.ledger_account_id, sum(p.amount_nano), count(*)
    FROM postings p JOIN entries e ON e.id = p.entry_id WHERE e.xact <= ($1 - {UNSEALED} + 10)::text::xid8 GROUP BY 1;
"""
_HEAD = f"""
    INSERT INTO sealed_batches (number, last_xact, last_entry, entries, postings, digest)
    SELECT 1, xact, id, 1, 1, sha256('') FROM entries WHERE xact = ($1 - {UNSEALED} + 10)::text::xid8
"""
_BALANCES = """
    UPDATE ledger_accounts l SET posted_nano = s.amount, version = 1
    FROM (
        SELECT ledger_account_id AS id, sum(amount_nano) AS amount FROM postings WHERE version IS NOT NULL GROUP BY 1
    ) s WHERE l.id = s.id;
    INSERT INTO grants (id, account_id, kind, amount_nano, remaining_nano, source_ref)
    SELECT l.id, l.account_id, 'purchased', l.posted_nano, l.posted_nano, 'bench:' || l.id
    FROM ledger_accounts l WHERE l.kind = 'customer_credit' AND l.posted_nano > 0;
    INSERT INTO sealed_usage
    SELECT date '2020-01-01' + n * interval '1 month', 1, 1, 1, 1, 1 FROM generate_series(1, 60) n;
"""
STEP = 250_000


async def generate(url: str, postings: int) -> None:
    """Fill an empty database."""
    connection = await asyncpg.connect(url)
    await connection.execute("SET session_replication_role = replica; SET synchronous_commit = off")
    await connection.execute(_ACCOUNTS)
    last = postings // LEGS
    for first in range(1, last + 1, STEP):
        await connection.execute(_ENTRIES, first, min(last, first + STEP - 1))
    await connection.execute(_SEALED, last)
    await connection.execute(_HEAD, last)
    await connection.execute(_BALANCES)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


async def measure(url: str) -> list[float]:
    """The seconds of each turn of the checks, which find nothing wrong."""
    db, seconds = Database(url), []
    try:
        for _ in range(TURNS):
            began = time.perf_counter()
            findings = await check_frequently(db)
            seconds.append(time.perf_counter() - began)
            assert [f for f in findings if f.wrong] == [], findings
    finally:
        await db.close()
    return seconds


def main(sizes: list[str]) -> None:
    for postings in (int(size) for size in sizes or ["10_000", "10_000_000"]):
        with tempfile.TemporaryDirectory(prefix="gr-books-") as name, Embedded(Path(name) / "stores") as servers:
            migrate(servers.database_url)
            began = time.perf_counter()
            asyncio.run(generate(servers.database_url, postings))
            made_s = time.perf_counter() - began
            seconds = asyncio.run(measure(servers.database_url))
            median, worst = 1000 * statistics.median(seconds), 1000 * max(seconds)
            print(
                f"{postings:>12,} postings (made in {made_s:.0f} s): {median:.1f} ms, worst {worst:.1f} ms", flush=True
            )


if __name__ == "__main__":
    main(sys.argv[1:])
