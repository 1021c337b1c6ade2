"""Measures calls while people read pages: ``python -m bench.readers`` compares both in rounds that are interleaved.

One `serve`, `jobs`, and one process of pages share the machine and the database. Half of each round is without readers:
calls come evenly, whose 99th percentile counts, and then as fast as eight callers get answers. Readers click every two
seconds (``--click-s``) through usage, calls, keys, credit, the catalogue and a model. nginx answers as the provider.
Pages are served as ``gigarouter web`` serves them: by its loop, and giving way to calls.
"""

import argparse
import asyncio
import multiprocessing
import os
import sys
import tempfile
import time
from itertools import count
from pathlib import Path

import httpx
import uvloop
from pydantic import SecretStr

from bench import upstream
from bench.beside import measure
from bench.clicks import Clickers
from bench.ours import CREDIT_NANO, MODEL
from bench.targets import first_answer, request_body
from gigarouter import telemetry
from gigarouter.listeners import Listener
from gigarouter.ports import LOOPBACK, Port, free_port
from gigarouter.schema import migrate
from gigarouter.settings import Settings
from gigarouter.web import NICENESS
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
    os.nice(NICENESS)
    # Its log of requests is written as the product's is, to where nobody reads it.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    uvloop.run(_serve_pages(database_url, secret_key, account, number))


async def _serve_pages(database_url: str, secret_key: str, account: AccountId, number: int) -> None:
    settings = Settings(database_url=SecretStr(database_url), secret_keys=[SecretStr(secret_key)], web_port=number)
    telemetry.configure("warning", settings.log_format)
    readers, requests = Readers(), telemetry.RequestLog(settings.log_format)
    async with pages(settings, readers.find) as context:
        readers.known["owner"] = a_member(account, Role.OWNER, now=context.clock.now())
        app = WebApp(context, ROUTES, requests.record)
        listener = Listener(app, Port(LOOPBACK, number, "GIGAROUTER_WEB_PORT"), settings, drain_s=1)
        await listener.open()
        await asyncio.Event().wait()


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


async def compare(url: str, headers: dict[str, str], clickers: Clickers, given: argparse.Namespace) -> None:
    """Measure in turns, and print both and their ratios."""
    without, beside = Figures(), Figures()
    async with httpx.AsyncClient(headers=headers, timeout=30) as client:
        for turn in range(given.rounds):
            for figures in (without, beside) if turn % 2 else (beside, without):
                if figures is without:
                    await _round(client, url, given.per_second, figures)
                else:
                    with clickers.clicking():
                        await _round(client, url, given.per_second, figures)
    for name, figures in (("without readers", without), (f"beside {given.readers} readers", beside)):
        sys.stdout.write(f"{name}: {figures.rate():.0f} calls a second; evenly, p99 {figures.p99():.1f} ms\n")
    share, times = beside.rate() / without.rate(), beside.p99() / without.p99()
    sys.stdout.write(f"throughput {share:.1%} (>= {THROUGHPUT_BAR:.0%}), p99 {times:.2f} x (<= {LATENCY_BAR} x)\n")
    clicks = sorted(clickers.took)
    middle, page95 = clicks[len(clicks) // 2], clicks[len(clicks) * 95 // 100]
    sys.stdout.write(f"{len(clicks)} pages, p50 {middle:.0f}, p95 {page95:.0f} ms with the network\n")


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
                asyncio.run(_wait_for_pages(f"http://localhost:{number}"))
                clickers = Clickers(number, paths, given.readers, given.click_s)
                try:
                    asyncio.run(compare(f"{product.url}/embeddings", headers, clickers, given))
                finally:
                    clickers.end()
        finally:
            web.terminate()
            provider.stop()


if __name__ == "__main__":
    main()
