"""Measures usage and calls: ``python -m bench.usage_pages`` makes a million calls of a month and reads their pages.

One account has 400,000 of the calls, another a thousand. The log of calls has as many rows. The yardsticks are the same
page of the small account, and Postgres' bare COPY of the same rows. Rounds are interleaved: compare figures of one run.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from cryptography.fernet import Fernet
from pydantic import SecretStr
from sqlalchemy import text

from billing.rollups.fill import add_before, add_pending
from gigarouter.schema import migrate
from gigarouter.settings import Settings
from gigarouter.web_wiring import pages
from router.identity.members import Role
from store.embedded import Embedded
from store.ids import AccountId, KeyId, new_id, wire
from store.postgres import Database
from tests.builders.database import DatabaseBuilder
from tests.harness.pages import Readers, a_member
from web.app import WebApp
from web.routes import ROUTES

CALLS, LARGE, SMALL, KEYS, MODELS, DAYS = 1_000_000, 400_000, 1_000, 9, 16, 30
ROUNDS, READS = 5, 12
EVENTS = """
INSERT INTO usage_events (request_id, occurred_at, account_id, key_id, model_id, provider_id, endpoint_id, space,
    inputs, tokens, price_id, nano_per_mtok, cost_nano, charged_nano, overdraft_nano, provider_cost_nano, latency_ms,
    attempts)
SELECT (left(first_id_at(at)::text, 14) || '7' || substr(md5(n::text), 1, 3) || '-8' || substr(md5(n::text), 5, 3)
    || '-' || substr(md5(n::text), 9, 12))::uuid, at, account, keys[1 + n % cardinality(keys)],
    'acme/model-' || n % $6, $7, $7, 's', 1, 20, $7, 10, n % 1000, n % 1000, 0, 0, 20 + n % 400, 1
FROM (SELECT n, now() - ($5 * interval '1 day') * n / $4::float8 AS at, CASE WHEN n % 10 < 4 THEN $1::uuid
    WHEN n % 1000 = 9 THEN $2::uuid ELSE $3::uuid END AS account FROM generate_series(1, $4::int) n) calls
CROSS JOIN (SELECT array_agg(id ORDER BY id) AS keys FROM keys WHERE account_id = $1) own
"""
ROUTE = """
INSERT INTO routes (request_id, account_id, route, at, key_id, model_id, lane, outcome, code, took_ms, duration_class,
    tokens, cost_nano, attempts)
SELECT request_id, account_id, jsonb_build_object('request_id', request_id), occurred_at, key_id, model_id,
    'interactive', CASE WHEN cost_nano % 50 = 7 THEN 'refused' ELSE 'answered' END,
    CASE WHEN cost_nano % 50 = 7 THEN 'credit_exhausted' ELSE '' END, latency_ms,
    length(ltrim(latency_ms::bit(31)::text, '0')), tokens, cost_nano, 1 FROM usage_events
"""
# As the charge writes them: the gate and the events, in one transaction.
CHARGE = """
WITH calls AS (SELECT uuidv7() AS id, now() AS at, ($1::uuid[])[1 + n % cardinality($1)] AS account, n
    FROM generate_series(1, $2::int) n), ended AS (
    INSERT INTO ended_calls (request_id, outcome, account_id, occurred_at) SELECT id, 'charged', account, at FROM calls)
INSERT INTO usage_events (request_id, occurred_at, account_id, key_id, model_id, provider_id, endpoint_id, space,
    inputs, tokens, price_id, nano_per_mtok, cost_nano, charged_nano, overdraft_nano, provider_cost_nano, latency_ms,
    attempts)
