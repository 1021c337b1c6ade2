"""One run from one seed: load and faults together, then peace, then every promise is checked."""

import asyncio
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec

from gigarouter.schema import migrate
from store.embedded import Embedded
from tests.chaos import checks
from tests.chaos.faults import World
from tests.chaos.load import PATH, Call, Caller, End, Load
from tests.chaos.script import Step, plan
from tests.product import Product
from tests.wire import Gone, request_bytes, send
from tests.worlds import Reply, Upstream

SERVES = 3
MODEL = "chaos/model"
# Deadline of a call, so of its hold; the reaper's own pause and two of its rounds are the grace.
CALL_DEADLINE_S = 4
SETTLED_WITHIN_S = 30
RICH_NANO = 10_000_000_000
POOR_NANO = 3_000


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
    try:
        with Upstream().in_thread() as upstream, Embedded(folder / "stores") as servers:
            return _run(seed, seconds, folder, upstream, servers, say)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(
    seed: int, seconds: float, folder: Path, upstream: Upstream, servers: Embedded, say: Callable[[str], None]
) -> Report:
    migrate(servers.database_url)
    settings = {"call_deadline_s": str(CALL_DEADLINE_S), "drain_s": "2"}
    product = Product(folder, servers.database_url, servers.redis_url, serves=SERVES, settings=settings)
    callers = _callers(product, upstream)
    with product:
        world = World(servers, product, folder / "copies")
        steps = plan(seed, seconds, SERVES)
        ports = [serve.port for serve in product.serves]
        load = Load(seed, MODEL, callers, ports)
        load.start()
        try:
            _play(world, steps, seconds, say)
        finally:
            world.heal()
            healed_at = time.monotonic()
            calls = load.stop()
        say("the load has ended, everything runs again")
        recovered_s = _until_answered(ports, callers, healed_at)
        settled_s, breaches = _until_settled(servers, calls, upstream, healed_at)
    ends = Counter(call.end.value for call in calls)
    if ends[End.ANSWERED] < seconds:
        breaches.append(f"only {ends[End.ANSWERED]} calls were answered: the run shows nothing")
    return Report(seed, steps, dict(ends), recovered_s, settled_s, breaches)


def _play(world: World, steps: list[Step], seconds: float, say: Callable[[str], None]) -> None:
    started = time.monotonic()
    for step in steps:
        time.sleep(max(0.0, started + step.at_s - time.monotonic()))
        say(f"{time.monotonic() - started:7.3f} s  {step.what} {step.target}")
        world.do(step)
    time.sleep(max(0.0, started + seconds - time.monotonic()))


def _until_answered(ports: list[int], callers: list[Caller], since: float) -> float:
    """Every process answers every account; this loads each account into Redis once more, too."""
    for port in ports:
        for caller in callers:
            body = {"model": MODEL, "input": "after the storm"}
            while not _answered(port, caller, body):
                if time.monotonic() - since > SETTLED_WITHIN_S:
                    return SETTLED_WITHIN_S
                time.sleep(0.1)
    return time.monotonic() - since


def _until_settled(servers: Embedded, calls: list[Call], upstream: Upstream, since: float) -> tuple[float, list[str]]:
    """Holds may wait for their deadline and the reaper; what does not settle by then is a breach."""
    while True:
        books = asyncio.run(checks.read(servers.database_url))
        unsettled = list(checks.against_redis(books, servers.redis_url))
        settled_s = time.monotonic() - since
        if not unsettled or settled_s > SETTLED_WITHIN_S:
            break
        time.sleep(0.25)
    answers = len(upstream.calls)
    return settled_s, [*books.breaches, *checks.against_calls(books, calls, answers), *unsettled]


def _answered(port: int, caller: Caller, body: object) -> bool:
    """One more call; a poor account may also be told that nothing is left."""
    try:
        reply = asyncio.run(send(port, request_bytes(PATH, caller.key, body)))
    except Gone:
        return False
    return reply.status == 200 or (reply.status == 402 and not caller.rich)


def _callers(product: Product, upstream: Upstream) -> list[Caller]:
    """Two accounts with credit for any run, and one whose credit runs out in the middle of it."""
    upstream.always = Reply(delay_s=0.02)
    shop = product.shop
    model = shop.a_model(MODEL)
    shop.an_endpoint(model, upstream.base_url)
    callers = []
    for name, credit in (("rich", RICH_NANO), ("richer", RICH_NANO), ("poor", POOR_NANO)):
        account = shop.an_account(credit, name)
        callers.append(Caller(name, shop.a_key(account), account.hex, rich=credit == RICH_NANO))
    return callers
