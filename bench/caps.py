"""Measures what caps cost in Redis: ``python -m bench.caps REVISION`` beside the scripts of an older revision.

A call is one admission and one commit of its charge. Told is the CPU of Redis' main thread: clients and Postgres are
not in it, and who else uses the machine hardly. Rounds of all sides are interleaved, and medians told.
The older revision is one that knew a key's one cap: its admission takes a period and an amount.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import redis

from store.embedded import Embedded

CALLS = 5_000
KEY = "00" * 16
LABELS = ("total", "2026-11", "2026-11-28")
AMOUNT = 9 * 10**15
Arguments = list[Any]
_ACCOUNT = ("gr:{bench}", "gr:{bench}:limits")


def read(name: str, revision: str | None) -> str:
    """A script, of this working tree or of a revision."""
    path = f"billing/lua/{name}.lua"
    if revision is None:
        return Path(path).read_text()
    command = ["git", "show", f"{revision}:{path}"]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


def caps(count: int) -> Arguments:
    """So many caps: the key's and the account's of each period by turns."""
    fields = [f"{owner}:{label}" for label in LABELS for owner in (KEY, "")]
    return [part for field in fields[:count] for part in (field, AMOUNT)]


def admission_before(cap: object) -> Callable[[str], Arguments]:
    """The arguments of an admission as the older revision takes them."""
    return lambda request: [
        *(1, request, 5_000, KEY, LABELS[1], cap, 1_000_000_000, 1_000_000_000),
        *(100_000, 100, 4 * 10**12, 100, 0),
    ]


def admission(count: int) -> Callable[[str], Arguments]:
    """The arguments of an admission with so many caps."""
    return lambda request: [
        *(1, request, 5_000, KEY, 1_000_000_000, 1_000_000_000, 100_000, 100, 4 * 10**12, 100, 0),
        *caps(count),
    ]


class Side:
    """The scripts of one revision, with the caps that its calls have."""

    def __init__(
        self, name: str, client: redis.Redis, revision: str | None, arguments: Callable[[str], Arguments]
    ) -> None:
        self.name = name
        self.times: list[float] = []
        self._client = client
        self._admit, self._apply, self._load = (read(script, revision) for script in ("admit", "apply", "load"))
        self._arguments = arguments
        self._owners = (KEY,) if revision is not None else (KEY, "")

    def measure(self) -> float:
        """Microseconds of Redis per call."""
        client = self._client
        client.flushall()
        spends = [part for owner in self._owners for label in LABELS for part in (f"{owner}:{label}", 0)]
        client.eval(self._load, 1, _ACCOUNT[0], 1, 0, AMOUNT, 0, *spends)
        admit, apply = client.script_load(self._admit), client.script_load(self._apply)
        before = cpu_s(client)
        for first in range(0, CALLS, 100):
            pipe = client.pipeline(transaction=False)
            for number in range(first, first + 100):
                pipe.evalsha(admit, 2, *_ACCOUNT, *self._arguments(f"{number:032x}"))
                spent = [part for owner in self._owners for label in LABELS for part in (f"{owner}:{label}", 3_000)]
                pipe.evalsha(apply, 2, *_ACCOUNT, 1, number + 1, -3_000, 1, f"{number:032x}", 60, *spent)
            replies = pipe.execute()
            assert all(reply[0] == b"ok" for reply in replies[::2]), replies[0]
            assert set(replies[1::2]) == {b"ok"}, replies[1]
        return (cpu_s(client) - before) * 1_000_000 / CALLS


def cpu_s(client: redis.Redis) -> float:
    """Seconds of CPU that Redis' main thread has used."""
    used = client.info("cpu")
    return float(used["used_cpu_user_main_thread"]) + float(used["used_cpu_sys_main_thread"])


def sides(client: redis.Redis, revision: str) -> Iterator[Side]:
    """What is compared."""
    yield Side(f"{revision}, no cap", client, revision, admission_before(""))
    yield Side(f"{revision}, one cap", client, revision, admission_before(AMOUNT))
    for count in (0, 1, 3, 6):
        yield Side(f"now, {count} caps", client, None, admission(count))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("revision", help="the older revision")
    options.add_argument("--rounds", type=int, default=9)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="gr-caps-") as folder, Embedded(Path(folder)) as servers:
        client: redis.Redis = redis.Redis.from_url(servers.redis_url)
        compared = list(sides(client, given.revision))
        for turn in range(given.rounds + 1):
            for side in compared if turn % 2 else compared[::-1]:
                side.times.append(side.measure())
        base = statistics.median(compared[1].times[1:])
        for side in compared:
            median = statistics.median(side.times[1:])
            sys.stdout.write(
                f"{side.name}: {median:.1f} µs a call, {100 * base / median:.0f} % as many as one cap before\n"
            )


if __name__ == "__main__":
    main()
