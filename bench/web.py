"""Measures pages: ``python -m bench.web`` makes 200 models and one account's rows, reads each page, and prints ratios.

Each page is read in process, from the request's scope to the last byte of its body, so that no client is measured with
it. Its yardstick is what must be done anyway: a template that only loops over the same rows, or Postgres' bare COPY.
Rounds are interleaved, because the machine may be busy: compare figures of one run.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import msgspec
from cryptography.fernet import Fernet
from pydantic import SecretStr

from gigarouter.schema import migrate
from gigarouter.settings import Settings
from gigarouter.web_wiring import pages
from router.identity.members import Role
from store.embedded import Embedded
from store.ids import AccountId
from tests.builders.database import DatabaseBuilder
from tests.harness.pages import Readers, a_member, an_operator
from web.app import WebApp
from web.context import WebContext
from web.render import environment
from web.routes import ROUTES

MODELS, READS, ROUNDS, WARM = 200, 40, 5, 10
READER, MEMBER = "operator", "member"
KEYS = 100
MODEL = "codefuse-ai/F2LLM-v2-4B"
# Lists of a member, of operators and of finance.
LISTS = ("keys", "calls", "usage", "credit", "documents", "members", "audit", "licenses", "management-keys")
CONSOLES = ("/ops", "/ops/accounts", "/ops/audit", "/ops/licenses", "/ops/prices", "/ops/providers", "/ops/votes")
_BARE = """<table>{% for row in rows %}<tr><th>{{ row.id }}</th><td>{{ row.status }}</td><td>{{ row.owner }}</td>
<td>{{ row.dimensions }}</td><td>{{ row.max_input_tokens }}</td><td>{{ row.price }}</td></tr>{% endfor %}</table>"""


class Row(msgspec.Struct, frozen=True):
    """A row of the yardstick."""

    id: str
    status: str
    owner: str
    dimensions: int
    max_input_tokens: int
    price: int


class Reading(msgspec.Struct, frozen=True):
    """Milliseconds to the end of a page, those on a core of this process, which others do not lengthen, and bytes."""

    ms: float
    cpu_ms: float
    size: int


class PageBar(msgspec.Struct, frozen=True, kw_only=True):
    """A page and its bars: milliseconds at the 95th percentile, and times of the yardstick; None: shown alone."""

    name: str
    path: str
    limit_ms: float | None = None
    times_max: float | None = None
    reader: str = "operator"


class Bench:
    """The pages of one process on a database that is filled."""

    def __init__(self, context: WebContext, account: AccountId) -> None:
        self.app = WebApp(context, ROUTES)
        self.context = context
        self.account = f"acct_{account.hex}"

    def table(self) -> Sequence[PageBar]:
        """What is measured; a page that is added gets a row here."""
        return (
            PageBar(name=f"catalogue of {MODELS}", path="/models", times_max=2.0),
            PageBar(name="catalogue, nothing found", path="/models?q=no-such-model", limit_ms=25),
            PageBar(name="model page", path=f"/models/{MODEL}", limit_ms=25),
            *(
                PageBar(name=f"a member's {page}", path=f"/accounts/{self.account}/{page}", limit_ms=25, reader=MEMBER)
                for page in LISTS
            ),
            *(PageBar(name=path, path=path, limit_ms=25) for path in CONSOLES),
            PageBar(name="form of the console", path=f"/ops/accounts/{self.account}/name", limit_ms=25),
            PageBar(name="all parts", path="/-/parts"),
        )

    async def read(self, path: str, coding: bytes = b"gzip", reader: str = READER) -> Reading:
        """Read a page to its end."""
        size = 0

        async def send(message: Any) -> None:
            nonlocal size
            if message["type"] == "http.response.start":
                assert message["status"] == 200, (path, message["status"])
            size += len(message.get("body", b""))

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        name, _, query = path.partition("?")
        headers = [(b"host", b"127.0.0.1:8001"), (b"accept-encoding", coding), (b"cookie", f"reader={reader}".encode())]
        scope = {"type": "http", "method": "GET", "path": name, "query_string": query.encode(), "headers": headers}
        began, cpu = time.perf_counter(), time.process_time()
        await self.app(scope, receive, send)
        return Reading((time.perf_counter() - began) * 1000, (time.process_time() - cpu) * 1000, size)


async def measure(bench: Bench) -> list[str]:
    """One line per page."""
    bare = environment().from_string(_BARE)
    rows = [
        Row(model.id, model.status.value, model.owned_by, model.dimensions, model.max_input_tokens, 1)
        for model in bench.context.reads.catalog.all()
    ]

    async def loop() -> Reading:
        began, cpu = time.perf_counter(), time.process_time()
        size = len(bare.render(rows=rows).encode())
        return Reading((time.perf_counter() - began) * 1000, (time.process_time() - cpu) * 1000, size)

    lines = []
    for page in bench.table():

        async def read(page: PageBar = page) -> Reading:
            return await bench.read(page.path, reader=page.reader)

        ours, theirs = await _interleaved(read, loop)
        raw = await bench.read(page.path, b"identity", page.reader)
        lines.append(_line(page, ours, theirs, raw.size))
    return lines


async def _interleaved(*reads: Callable[[], Awaitable[Reading]]) -> list[list[Reading]]:
    for read in reads:
        for _ in range(WARM):
            await read()
    figures: list[list[Reading]] = [[] for _ in reads]
    for _ in range(ROUNDS):
        for place, read in enumerate(reads):
            figures[place] += [await read() for _ in range(READS)]
    return figures


def _line(page: PageBar, ours: list[Reading], theirs: list[Reading], raw: int) -> str:
    ms, yardstick = [one.ms for one in ours], [one.ms for one in theirs]
    p95, bare95 = quantiles(ms, n=20)[-1], quantiles(yardstick, n=20)[-1]
    verdict = ""
    if page.times_max is not None:
        verdict = f"{p95 / bare95:.2f} x of a bare loop (<= {page.times_max:g}) "
        verdict += "ok" if p95 <= page.times_max * bare95 else "MISSED"
    elif page.limit_ms is not None:
        verdict = f"<= {page.limit_ms:g} ms {'ok' if p95 <= page.limit_ms else 'MISSED'}"
    cpu, bare_cpu = (median(one.cpu_ms for one in figures) for figures in (ours, theirs))
    if page.times_max is not None:
        verdict += f", of the core {cpu / bare_cpu:.2f} x"
    figures = f"p50 {median(ms):6.2f} ms  p95 {p95:6.2f} ms  core {cpu:5.2f} ms  {raw / 1000:5.1f} kB, gzip"
    figures += f" {ours[0].size / 1000:4.1f} kB"
    return f"{page.name:<28} {figures}  {verdict}"


@asynccontextmanager
async def filled(url: str, secret_key: str, account: AccountId) -> AsyncIterator[Bench]:
    """The pages of a database, read by an operator."""
    readers = Readers()
    settings = Settings(database_url=SecretStr(url), secret_keys=[SecretStr(secret_key)], web_workshop=True)
    async with pages(settings, readers.find) as context:
        readers.known[READER] = an_operator(now=context.clock.now())
        readers.known[MEMBER] = a_member(account, Role.OWNER, now=context.clock.now())
        yield Bench(context, account)


async def _measure_on(url: str, secret_key: str, account: AccountId) -> list[str]:
    async with filled(url, secret_key, account) as bench:
        return await measure(bench)


def main() -> None:
    """Fill a database and print the table."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    secret_key = Fernet.generate_key().decode()
    with tempfile.TemporaryDirectory(prefix="gr-web-") as name, Embedded(Path(name) / "stores") as servers:
        migrate(servers.database_url)
        build = DatabaseBuilder(servers.database_url, secret_key)
        build.import_seed()
        account = build.an_account(5_000_000_000, "Acme")
        for _ in range(KEYS):
            build.a_key(account)
        known = int(build.value("SELECT count(*) FROM models"))
        for number in range(MODELS - known):
            build.a_model(f"bench-{number:03d}/embedding-model-{number:03d}")
        for line in asyncio.run(_measure_on(servers.database_url, secret_key, account)):
            sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
