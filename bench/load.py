"""The load: wrk on the load core, closed loop, a fixed number of connections, one request body."""

import json
import os
import subprocess
from pathlib import Path

import msgspec

from bench.machine import LOAD_CORE

SCRIPT = Path(__file__).with_name("load.lua")


class Lost(Exception):
    """What was measured is no longer there."""


class Point(msgspec.Struct, frozen=True):
    """One run of the load: requests per second, latencies in microseconds, answers that were not 200."""

    connections: int
    requests: int
    per_s: float
    p50_us: float
    p99_us: float
    failed: int
    cpu_us_per_request: float = 0.0
    serving_cpu_us_per_request: float = 0.0


def run(url: str, headers: dict[str, str], body: dict[str, object], connections: int, seconds: int) -> Point:
    """Load ``url`` for ``seconds``; every answer's status is looked at."""
    environment = dict(os.environ) | {"BENCH_BODY": json.dumps(body), "BENCH_HEADERS": _lines(headers)}
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(SCRIPT), url]
    ended = subprocess.run(
        ["taskset", "-c", str(LOAD_CORE), *command], env=environment, capture_output=True, text=True, check=False
    )
    if ended.returncode != 0:
        raise Lost(f"the load on {url} ended with {ended.returncode}: {ended.stderr.strip()[-200:]}")
    figures = json.loads(ended.stdout.splitlines()[-1])
    return Point(
        connections=connections,
        requests=figures["requests"],
        per_s=figures["requests"] / (figures["duration_us"] / 1e6),
        p50_us=figures["p50_us"],
        p99_us=figures["p99_us"],
        failed=figures["failed"],
    )


def _lines(headers: dict[str, str]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in headers.items())
