"""Stores, processes and an upstream to storm: load and faults together, then peace, then every promise is checked.

An arena lasts for several storms, each with accounts of its own; after one with a breach nobody should storm it again.
"""

import asyncio
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path

import msgspec
from typing_extensions import override

from gigarouter.schema import migrate
from store.embedded import Embedded
from tests.chaos import checks
from tests.chaos.faults import Links, World
from tests.chaos.load import PATH, VOCABULARY, Call, Caller, End, Load
from tests.harness.fake_upstream import Reply, Upstream
from tests.harness.links import Link, PostgresLink, RedisLink
from tests.harness.processes import Product
from tests.harness.raw_http import Gone, request_bytes, send

SERVES = 3
# Deadline of a call, so of its hold; the reaper's own pause and two of its rounds are the grace.
CALL_DEADLINE_S = 4
# A start alone takes half a minute where a machine has many times more to do than cores.
ANSWERED_WITHIN_S = 60
TEND_EVERY_S = 0.2
SETTLED_WITHIN_S = 50
RICH_NANO = 10_000_000_000
POOR_NANO = 300
UPSTREAM_FAILS = 0.02
UPSTREAM_LATE = 0.4
MOODS = 100_000


class Act(msgspec.Struct, frozen=True):
    """Something that is done ``at_s`` seconds into a storm."""

    at_s: float
    name: str
    do: Callable[[], object]


class Storm(msgspec.Struct, frozen=True):
    """What a storm saw. ``breaches`` empty means that every promise was kept."""

    ends: dict[str, int]
    recovered_s: float
    settled_s: float
    breaches: list[str]

    @property
    def calls(self) -> int:
        return sum(self.ends.values())

    @override
    def __str__(self) -> str:
        ends = ", ".join(f"{count} {end}" for end, count in sorted(self.ends.items()))
        again = f"calls answered again after {self.recovered_s:.1f} s, settled after {self.settled_s:.1f} s"
        return f"{ends}; {again}; {len(self.breaches)} breaches"


class Arena:
    """Where it happens. Made by :func:`arena`."""

    def __init__(self, world: World, upstream: Upstream, models: tuple[str, str], say: Callable[[str], None]) -> None:
        self.world = world
        self.upstream = upstream
        self.models = models
        self.say = say
        self.is_spoiled = False

    def storm(self, seed: int, seconds: float, acts: Sequence[Act], width: int = 64) -> Storm:
        """``acts`` at their instants under the load of ``width`` callers for so many seconds, then the checks."""
        self.is_spoiled = True
        callers = self._callers()
        ports = [serve.port for serve in self.world.product.serves]
        load = Load(seed, self.world.servers.database_url, callers, ports, width)
        load.start()
        try:
            crashes = self._play(acts, seconds)
            self.world.heal()
            healed_at = time.monotonic()
            recovered_s, unserved = self._until_answered(callers, healed_at)
        finally:
            calls = load.stop()
        self.say("the load has ended")
        settled_s, breaches = self._until_settled(callers, calls, healed_at)
        breaches += [*unserved, *crashes]
        self.is_spoiled = bool(breaches)
        ends = Counter(f"{call.end.value} {call.code}".strip() for call in calls)
        if ends[End.ANSWERED] < seconds:
            breaches.append(f"only {ends[End.ANSWERED]} calls were answered: the run shows nothing")
        return Storm(dict(ends), recovered_s, settled_s, breaches)

    def _callers(self) -> list[Caller]:
        """One account with credit for any run, and one that lives from hand to mouth."""
        database = self.world.product.database
        texts, counted = self.models
        callers = []
        for name, credit, model in (("rich", RICH_NANO, texts), ("poor", POOR_NANO, counted)):
            account = database.an_account(credit, name)
            key = self.world.product.wait_until_known(database.a_key(account))
            callers.append(Caller(name, key, account, model, rich=credit == RICH_NANO))
        return callers

    def _play(self, acts: Sequence[Act], seconds: float) -> list[str]:
        """The acts at their instants; in between, what ended by itself is started again. Returns the crashes."""
        started = time.monotonic()
        crashes: list[str] = []
        for act in [*acts, None]:
            until = started + (act.at_s if act else seconds)
            while (left_s := until - time.monotonic()) > 0:
                time.sleep(min(left_s, TEND_EVERY_S))
                crashes += self.world.tend()
            if act:
                self.say(f"{time.monotonic() - started:7.3f} s  {act.name}")
                act.do()
        return crashes

    def _until_answered(self, callers: list[Caller], since: float) -> tuple[float, list[str]]:
        """Every process answers every account; this loads each account into Redis once more, too."""
        ports = [serve.port for serve in self.world.product.serves]
        crashes: list[str] = []
        for port in ports:
            for caller in [one for one in callers if one.rich]:
                while refusal := _refusal(port, caller):
                    waited_s = time.monotonic() - since
                    if waited_s > ANSWERED_WITHIN_S:
                        unserved = f"{caller.name} is not served at port {port} after {waited_s:.0f} s: {refusal}"
                        return waited_s, [*crashes, unserved]
                    crashes += self.world.tend()
                    time.sleep(TEND_EVERY_S)
        recovered_s = time.monotonic() - since
        # The poor account is loaded once more; what it has may be held for a killed call until that is overdue.
        for caller in [one for one in callers if not one.rich]:
            _refusal(ports[0], caller)
        return recovered_s, crashes

    def _until_settled(self, callers: list[Caller], calls: list[Call], since: float) -> tuple[float, list[str]]:
        """Holds may wait for their deadline and the reaper; what does not settle by then is a breach."""
        servers = self.world.servers
        accounts = [caller.account for caller in callers]
        crashes: list[str] = []
        while True:
            crashes += self.world.tend()
            books = asyncio.run(checks.read(servers.database_url))
            unsettled = list(checks.against_redis(books, servers.redis_url, accounts))
            settled_s = time.monotonic() - since
            if not unsettled or settled_s > SETTLED_WITHIN_S:
                break
            time.sleep(0.25)
        answers = len(self.upstream.calls)
        return settled_s, [*books.breaches, *checks.against_calls(books, calls, answers), *unsettled, *crashes]


