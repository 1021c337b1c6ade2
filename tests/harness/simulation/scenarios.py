"""Six bad days, and a calm one to compare them with. Each is five minutes at a steady rate."""

from collections.abc import Callable

import msgspec

from tests.harness.simulation.servers import Phase, Server, a_server, broken, flapping, limited, lying, slow

UNTIL_S = 300.0
CALLS_PER_S = 50.0


class Scenario(msgspec.Struct, frozen=True):
    """What happens, in a sentence, and the servers it happens to."""

    name: str
    summary: str
    servers: Callable[[], list[Server]]


def _three(*phases: tuple[Phase, ...]) -> list[Server]:
    """Three that cost nearly the same and are about as fast."""
    phases_by_server = (*phases, (), (), ())
    return [
        a_server(1, 10_000_000, 0.10, *phases_by_server[0]),
        a_server(2, 11_000_000, 0.11, *phases_by_server[1]),
        a_server(3, 12_000_000, 0.12, *phases_by_server[2]),
    ]


def _everything() -> list[Server]:
    return [
        a_server(1, 10_000_000, 0.10, Phase(30, 90, broken()), Phase(180, 240, slow(10))),
        a_server(2, 11_000_000, 0.11, Phase(60, 150, flapping(20))),
        a_server(3, 12_000_000, 0.12, Phase(120, 200, lying(0.5))),
        a_server(4, 14_000_000, 0.09, Phase(0, 300, limited(20, 1.0))),
        a_server(5, 40_000_000, 0.15, priority=200),
    ]


SCENARIOS = (
    Scenario("calm", "three endpoints, all well", _three),
    Scenario(
        "one fails hard",
        "the cheapest answers 500 from the first minute on",
        lambda: _three((Phase(60, 300, broken()),)),
    ),
    Scenario(
        "one slows down",
        "the cheapest is ten times slower for two minutes",
        lambda: _three((Phase(60, 180, slow(10)),)),
    ),
    Scenario(
        "one flaps", "the cheapest is broken every other ten seconds", lambda: _three((Phase(30, 300, flapping(20)),))
    ),
    Scenario(
        "one lies", "half of the cheapest's vectors fail the check", lambda: _three((Phase(60, 300, lying(0.5)),))
    ),
    Scenario(
        "one limits us",
        "the cheapest answers ten calls a second, then 429",
        lambda: _three((Phase(30, 300, limited(10, 1.0)),)),
    ),
    Scenario("everything", "failing, slow, flapping, lying and limited, with a dear spare", _everything),
)
