"""Simulates thousands of calls on a virtual clock through the real ``choose`` and ``Health``, beside two other routers.

It is a discrete-event simulation: a call is a generator that yields how long it waits, a heap orders them by time. The
attempts of a call are a plain loop over the route, at most three. All chance comes from one seed, in a fixed order.
"""

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from heapq import heappop, heappush
from random import Random
from uuid import UUID

import msgspec

from router.errors import Refusal
from router.routing.choose import choose
from router.routing.health import CallStart, Health
from router.values import NO_PREFERENCES, Endpoint, Preferences, Route
from store.ids import AccountId, EndpointId
from tests.builders.values import a_model
from tests.harness.simulation.servers import MODEL, SPACE, Kind, Outcome, Phase, Server, Serving, broken

ATTEMPTS_MAX = 3
BAD_ANSWER_WEIGHT = 3

# Inputs and tokens of a call, how much longer than a small one it takes, and how often it comes.
SMALL, LARGE = (1, 100, 1.0), (64, 12_000, 4.0)
LARGE_SHARE = 0.1

A_MODEL = a_model(MODEL, space=SPACE, numerics="bf16")

Pick = Callable[["World", int, int, AccountId], Sequence[Endpoint]]


class Figures(msgspec.Struct, frozen=True):
    """What became of a run's calls. ``cost_over_least`` is 0.1 where we paid a tenth more than at the cheapest."""

    calls: int
    success: float
    p50_ms: float
    p99_ms: float
    cost_over_least: float
    attempts_per_call: float
    attempts_most: int
    shares: dict[str, float]


class Ended(msgspec.Struct, frozen=True):
    """One call: when it came, how long it took, who answered it (None: nobody), its attempts, the account."""

    at: float
    took_s: float
    by: EndpointId | None
    attempts: int
    account: AccountId
    refusal: Refusal | None = None


