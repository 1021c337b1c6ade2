"""Measures calls while people read pages: ``python -m bench.readers`` compares both in rounds that are interleaved.

One `serve`, `jobs`, and one process of pages share the machine and the database. Half of each round is without readers:
calls come evenly, whose 99th percentile counts, and then as fast as eight callers get answers. Readers click every two
seconds (``--click-s``) through usage, calls, keys, credit, the catalogue and a model. nginx answers as the provider.
"""

import argparse
import asyncio
import multiprocessing
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import httpx
from pydantic import SecretStr

from bench import upstream
from bench.beside import measure
from bench.ours import CREDIT_NANO, MODEL
from bench.targets import first_answer, request_body
from gigarouter.listeners import Listener
from gigarouter.ports import LOOPBACK, Port, free_port
from gigarouter.schema import migrate
from gigarouter.settings import Settings
from gigarouter.web_wiring import pages
from router.identity.members import Role
from store.embedded import Embedded
from store.ids import AccountId, wire
from tests.harness.pages import Readers, a_member
from tests.harness.processes import Product
from web.app import WebApp
from web.routes import ROUTES

CALLERS, ROUND_S = 8, 8.0
THROUGHPUT_BAR, LATENCY_BAR = 0.97, 1.05


class Figures:
    """What calls did without readers, or with them: milliseconds of even ones, and answers a second of fast ones."""

    def __init__(self) -> None:
        self.took: list[float] = []
        self.rates: list[float] = []

    def p99(self) -> float:
        """The 99th percentile of all rounds, in milliseconds."""
        return sorted(self.took)[len(self.took) * 99 // 100]

    def rate(self) -> float:
        """Calls a second, of all rounds."""
        return sum(self.rates) / len(self.rates)


def serve_pages(database_url: str, secret_key: str, account: AccountId, number: int) -> None:
    """Serve pages to a member of an account, in a process of its own."""
    asyncio.run(_serve_pages(database_url, secret_key, account, number))


async def _serve_pages(database_url: str, secret_key: str, account: AccountId, number: int) -> None:
    settings = Settings(database_url=SecretStr(database_url), secret_keys=[SecretStr(secret_key)], web_port=number)
    readers = Readers()
    async with pages(settings, readers.find) as context:
        readers.known["owner"] = a_member(account, Role.OWNER, now=context.clock.now())
        listener = Listener(WebApp(context, ROUTES), Port(LOOPBACK, number, "GIGAROUTER_WEB_PORT"), settings, drain_s=1)
        await listener.open()
        await asyncio.Event().wait()


@asynccontextmanager
async def readers_of(
    url: str, paths: list[str], how_many: int, click_s: float, clicks: list[float]
) -> AsyncIterator[None]:
    """People who click; milliseconds of each page are appended to ``clicks``."""

    async def read(client: httpx.AsyncClient, first: int) -> None:
        await asyncio.sleep(click_s * first / how_many)
        for number in count(first):
            began = time.perf_counter()
            answer = await client.get(paths[number % len(paths)])
            assert answer.status_code == 200, (answer.url, answer.status_code)
            clicks.append(1000 * (time.perf_counter() - began))
            await asyncio.sleep(max(0.0, click_s - (time.perf_counter() - began)))

    async with httpx.AsyncClient(base_url=url, headers={"cookie": "reader=owner"}, timeout=30) as client:
        tasks = [asyncio.create_task(read(client, number)) for number in range(how_many)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for one in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(one, Exception):
                    raise one


async def _round(client: httpx.AsyncClient, url: str, per_s: float, figures: Figures) -> None:
    body, until = request_body(MODEL, "base64"), time.perf_counter() + ROUND_S

    async def is_over() -> bool:
        return time.perf_counter() > until

    figures.took += await measure(client, url, body, per_s, is_over)
    began = time.perf_counter()

    async def call() -> int:
        for number in count(1):
            assert (await client.post(url, json=body)).status_code == 200
            if time.perf_counter() - began > ROUND_S:
                return number
        return 0

    calls = sum(await asyncio.gather(*(call() for _ in range(CALLERS))))
    figures.rates.append(calls / (time.perf_counter() - began))


async def _wait_for_pages(web: str) -> None:
    async with asyncio.timeout(60), httpx.AsyncClient() as client:
        while True:
            try:
                await client.get(f"{web}/models")
            except httpx.ConnectError:
                await asyncio.sleep(0.2)
            else:
                return


async def compare(url: str, headers: dict[str, str], web: str, paths: list[str], given: argparse.Namespace) -> None:
    """Measure in turns, and print both and their ratios."""
    without, beside, clicks = Figures(), Figures(), list[float]()
    await _wait_for_pages(web)
    async with httpx.AsyncClient(headers=headers, timeout=30) as client:
        for turn in range(given.rounds):
            for figures in (without, beside) if turn % 2 else (beside, without):
                if figures is without:
                    await _round(client, url, given.per_second, figures)
                else:
                    async with readers_of(web, paths, given.readers, given.click_s, clicks):
                        await _round(client, url, given.per_second, figures)
    for name, figures in (("without readers", without), (f"beside {given.readers} readers", beside)):
        sys.stdout.write(f"{name}: {figures.rate():.0f} calls a second; evenly, p99 {figures.p99():.1f} ms\n")
    share, times = beside.rate() / without.rate(), beside.p99() / without.p99()
    sys.stdout.write(f"throughput {share:.1%} (>= {THROUGHPUT_BAR:.0%}), p99 {times:.2f} x (<= {LATENCY_BAR} x)\n")
    page95 = sorted(clicks)[len(clicks) * 95 // 100]
    sys.stdout.write(f"{len(clicks)} pages, p95 {page95:.0f} ms with the network\n")


def main() -> None:
    """Run it on servers of its own."""
    options = argparse.ArgumentParser(description=__doc__)
    for name, default in (("--readers", 50), ("--rounds", 4), ("--per-second", 40)):
        options.add_argument(name, type=int, default=default)
    options.add_argument("--click-s", type=float, default=2.0, help="how long a reader looks at a page")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="gr-readers-") as name, Embedded(Path(name) / "stores") as servers:
        migrate(servers.database_url)
        provider = upstream.start(Path(name) / "upstream")
        product = Product(Path(name), servers.database_url, servers.redis_url, settings={"log_level": "warning"})
        model = product.database.a_model(MODEL, dimensions=upstream.DIMENSIONS)
        product.database.an_endpoint(model, provider.url("base64"))
        account = product.database.an_account(CREDIT_NANO)
        headers = {"authorization": f"Bearer {product.database.a_key(account)}"}
        number = free_port(LOOPBACK, 0)
        arguments = (servers.database_url, product.secret_key, account, number)
        web = multiprocessing.get_context("spawn").Process(target=serve_pages, args=arguments, daemon=True)
        web.start()
        base = f"/accounts/{wire(AccountId, account)}"
        paths = [*(f"{base}/{page}" for page in ("usage", "calls", "keys", "credit")), "/models", f"/models/{model}"]
        try:
            with product:
                first_answer(f"{product.url}/embeddings", headers, request_body(MODEL, "base64"))
                asyncio.run(compare(f"{product.url}/embeddings", headers, f"http://localhost:{number}", paths, given))
        finally:
            web.terminate()
            provider.stop()


if __name__ == "__main__":
    main()