@contextmanager
def arena(seed: int, say: Callable[[str], None] = lambda _: None) -> Iterator[Arena]:
    """An arena whose upstream has moods from the seed; its logs are kept where a storm ended in a breach."""
    folder = Path(tempfile.mkdtemp(prefix=f"gr-chaos-{seed}-"))
    with ExitStack() as stack:
        upstream = stack.enter_context(Upstream().in_thread())
        upstream.script.extend(islice(_moods(seed), MOODS))
        servers = stack.enter_context(Embedded(folder / "stores"))
        migrate(servers.database_url)
        links = Links(
            [stack.enter_context(PostgresLink(servers.database_url)) for _ in range(SERVES)],
            stack.enter_context(PostgresLink(servers.database_url)),
            stack.enter_context(RedisLink(servers.redis_url)),
            stack.enter_context(Link(lambda: asyncio.open_connection("127.0.0.1", upstream.port))),
        )
        product = Product(
            folder,
            servers.database_url,
            links.redis.url,
            serves=SERVES,
            settings={"call_deadline_s": str(CALL_DEADLINE_S), "drain_s": "2"},
            serve_database_urls={number: link.url for number, link in enumerate(links.serves)},
            jobs_database_url=links.jobs.url,
        )
        models = _models(product, f"{links.provider.url}/v1")
        stack.enter_context(product)
        made = Arena(World(servers, product, links, folder / "copies"), upstream, models, say)
        yield made
    if made.is_spoiled:
        say(f"the processes' logs are kept in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _models(product: Product, url: str) -> tuple[str, str]:
    """One that takes texts, and one whose token ids cost a known sum."""
    database = product.database
    texts, counted = database.a_model("chaos/texts"), database.a_model("chaos/counted", vocabulary=VOCABULARY)
    database.an_endpoint(texts, url, name="texts")
    database.an_endpoint(counted, url, name="counted")
    return texts, counted


def _refusal(port: int, caller: Caller) -> str:
    """What one more call is told; nothing where it is answered."""
    body = caller.body(random.Random(port), "after the storm")
    try:
        reply = asyncio.run(send(port, request_bytes(PATH, caller.key, body)))
    except Gone as gone:
        return str(gone)
    if reply.status == 200:
        return ""
    return f"{reply.status} {reply.body.decode(errors='replace')}"


def _moods(seed: int) -> Iterator[Reply]:
    """How the upstream answers, call by call: mostly soon; often so late that the call outlives a rebuild of Redis."""
    numbers = random.Random(seed)
    while True:
        status = 500 if numbers.random() < UPSTREAM_FAILS else None
        late = numbers.random() < UPSTREAM_LATE
        yield Reply(delay_s=numbers.uniform(0.5, 3.4) if late else numbers.expovariate(20), status=status)