class World(msgspec.Struct):
    """A run. Fill it, call :meth:`run`, read ``ended``."""

    servers: list[Server]
    random: Random
    health: Health
    pick: Pick
    calls_per_s: float = 50.0
    accounts: int = 50
    now: float = 0.0
    ended: list[Ended] = []
    cost: int = 0
    tokens: int = 0

    def run(self, until_s: float) -> "World":
        """Calls arrive at random until ``until_s``; all of them are awaited."""
        heap: list[tuple[float, int, Generator[float, None, None]]] = []
        heappush(heap, (0.0, 0, self._arrivals(until_s, heap)))
        place = 1
        while heap:
            self.now, _, process = heappop(heap)
            wait_s = next(process, None)
            if wait_s is not None:
                heappush(heap, (self.now + wait_s, place, process))
                place += 1
        return self

    def server(self, endpoint: Endpoint) -> Server:
        return next(server for server in self.servers if server.endpoint.id == endpoint.id)

    def figures(self) -> Figures:
        took = sorted(call.took_s for call in self.ended if call.by is not None) or [0.0]
        answers = Counter(call.by for call in self.ended if call.by is not None)
        names = {server.endpoint.id: server.endpoint.provider_name for server in self.servers}
        attempts = [call.attempts for call in self.ended]
        least = self.tokens * min(server.endpoint.cost_nano_per_mtok for server in self.servers)
        return Figures(
            calls=len(self.ended),
            success=answers.total() / len(self.ended),
            p50_ms=round(1000 * took[len(took) // 2], 1),
            p99_ms=round(1000 * took[len(took) * 99 // 100], 1),
            cost_over_least=round(self.cost / least - 1, 4) if least else 0.0,
            attempts_per_call=round(sum(attempts) / len(attempts), 4),
            attempts_most=max(attempts),
            shares={names[by]: round(count / len(self.ended), 4) for by, count in sorted(answers.items())},
        )

    def _arrivals(
        self, until_s: float, heap: list[tuple[float, int, Generator[float, None, None]]]
    ) -> Generator[float, None, None]:
        number = 0
        while self.now < until_s:
            number -= 1
            heappush(heap, (self.now, number, self._call()))
            yield self.random.expovariate(self.calls_per_s)

    def _call(self) -> Generator[float, None, None]:
        began, attempts = self.now, 0
        account = AccountId(UUID(int=1 + self.random.randrange(self.accounts)))
        inputs, tokens, factor = LARGE if self.random.random() < LARGE_SHARE else SMALL
        try:
            order = self.pick(self, inputs, tokens, account)
        except Refusal as refusal:
            self.ended.append(Ended(began, 0.0, None, 0, account, refusal))
            return
        for endpoint in order[:ATTEMPTS_MAX]:
            start = self.health.start(endpoint.id, self.now)
            if start is None:
                continue
            attempts += 1
            server = self.server(endpoint)
            outcome = server.begins(self.now, self.random, factor)
            yield outcome.took_s
            server.ends()
            if outcome.kind in (Kind.ANSWERED, Kind.BAD_ANSWER):
                self.cost += tokens * endpoint.cost_nano_per_mtok
            if outcome.kind is Kind.ANSWERED:
                self.health.record_success(endpoint.id, self.now, outcome.took_s, inputs, tokens, start)
                self.tokens += tokens
                self.ended.append(Ended(began, self.now - began, endpoint.id, attempts, account))
                return
            record_failure(self.health, endpoint, outcome, self.now, start)
        self.ended.append(Ended(began, self.now - began, None, attempts, account))


def record_failure(health: Health, endpoint: Endpoint, outcome: Outcome, now: float, start: CallStart) -> None:
    """Record a failure in health, as dispatch does."""
    if outcome.kind is Kind.THROTTLED:
        health.record_pause(endpoint.id, now, outcome.retry_after_s, start)
    else:
        weight = BAD_ANSWER_WEIGHT if outcome.kind is Kind.BAD_ANSWER else 1
        health.record_failure(endpoint.id, now, outcome.kind.value, weight, start)


def route(world: World, inputs: int, tokens: int, account: AccountId | None, wanted: Preferences) -> Route:
    candidates = [server.endpoint for server in world.servers]
    draw = world.random.random
    return choose(
        candidates, A_MODEL, wanted, world.health, world.now, draw, inputs=inputs, tokens=tokens, account=account
    )


def routed(world: World, inputs: int, tokens: int, account: AccountId) -> Sequence[Endpoint]:
    """As the product routes."""
    return route(world, inputs, tokens, account, NO_PREFERENCES).order


def without_stickiness(world: World, inputs: int, tokens: int, account: AccountId) -> Sequence[Endpoint]:
    """The same for accounts that are seen once."""
    return route(world, inputs, tokens, None, NO_PREFERENCES).order


def only(number: int) -> Pick:
    """One endpoint and no other, whatever it does."""
    return lambda world, *_: [world.servers[number].endpoint]


def oracle(world: World, inputs: int, tokens: int, account: AccountId) -> Sequence[Endpoint]:
    """Who knows what each endpoint would do with a call now, and takes the fastest that would answer it."""

    def expected_s(server: Server) -> float:
        # A dice that never falls on luck: an endpoint that fails now and then counts as failing.
        sure = Random(0)
        sure.random = lambda: 0.0  # type: ignore[method-assign]
        serving = Serving(world.now, sure, server.usual_s(), server.answered_in_second)
        if int(world.now) != server.second:
            serving.this_second = 0
        outcome = server.mode(world.now)(serving)
        return outcome.took_s if outcome.kind is Kind.ANSWERED else 1_000 + outcome.took_s

    return [min(world.servers, key=expected_s).endpoint]


def simulate(make: Callable[[], list[Server]], pick: Pick, seed: int, until_s: float, calls_per_s: float) -> World:
    """One run. ``make`` builds the servers anew for each."""
    random = Random(seed)
    # Jitter has chance of its own, so that what breakers do does not shift the calls' arrivals.
    return World(make(), random, Health(Random(seed + 1).random), pick, calls_per_s).run(until_s)


def failing_hard(begins: float = 0.0, ends: float = 1e9) -> Phase:
    return Phase(begins, ends, broken())
