"""One run from one seed: load and faults together, then peace, then every promise is checked."""

import asyncio
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import msgspec

from gigarouter.schema import migrate
from store.embedded import Embedded
from tests.chaos import checks
from tests.chaos.faults import World
from tests.chaos.load import PATH, VOCABULARY, Call, Caller, End, Load
from tests.chaos.script import Step, plan
from tests.harness.fake_upstream import Reply, Upstream
from tests.harness.links import PostgresLink
from tests.harness.processes import Product
from tests.harness.raw_http import Gone, request_bytes, send

SERVES = 3
# Deadline of a call, so of its hold; the reaper's own pause and two of its rounds are the grace.
CALL_DEADLINE_S = 4
ANSWERED_WITHIN_S = 15
TEND_EVERY_S = 0.2
SETTLED_WITHIN_S = 50
RICH_NANO = 10_000_000_000
POOR_NANO = 300
UPSTREAM_FAILS = 0.02
UPSTREAM_LATE = 0.4
MOODS = 100_000


class Report(msgspec.Struct, frozen=True):
    """What a run saw. ``breaches`` empty means that every promise was kept."""

    seed: int
    steps: list[Step]
    ends: dict[str, int]
    recovered_s: float
    settled_s: float
    breaches: list[str]

    def lines(self) -> list[str]:
        told = [f"  {step.at_s:7.3f} s  {step.what} {step.target}" for step in self.steps]
        ends = ", ".join(f"{count} {end}" for end, count in sorted(self.ends.items()))
        verdict = f"seed {self.seed}: {ends}; calls answered again after {self.recovered_s:.1f} s, settled after "
        return [verdict + f"{self.settled_s:.1f} s; {len(self.breaches)} breaches", *told, *self.breaches]


def run(seed: int, seconds: float, say: Callable[[str], None] = lambda _: None) -> Report:
    """One whole run with stores, processes and data of its own."""
    folder = Path(tempfile.mkdtemp(prefix=f"gr-chaos-{seed}-"))
    with Upstream().in_thread() as upstream, Embedded(folder / "stores") as servers:
        upstream.script.extend(islice(_moods(seed), MOODS))
        report = _run(seed, seconds, folder, upstream, servers, say)
    if report.breaches:
        say(f"the processes' logs are kept in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return report


def _run(
    seed: int, seconds: float, folder: Path, upstream: Upstream, servers: Embedded, say: Callable[[str], None]
) -> Report:
    migrate(servers.database_url)
    settings = {"call_deadline_s": str(CALL_DEADLINE_S), "drain_s": "2"}
    with ExitStack() as stack:
        links = [stack.enter_context(PostgresLink(servers.database_url)) for _ in range(SERVES)]
        product = Product(
            folder,
            servers.database_url,
            servers.redis_url,
            serves=SERVES,
            settings=settings,
            serve_database_urls={number: link.url for number, link in enumerate(links)},
        )
        callers = _callers(product, upstream)
        stack.enter_context(product)
        world = World(servers, product, links, folder / "copies")
        steps = plan(seed, seconds, SERVES)
        ports = [serve.port for serve in product.serves]
        load = Load(seed, servers.database_url, callers, ports)
        load.start()
        try:
            crashes = _play(world, steps, seconds, say)
            world.heal()
            healed_at = time.monotonic()
            recovered_s, unserved = _until_answered(world, callers, healed_at)
        finally:
            calls = load.stop()
        say("the load has ended")
        settled_s, breaches = _until_settled(world, calls, upstream, healed_at)
        breaches += [*unserved, *crashes]
    ends = Counter(f"{call.end.value} {call.code}".strip() for call in calls)
    if ends[End.ANSWERED] < seconds:
        breaches.append(f"only {ends[End.ANSWERED]} calls were answered: the run shows nothing")
    return Report(seed, steps, dict(ends), recovered_s, settled_s, breaches)


def _play(world: World, steps: list[Step], seconds: float, say: Callable[[str], None]) -> list[str]:
    """The steps at their instants; in between, what ended by itself is started again. Returns the crashes."""
    started = time.monotonic()
    crashes: list[str] = []
    for step in [*steps, None]:
        until = started + (step.at_s if step else seconds)
        while (left_s := until - time.monotonic()) > 0:
            time.sleep(min(left_s, TEND_EVERY_S))
            crashes += world.tend()
        if step:
            say(f"{time.monotonic() - started:7.3f} s  {step.what} {step.target}")
            world.do(step)
    return crashes


def _until_answered(world: World, callers: list[Caller], since: float) -> tuple[float, list[str]]:
    """Every process answers every account; this loads each account into Redis once more, too."""
    ports = [serve.port for serve in world.product.serves]
    crashes: list[str] = []
    for port in ports:
        for caller in [one for one in callers if one.rich]:
            while refusal := _refusal(port, caller):
                waited_s = time.monotonic() - since
                if waited_s > ANSWERED_WITHIN_S:
                    return waited_s, [
                        *crashes,
                        f"{caller.name} is not served at port {port} after {waited_s:.0f} s: {refusal}",
                    ]
                crashes += world.tend()
                time.sleep(TEND_EVERY_S)
    recovered_s = time.monotonic() - since
    # The poor account is loaded once more; what it has may be held for a killed call until that is overdue.
    for caller in [one for one in callers if not one.rich]:
        _refusal(ports[0], caller)
    return recovered_s, crashes


def _until_settled(world: World, calls: list[Call], upstream: Upstream, since: float) -> tuple[float, list[str]]:
    """Holds may wait for their deadline and the reaper; what does not settle by then is a breach."""
    servers = world.servers
    crashes: list[str] = []
    while True:
        crashes += world.tend()
        books = asyncio.run(checks.read(servers.database_url))
        unsettled = list(checks.against_redis(books, servers.redis_url))
        settled_s = time.monotonic() - since
        if not unsettled or settled_s > SETTLED_WITHIN_S:
            break
        time.sleep(0.25)
    answers = len(upstream.calls)
    return settled_s, [*books.breaches, *checks.against_calls(books, calls, answers), *unsettled, *crashes]


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


def _callers(product: Product, upstream: Upstream) -> list[Caller]:
    """One account with credit for any run, and one that lives from hand to mouth."""
    database = product.database
    texts, counted = database.a_model("chaos/texts"), database.a_model("chaos/counted", vocabulary=VOCABULARY)
    database.an_endpoint(texts, upstream.base_url, name="texts")
    database.an_endpoint(counted, upstream.base_url, name="counted")
    callers = []
    for name, credit, model in (("rich", RICH_NANO, texts), ("poor", POOR_NANO, counted)):
        account = database.an_account(credit, name)
        callers.append(Caller(name, database.a_key(account), account, model, rich=credit == RICH_NANO))
    return callers


def _moods(seed: int) -> Iterator[Reply]:
    """How the upstream answers, call by call: mostly soon; often so late that the call outlives a rebuild of Redis."""
    numbers = random.Random(seed)
    while True:
        status = 500 if numbers.random() < UPSTREAM_FAILS else None
        late = numbers.random() < UPSTREAM_LATE
        yield Reply(delay_s=numbers.uniform(0.5, 3.4) if late else numbers.expovariate(20), status=status)
