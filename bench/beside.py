"""Measures calls while a month is invoiced and exported: ``python -m bench.beside --invoices 300 --events 300_000``.

Calls come evenly, so many a second, to one `serve`; first with nothing beside them, then while `jobs` issues the
invoices of a month and exports its usage, which it was asked for at once; then with nothing again. nginx answers as the
provider. What counts is the ratio of the 99th percentiles, on two cores that all of it shares.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
from sqlalchemy import text

from bench import upstream
from bench.documents import MONTH, fill, request_invoices
from bench.ours import CREDIT_NANO, MODEL
from bench.targets import first_answer, request_body
from billing.exports.formats import ExportFormat, ExportKind
from billing.exports.requests import Filters, request_export
from gigarouter.schema import migrate
from store.embedded import Embedded
from store.ids import AccountId
from store.postgres import Database
from tests.harness.processes import Product

ALONE_S, PATIENCE_S = 15.0, 600.0
_LEFT = text("""
    SELECT (SELECT count(*) FROM document_requests WHERE state = 'waiting')
        + (SELECT count(*) FROM exports WHERE state IN ('queued', 'running'))
""")


async def measure(
    client: httpx.AsyncClient, url: str, body: dict[str, object], per_s: float, is_over: Callable[[], Awaitable[bool]]
) -> list[float]:
    """Milliseconds of each call, sent evenly until it is over."""
    took: list[float] = []

    async def call() -> None:
        began = time.perf_counter()
        answer = await client.post(url, json=body)
        assert answer.status_code == 200, answer.text
        took.append(1000 * (time.perf_counter() - began))

    began, sent = time.perf_counter(), 0
    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as calls:
        while not (sent % 25 == 0 and await is_over()):
            calls.create_task(call())
            sent += 1
            await asyncio.sleep(max(0.0, began + sent / per_s - time.perf_counter()))
    return took


async def compare(product: Product, headers: dict[str, str], invoices: int, per_s: float) -> None:
    db, url, body = Database(product.database_url), f"{product.url}/embeddings", request_body(MODEL, "base64")
    accounts = await everybody(db)

    async def work_is_done() -> bool:
        async with db.transaction() as tx:
            return not await tx.scalar(_LEFT)

    async with httpx.AsyncClient(headers=headers, timeout=30) as client:

        async def alone() -> list[float]:
            until = time.perf_counter() + ALONE_S

            async def is_over() -> bool:
                return time.perf_counter() > until

            return await measure(client, url, body, per_s, is_over)

        tell("alone", await alone())
        await request_invoices(db, accounts[:invoices])
        since = datetime(MONTH.year, MONTH.month, 1, tzinfo=UTC)
        async with db.transaction() as tx:
            until = datetime(MONTH.year, MONTH.month + 1, 1, tzinfo=UTC)
            for form in (ExportFormat.CSV, ExportFormat.CSV_GZ, ExportFormat.PARQUET):
                await request_export(tx, ExportKind.USAGE, form, since, until, Filters(), "bench")
        tell("while the month is invoiced and exported", await measure(client, url, body, per_s, work_is_done))
        tell("alone again", await alone())
    await db.close()


async def everybody(db: Database) -> list[AccountId]:
    """The accounts of the month."""
    async with db.transaction() as tx:
        rows = await tx.execute(text("SELECT id FROM accounts WHERE name LIKE 'account %' ORDER BY name"))
        return [AccountId(one) for one in rows.scalars()]


def tell(what: str, took: list[float]) -> None:
    ordered = sorted(took)
    p50, p99 = (ordered[len(ordered) * percent // 100] for percent in (50, 99))
    sys.stdout.write(f"{what}: {len(ordered)} calls, p50 {p50:.1f} ms, p99 {p99:.1f} ms, worst {ordered[-1]:.1f} ms\n")
    sys.stdout.flush()


def main() -> None:
    """Run it on servers of its own."""
    options = argparse.ArgumentParser(description=__doc__)
    for name, default in (("--invoices", 300), ("--events", 300_000), ("--per-second", 40)):
        options.add_argument(name, type=lambda typed: int(typed.replace("_", "")), default=default)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="gr-beside-") as name, Embedded(Path(name) / "stores") as servers:
        migrate(servers.database_url)
        asyncio.run(fill(servers.database_url, given.events, 1))
        provider = upstream.start(Path(name) / "upstream")
        product = Product(Path(name), servers.database_url, servers.redis_url, settings={"log_level": "warning"})
        model = product.database.a_model(MODEL, dimensions=upstream.DIMENSIONS)
        product.database.an_endpoint(model, provider.url("base64"))
        headers = {"authorization": f"Bearer {product.database.a_key(product.database.an_account(CREDIT_NANO))}"}
        with product:
            first_answer(f"{product.url}/embeddings", headers, request_body(MODEL, "base64"))
            asyncio.run(compare(product, headers, given.invoices, given.per_second))
        provider.stop()


if __name__ == "__main__":
    main()
