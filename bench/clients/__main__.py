"""``python -m bench.clients``: our clients and the libraries that could replace them, side by side; kept as JSON.

The client runs on the system core, the stub upstream or Redis on the load core. Compare ratios, not rates.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import uvloop

from bench import machine, upstream
from bench.clients import cycles, rounds, stores, upstreams
from bench.load import Lost
from bench.machine import LOAD_CORE, SYSTEM_CORE, on_core
from bench.missing import require_programs
from bench.targets import Unavailable
from store.embedded.redis_server import redis_program
from store.faults import CannotStart
from store.processes import spawn
from tests.harness.redis_cluster import RedisCluster

T = TypeVar("T")
# What each needs beside Python.
PROGRAMS = {"http": ("nginx",), "edge-alone": ("wrk", "taskset"), "whole-calls": ("wrk", "nginx", "taskset")}
# What a job meets where a process that it measures or measures against has gone.
LOST = (Lost, Unavailable, CannotStart, OSError)
JOBS = ("http", "redis", "redis-cluster", "edge-alone", "whole-calls")


def main() -> int:
    options = _options()
    require_programs(dict.fromkeys(program for name in options.jobs for program in PROGRAMS.get(name, ())))
    for name in options.jobs:
        job = rounds.Job(name, options.seconds, machine.describe(), {}, {}, [], [])
        try:
            with tempfile.TemporaryDirectory(prefix="gr-clients-") as folder:
                _measure(job, Path(folder), options)
        except LOST as reason:
            job.left_out["the rest of the rounds"] = f"{type(reason).__name__}: {reason}"
        finally:
            # It is kept after every point; whatever ended the job, that much is printed.
            if job.points:
                print(f"kept as {job.keep()}")
            print("\n".join(rounds.lines(job)), flush=True)
    return 0


def _measure(job: rounds.Job, folder: Path, options: argparse.Namespace) -> None:
    if job.job == "http":
        stub = upstream.start(folder / "upstream")
        try:
            time.sleep(0.5)
            with on_core(SYSTEM_CORE):
                urls = stub.url("base64")
                uvloop.run(
                    rounds.run(
                        job, _chosen(upstreams.CONTENDERS, options), urls, [stub.pid], options.tasks, options.rounds
                    )
                )
        finally:
            stub.stop()
    elif job.job == "redis":
        port = machine.free_port()
        argv: list[str | Path] = [redis_program(), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        with on_core(LOAD_CORE):
            server = spawn(argv, log=folder / "redis.log", cwd=folder)
        try:
            time.sleep(1)
            with on_core(SYSTEM_CORE):
                target = stores.Target("127.0.0.1", port, is_cluster=False)
                uvloop.run(
                    rounds.run(
                        job, _chosen(stores.CONTENDERS, options), target, [server.pid], options.tasks, options.rounds
                    )
                )
        finally:
            machine.end([server.pid])
    elif job.job == "redis-cluster":
        os.sched_setaffinity(0, {LOAD_CORE})
        with RedisCluster(folder) as cluster, on_core(SYSTEM_CORE):
            target = stores.Target("127.0.0.1", cluster.nodes[0].port, is_cluster=True)
            servers = [node.pid for node in cluster.nodes]
            uvloop.run(
                rounds.run(job, _chosen(stores.CLUSTERED, options), target, servers, options.tasks, options.rounds)
            )
    elif job.job == "edge-alone":
        cycles.edge_alone(job, options.tasks, options.rounds)
    else:
        cycles.whole_calls(job, options.tasks, options.rounds)


def _chosen(contenders: Sequence[rounds.Contender[T]], options: argparse.Namespace) -> list[rounds.Contender[T]]:
    return [each for each in contenders if each is contenders[0] or each.name.startswith(tuple(options.only))]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.clients", description=__doc__)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--tasks", nargs="+", type=int, default=[1, 32], help="at once")
    parser.add_argument("--only", nargs="+", default=[""], help="contenders whose names begin so, beside ours")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=1.0, help="per point")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
