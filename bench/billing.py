"""Measures exports beside Postgres' own COPY of the same query: ``python -m bench.billing --events 1_000_000``.

First it compares what a charge costs now and before (:mod:`bench.charge`).

The rows are generated as the owner of the database with its triggers off: a month of calls of a thousand accounts, two
calls and four postings an entry. Rounds are interleaved; each export is a process of its own, whose peak of memory is
told with what it had before. The figures are of a machine that may be busy: compare those of one round.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import msgspec

from bench import charge
from bench.one_export import Figure
from billing.exports.formats import ExportFormat
from gigarouter.schema import migrate
from router.api.periods import month_of
from store.embedded import Embedded

ACCOUNTS, STEP = 1_000, 250_000
MONTH = month_of(datetime.now(UTC))
FORMATS = (ExportFormat.CSV, ExportFormat.CSV_GZ, ExportFormat.PARQUET)
BARS = {ExportFormat.CSV: 75, ExportFormat.CSV_GZ: 50, ExportFormat.PARQUET: 40}

_ACCOUNTS = f"""
    INSERT INTO accounts (id, name) SELECT md5('a' || n)::uuid, 'account ' || n
    FROM generate_series(0, {ACCOUNTS - 1}) n;
    INSERT INTO ledger_accounts (id, kind, account_id, posted_nano, version)
    SELECT md5(kind || n)::uuid, kind, md5('a' || n)::uuid, 0, 0
    FROM generate_series(0, {ACCOUNTS - 1}) n, unnest(ARRAY['customer_credit', 'customer_overdraft']) kind;
    INSERT INTO keys (id, account_id, name, handle, last4, digest, use, models, requests_per_minute, tokens_per_minute,
        concurrency) SELECT md5('k' || n)::uuid, md5('a' || n)::uuid, 'key ' || n, left(md5('h' || n), 8), 'abcd',
        sha256(n::text::bytea), 'commercial', '{{}}', 1, 1, 1 FROM generate_series(0, {ACCOUNTS - 1}) n;
"""
_ID = "(left(first_id_at(now())::text, 14) || '7{kind}00-9000-' || lpad(to_hex({n}), 12, '0'))::uuid"
_AT = "$3::timestamptz + {n} * interval '1 second' * $4"
_ENTRIES = f"""
    WITH numbers AS (SELECT n FROM generate_series($1::bigint, $2::bigint) n), booked AS (
        INSERT INTO entries (id, kind, source_ref, account_id, period, booked_at)
        SELECT {_ID.format(kind="e", n="n")}, 'usage', 'bench:' || n, md5('a' || n % {ACCOUNTS})::uuid,
            ($3 AT TIME ZONE 'UTC')::date, {_AT.format(n="n")} FROM numbers
    ), posted AS (
        INSERT INTO postings (entry_id, leg, ledger_account_id, amount_nano, version)
        SELECT {_ID.format(kind="e", n="n")}, leg, CASE leg WHEN 1 THEN md5('customer_credit' || n % {ACCOUNTS})::uuid
            WHEN 2 THEN '00000000-0000-7000-8000-000000000001' WHEN 3 THEN '00000000-0000-7000-8000-000000000006'
            ELSE '00000000-0000-7000-8000-000000000007' END::uuid,
            CASE leg WHEN 1 THEN -2468 WHEN 2 THEN 2468 WHEN 3 THEN -1000 ELSE 1000 END,
            CASE leg WHEN 1 THEN n / {ACCOUNTS} + 1 END
        FROM numbers, generate_series(1, 4) leg
    )
    INSERT INTO usage_events (request_id, occurred_at, account_id, key_id, model_id, provider_id, endpoint_id, space,
        inputs, tokens, price_id, nano_per_mtok, cost_nano, charged_nano, overdraft_nano, promotional_nano,
        goodwill_nano, held_nano, provider_cost_nano, entry_id, latency_ms, attempts)
    SELECT {_ID.format(kind="f", n="2 * n + call")}, {_AT.format(n="n")}, md5('a' || n % {ACCOUNTS})::uuid,
        md5('k' || n % {ACCOUNTS})::uuid, 'bench/model', md5('p')::uuid, md5('ep')::uuid, 'space', 1, 1234,
        md5('pr')::uuid, 1000000, 1234, 1234, 0, 0, 0, 2000, 500, {_ID.format(kind="e", n="n")}, 20, 1
    FROM numbers, generate_series(0, 1) call
"""


async def generate(url: str, events: int) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("SET session_replication_role = replica; SET synchronous_commit = off")
    await connection.execute(_ACCOUNTS)
    entries = events // 2
    spread_s = (datetime.now(UTC) - MONTH.since - timedelta(hours=3)).total_seconds() / max(entries, 1)
    for first in range(1, entries + 1, STEP):
        await connection.execute(_ENTRIES, first, min(entries, first + STEP - 1), MONTH.since, spread_s)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


def child(url: str, folder: Path, what: str | None) -> Figure:
    """One export in a process of its own, or psql's COPY."""
    span = (MONTH.since.isoformat(), MONTH.until.isoformat())
    module = "bench.one_copy" if what is None else "bench.one_export"
    command = [sys.executable, "-m", module, url, str(folder), *span, *([] if what is None else [what])]
    done = subprocess.run(command, check=True, capture_output=True)
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Figure)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--events", type=lambda text: int(text.replace("_", "")), default=1_000_000)
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    charge.main(given.rounds * 5)
    with tempfile.TemporaryDirectory(prefix="gr-billing-") as name, Embedded(Path(name) / "stores") as servers:
        migrate(servers.database_url)
        began = time.perf_counter()
        asyncio.run(generate(servers.database_url, given.events))
        say(f"{given.events:,} events, {given.events * 2:,} postings, made in {time.perf_counter() - began:.0f} s")
        for _ in range(given.rounds):
            bare = child(servers.database_url, Path(name), None)
            tell("COPY", bare)
            for format in FORMATS:
                figure = child(servers.database_url, Path(name), format)
                tell(f"{format.value:<8} {100 * bare.seconds / figure.seconds:3.0f} % (>= {BARS[format]})", figure)
        for what in ("journal-beancount-day", "journal-hledger-entry"):
            tell(what, child(servers.database_url, Path(name), what))


def tell(what: str, figure: Figure) -> None:
    rate, size = figure.rows / figure.seconds, figure.size / 1e6
    memory = f"{figure.peak_mb:.0f} MB, {figure.peak_mb - figure.before_mb:.0f} more than before"
    say(f"{what:<24} {figure.seconds:6.1f} s {rate:10,.0f} rows/s {size:7.1f} MB {memory}")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
