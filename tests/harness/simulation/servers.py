"""Endpoints that misbehave on a virtual clock: slow, failing, flapping, lying, limiting, and well again."""

from collections.abc import Callable
from enum import StrEnum
from math import exp
from random import Random
from uuid import UUID

import msgspec

from router.values import Endpoint
from store.ids import EndpointId, ModelId, ProviderId
from tests.builders.values import an_endpoint

SPACE = "simulated@1"
MODEL = ModelId("tests/simulated")


class Kind(StrEnum):
    """How an attempt ends."""

    ANSWERED = "answered"
    BROKEN = "broken"
    BAD_ANSWER = "bad answer"
    THROTTLED = "throttled"


class Outcome(msgspec.Struct, frozen=True):
    """One attempt: how it ends, after how long, and what a 429 says."""

    kind: Kind
    took_s: float
    retry_after_s: float | None = None


class Serving(msgspec.Struct):
    """What a mode may look at: the instant, chance, how long a well endpoint would take, answers in this second."""

    now: float
    random: Random
    usual_s: float
    this_second: int


Mode = Callable[[Serving], Outcome]


class Phase(msgspec.Struct, frozen=True):
    """A mode from one second to another; outside of all phases an endpoint is well."""

    begins: float
    ends: float
    mode: Mode


def well(serving: Serving) -> Outcome:
    return Outcome(Kind.ANSWERED, serving.usual_s)


def slow(times: float) -> Mode:
    return lambda serving: Outcome(Kind.ANSWERED, serving.usual_s * times)


def broken(rate: float = 1.0, took_s: float = 0.05) -> Mode:
    def mode(serving: Serving) -> Outcome:
        return Outcome(Kind.BROKEN, took_s) if serving.random.random() < rate else well(serving)

    return mode


def lying(rate: float = 1.0) -> Mode:
    """It answers in time, and the check of the vectors refuses it."""

    def mode(serving: Serving) -> Outcome:
        lies = serving.random.random() < rate
        return Outcome(Kind.BAD_ANSWER if lies else Kind.ANSWERED, serving.usual_s)

    return mode


def flapping(period_s: float, took_s: float = 0.05) -> Mode:
    """Broken for the first half of each period."""

    def mode(serving: Serving) -> Outcome:
        return Outcome(Kind.BROKEN, took_s) if serving.now % period_s < period_s / 2 else well(serving)

    return mode


def limited(per_second: int, retry_after_s: float | None) -> Mode:
    """So many answers a second, then 429."""

    def mode(serving: Serving) -> Outcome:
        over = serving.this_second >= per_second
        return Outcome(Kind.THROTTLED, 0.02, retry_after_s) if over else well(serving)

    return mode


class Server(msgspec.Struct):
    """An endpoint as it really is: its median answer time, how many calls it takes well at once, and its bad times."""

    endpoint: Endpoint
    median_s: float
    phases: tuple[Phase, ...] = ()
    spread: float = 0.2
    capacity: int = 64
    in_flight: int = 0
    attempts: int = 0
    second: int = -1
    answered_in_second: int = 0

    def mode(self, now: float) -> Mode:
        return next((phase.mode for phase in self.phases if phase.begins <= now < phase.ends), well)

    def usual_s(self) -> float:
        """What a call takes at this load, without chance."""
        return self.median_s * (1 + self.in_flight / self.capacity)

    def begins(self, now: float, random: Random, size_factor: float) -> Outcome:
        self.attempts += 1
        self.in_flight += 1
        if int(now) != self.second:
            self.second, self.answered_in_second = int(now), 0
        usual_s = self.usual_s() * size_factor * exp(random.gauss(0, self.spread))
        outcome = self.mode(now)(Serving(now, random, usual_s, self.answered_in_second))
        if outcome.kind is Kind.ANSWERED:
            self.answered_in_second += 1
        return outcome

    def ends(self) -> None:
        self.in_flight -= 1


def a_server(
    number: int, cost: int, median_s: float, *phases: Phase, priority: int = 100, spread: float = 0.2
) -> Server:
    """Server ``number``; ids are made of the number, so that a run can be repeated to the last draw."""
    endpoint = an_endpoint(
        f"provider-{number}",
        id=EndpointId(UUID(int=number)),
        provider_id=ProviderId(UUID(int=1_000 + number)),
        model_id=MODEL,
        space=SPACE,
        priority=priority,
        cost_nano_per_mtok=cost,
    )
    return Server(endpoint, median_s, phases, spread)
