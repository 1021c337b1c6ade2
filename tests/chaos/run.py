"""One run from one seed: load and faults together, then peace, then every promise is checked."""

import asyncio
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec

from store.embedded import Embedded
from tests.chaos import checks
from tests.chaos.faults import World
from tests.chaos.load import PATH, Call, Caller, End, Load
from tests.chaos.script import Step, plan
from tests.product import Product
from tests.wire import Gone, request_bytes, send
from tests.worlds import Upstream

SERVES = 3
MODEL = "chaos/model"
# Deadline of a call, so of its hold; the reaper's own pause and two of its rounds are the grace.
CALL_DEADLINE_S = 4
SETTLED_WITHIN_S = 30
RICH_NANO = 10_000_000_000
POOR_CALLS = 40


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
    with Product(folder, servers.database_url, servers.redis_url, serves=SERVES, settings=settings) as product:
        callers = asyncio.run(_sell(product, upstream))
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
        recovered_s, late = _until_answered(ports, callers, healed_at)
        settled_s, breaches = _until_settled(servers, [*calls, *late], upstream, healed_at)
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


def _until_answered(ports: list[int], callers: list[Caller], since: float) -> tuple[float, list[Call]]:
    """Every process answers every account; this loads each account into Redis once more, too."""
    calls: list[Call] = []
    for port in ports:
        for caller in callers:
            body = {"model": MODEL, "input": "after the storm"}
            while True:
                call = asyncio.run(_once(port, caller, body))
                calls.append(call)
                if call.end is End.ANSWERED or call.status == 402:
                    break
                if time.monotonic() - since > SETTLED_WITHIN_S:
                    return time.monotonic() - since, calls
                time.sleep(0.1)
    return time.monotonic() - since, calls


def _until_settled(servers: Embedded, calls: list[Call], upstream: Upstream, since: float) -> tuple[float, list[str]]:
    """Holds may wait for their deadline and the reaper; what does not settle by then is a breach."""
    while True:
        books = asyncio.run(checks.read(servers.database_url))
        unsettled = list(checks.against_redis(books, servers.redis_url))
        settled_s = time.monotonic() - since
        if not unsettled or settled_s > SETTLED_WITHIN_S:
            break
        time.sleep(0.25)
    answers = upstream.answers
    return settled_s, [*books.breaches, *checks.against_calls(books, calls, answers), *unsettled]
