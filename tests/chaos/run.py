"""One long storm from one seed: all faults of the script, one over the other, in an arena of its own."""

from collections.abc import Callable
from functools import partial

import msgspec

from tests.chaos.arena import SERVES, Act, Storm, arena
from tests.chaos.script import Step, plan


class Report(msgspec.Struct, frozen=True):
    """What a run saw, and what was done to it."""

    seed: int
    steps: list[Step]
    storm: Storm

    @property
    def breaches(self) -> list[str]:
        return self.storm.breaches

    def lines(self) -> list[str]:
        steps = [f"  {step.at_s:7.3f} s  {step.what} {step.target}" for step in self.steps]
        return [f"seed {self.seed}: {self.storm}", *steps, *self.breaches]


def run(seed: int, seconds: float, say: Callable[[str], None] = lambda _: None) -> Report:
    """One whole run with stores, processes and data of its own."""
    steps = plan(seed, seconds, SERVES)
    with arena(seed, say) as place:
        acts = [Act(step.at_s, f"{step.what} {step.target}", partial(place.world.do, step)) for step in steps]
        return Report(seed, steps, place.storm(seed, seconds, acts))