SELECT c.id, c.at, c.account, k.id, 'acme/model-' || n % 16, k.id, k.id, 's', 1, 20, k.id, 10, 10, 10, 0, 0, 20, 1
FROM calls c CROSS JOIN LATERAL (SELECT id FROM keys OFFSET n % 9 LIMIT 1) k
"""
FOLLOW_S, CHARGED_PER_S, COMMIT = 20, 1_000, 50
COPIED = (
    "SELECT request_id, at, key_id, model_id, lane, outcome, code, took_ms, tokens, cost_nano, attempts FROM routes"
)


class Bench:
    """The pages of one process, read by a member of either account."""

    def __init__(self, app: WebApp) -> None:
        self._app = app

    async def read(self, reader: str, path: str) -> float:
        """Milliseconds to the end of a page or file."""

        async def send(message: Any) -> None:
            assert message.get("status", 200) == 200, (path, message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        name, _, query = path.partition("?")
        headers = [(b"host", b"127.0.0.1:8001"), (b"cookie", f"reader={reader}".encode())]
        scope = {"type": "http", "method": "GET", "path": name, "query_string": query.encode(), "headers": headers}
        began = time.perf_counter()
        await self._app(scope, receive, send)
        return (time.perf_counter() - began) * 1000


async def _p95(*reads: Callable[[], Awaitable[float]]) -> list[tuple[float, float]]:
    """The median and the 95th percentile of each, in turns."""
    figures: list[list[float]] = [[] for _ in reads]
    for read in reads:
        await read()
    for _ in range(ROUNDS):
        for place, read in enumerate(reads):
            figures[place] += [await read() for _ in range(READS)]
    return [(median(one), quantiles(one, n=20)[-1]) for one in figures]


async def _measure(url: str, secret_key: str, large: AccountId, small: AccountId) -> list[str]:
    settings = Settings(database_url=SecretStr(url), secret_keys=[SecretStr(secret_key)], web_workshop=True)
    readers, lines = Readers(), []
    async with pages(settings, readers.find) as context:
        for name, account in (("large", large), ("small", small)):
            readers.known[name] = a_member(account, Role.OWNER, now=context.clock.now())
        bench = Bench(WebApp(context, ROUTES))
        base = {name: f"/accounts/{wire(AccountId, one)}" for name, one in (("large", large), ("small", small))}
        for by in ("model", "key", "lane"):
            for zone in ("UTC", "America/New_York", "Asia/Kolkata"):
                path = f"usage?by={by}&zone={zone}"
                (p50, p95), (_, other) = await _p95(
                    *(partial(bench.read, name, f"{base[name]}/{path}") for name in base)
                )
                lines.append(
                    f"usage by {by}, {zone:<18} p50 {p50:6.1f} p95 {p95:6.1f} ms (<= 50), {p95 / other:.1f} x (<= 3)"
                )
        lines += await _filtered(bench, context.reads.db, base, large)
        for query in ("code=no_such_code", "model=none/none", "slower_than_ms=100000", "outcome=canceled", ""):
            [(p50, p95)] = await _p95(partial(bench.read, "large", f"{base['large']}/calls?{query}"))
            lines.append(f"calls?{query:<24} p50 {p50:6.1f} p95 {p95:6.1f} ms (<= 10 where it finds nothing)")

        async def csv() -> float:
            return await bench.read("large", f"{base['large']}/calls.csv")

        async def bare() -> float:
            began = time.perf_counter()
            connection = await context.reads.db.connect(command_timeout_s=300)
            await connection.copy_from_query(
                f"{COPIED} WHERE account_id = $1", large, output=_drop, format="csv", header=True
            )
            await connection.close()
            return (time.perf_counter() - began) * 1000

        ours, theirs = [], []
        for _ in range(3):
            ours.append(await csv())
            theirs.append(await bare())
        share = min(theirs) / min(ours)
        lines.append(f"CSV of {LARGE} calls {min(ours):.0f} ms, bare COPY {min(theirs):.0f} ms: {share:.0%} (>= 50 %)")
    return lines


async def _filtered(bench: Bench, db: Database, base: dict[str, str], large: AccountId) -> list[str]:
    """The usage of one key and model, of one key by models, and of one model by keys: sums by both."""
    async with db.transaction() as tx:
        keys = await tx.execute(text("SELECT id FROM keys WHERE account_id = :account ORDER BY id"), {"account": large})
    key_id, lines = wire(KeyId, keys.scalars().all()[0]), []
    both = f"key_id={key_id}&model=acme/model-0"
    for query in (f"by=model&{both}", f"by=model&key_id={key_id}", "by=key&model=acme/model-0"):
        for zone in ("UTC", "America/New_York", "Asia/Kolkata"):
            [(p50, p95)] = await _p95(partial(bench.read, "large", f"{base['large']}/usage?{query}&zone={zone}"))
            what = query.replace(key_id, "…")
            lines.append(f"usage {what:<42} {zone:<18} p50 {p50:6.1f} p95 {p95:6.1f} ms (<= 50)")
    return lines


async def _follow(url: str, accounts: list[AccountId]) -> str:
    """How far sums are behind a thousand calls a second, at the worst, where jobs add them every two seconds."""
    db, behind = Database(url), [0.0]
    writer = await db.connect(command_timeout_s=60)

    async def charge() -> None:
        began = time.perf_counter()
        for number in range(FOLLOW_S * CHARGED_PER_S // COMMIT):
            await writer.execute(CHARGE, accounts, COMMIT)
            await asyncio.sleep(max(0.0, began + number * COMMIT / CHARGED_PER_S - time.perf_counter()))

    async def look() -> None:
        while True:
            async with db.transaction() as tx:
                lag = await tx.scalar(text("SELECT extract(epoch FROM clock_timestamp() - data_to) FROM usage_rollup"))
            behind.append(float(lag))
            await asyncio.sleep(0.2)

    async def add() -> None:
        while True:
            await add_pending(db)
            await asyncio.sleep(2)

    # Nobody has added while pages were read.
    await add_pending(db)
    others = [asyncio.create_task(look()), asyncio.create_task(add())]
    began = time.perf_counter()
    await charge()
    rate = FOLLOW_S * CHARGED_PER_S / (time.perf_counter() - began)
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await writer.close()
    await db.close()
    return f"sums are behind {rate:.0f} calls a second by at most {max(behind):.1f} s (<= 10)"


async def _drop(_: bytes) -> None:
    """Let a block go."""


async def _sum_up(url: str) -> None:
    db = Database(url)
    await add_pending(db)
    began = time.perf_counter()
    steps = await add_before(db, within_s=3_600)
    sys.stdout.write(f"summed {CALLS} calls of before in {steps} steps, {time.perf_counter() - began:.1f} s\n")
    await db.close()


def main() -> None:
    """Fill a database and print the figures."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    secret_key = Fernet.generate_key().decode()
    with tempfile.TemporaryDirectory(prefix="gr-usage-") as name, Embedded(Path(name) / "stores") as servers:
        migrate(servers.database_url)
        build = DatabaseBuilder(servers.database_url, secret_key)
        large, small, rest = (build.an_account(5_000_000_000, name) for name in ("Large", "Small", "Rest"))
        for account in [large] * KEYS + [small]:
            build.a_key(account)
        build.rows("SELECT make_usage_months((now() - interval '1 month')::date, 1)")
        build.rows("SELECT make_route_weeks((now() - interval '1 month')::date, 6)")
        build.rows(EVENTS, large, small, rest, CALLS, DAYS, MODELS, new_id())
        build.rows(ROUTE)
        build.rows("VACUUM ANALYZE")
        asyncio.run(_sum_up(servers.database_url))
        for line in asyncio.run(_measure(servers.database_url, secret_key, large, small)):
            sys.stdout.write(f"{line}\n")
        sys.stdout.write(f"{asyncio.run(_follow(servers.database_url, [large, small, rest]))}\n")


if __name__ == "__main__":
    main()
