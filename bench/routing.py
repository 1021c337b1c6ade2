"""``python -m bench.routing``: simulated bad days, ours against the best single endpoint and an oracle; kept as JSON.

Virtual time and one seed: the figures are the same on every machine and for every run.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.report import RESULTS
from tests.harness.simulation.scenarios import CALLS_PER_S, SCENARIOS, UNTIL_S, Scenario
from tests.harness.simulation.world import Figures, Pick, only, oracle, routed, simulate

SEED = 20_261_124


class Day(msgspec.Struct, frozen=True):
    """One scenario. ``single`` is the endpoint that did best alone: by success, then by its 99th percentile."""

    name: str
    summary: str = msgspec.field(name="tells")
    ours: Figures
    single_name: str
    single: Figures
    oracle: Figures


class Routing(msgspec.Struct, frozen=True):
    """The whole measurement."""

    seed: int
    seconds: float
    calls_per_s: float
    days: list[Day]


def measure(seed: int) -> Routing:
    """Every scenario, routed three ways."""
    return Routing(seed, UNTIL_S, CALLS_PER_S, [_day(scenario, seed) for scenario in SCENARIOS])


def _day(scenario: Scenario, seed: int) -> Day:
    def figures(pick: Pick) -> Figures:
        return simulate(scenario.servers, pick, seed, UNTIL_S, CALLS_PER_S).figures()

    servers = scenario.servers()
    singles = [(server.endpoint.provider_name, figures(only(number))) for number, server in enumerate(servers)]
    name, single = max(singles, key=lambda single: (single[1].success, -single[1].p99_ms))
    return Day(scenario.name, scenario.summary, figures(routed), name, single, figures(oracle))


def lines(routing: Routing) -> Iterator[str]:
    """A table: three lines per scenario."""
    yield f"# seed {routing.seed}, {routing.seconds:.0f} s at {routing.calls_per_s:.0f} calls/s each, virtual time"
    for day in routing.days:
        yield f"\n{day.name}: {day.summary}"
        yield f"{'':<20}{'success':>11}{'p50 ms':>9}{'p99 ms':>9}{'cost':>9}{'attempts':>10}{'most':>6}  shares"
        for who, row in (("ours", day.ours), (f"only {day.single_name}", day.single), ("oracle", day.oracle)):
            shares = " ".join(f"{share:.2f}" for share in row.shares.values())
            yield (
                f"{who:<20}{100 * row.success:>10.3f}%{row.p50_ms:>9.1f}{row.p99_ms:>9.1f}"
                f"{100 * row.cost_over_least:>+8.1f}%{row.attempts_per_call:>10.3f}{row.attempts_most:>6}  {shares}"
            )


def keep(routing: Routing) -> Path:
    """Write the JSON; one file per seed, since nothing else changes it but the code."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"routing-{routing.seed}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(routing), indent=1) + b"\n")
    return path


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m bench.routing", description=__doc__)
    options.add_argument("--seed", type=int, default=SEED)
    options.add_argument("--keep", action=argparse.BooleanOptionalAction, default=True, help="write the JSON")
    chosen = options.parse_args()
    routing = measure(chosen.seed)
    print("\n".join(lines(routing)))
    if chosen.keep:
        print(f"\nkept as {keep(routing).name}")


if __name__ == "__main__":
    main()
