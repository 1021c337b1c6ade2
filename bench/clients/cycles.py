"""The response cycle: the lean one and uvicorn's own, on whole calls through ``serve`` and on the edge alone.

On whole calls durability is memory and vectors are base64 both ways: the leanest call, of which the cycle is the
largest part. The CPU per call is the serving process's.
"""

import tempfile
from pathlib import Path

import msgspec

from bench import load, upstream
from bench.clients.rounds import Job, Point, say
from bench.machine import LOAD_CORE, SYSTEM_CORE, cpu_s, free_port, on_core
from bench.targets import first_answer, request_body
from gigarouter.schema import migrate
from store.embedded import Embedded
from tests.harness.processes import Process, Product

MODEL = "bench/cycle"
CREDIT_NANO = 1_000_000_000_000_000
LEAN, UVICORN = "lean (class swap)", "uvicorn's"
WARM_UP_S = 3


class Served(msgspec.Struct, frozen=True):
    """Where a contender answers, and the process whose CPU is counted."""

    url: str
    pid: int
    headers: dict[str, str]


def whole_calls(job: Job, widths: list[int], count: int) -> None:
    """Two ``serve`` on the same stores, one with each cycle."""
    with tempfile.TemporaryDirectory(prefix="gr-cycle-") as name:
        folder = Path(name)
        with on_core(LOAD_CORE):
            stub = upstream.start(folder / "upstream")
        try:
            with on_core(SYSTEM_CORE), Embedded(folder / "stores") as servers:
                migrate(servers.database_url)
                settings = {"durability": "memory", "log_level": "warning"}
                product = Product(folder, servers.database_url, servers.redis_url, settings=settings)
                database = product.database
                database.an_endpoint(database.a_model(MODEL, dimensions=upstream.DIMENSIONS), stub.url("base64"))
                headers = {"authorization": f"Bearer {database.a_key(database.an_account(CREDIT_NANO))}"}
                port = free_port()
                ports = {"GIGAROUTER_PORT": str(port), "GIGAROUTER_ADMIN_PORT": str(free_port())}
                environment = product.environment | ports
                lean = Process("lean", ["bench.clients.lean_serve", "serve"], environment, folder, port)
                try:
                    product.start()
                    lean.start()
                    lean.wait_until_ready()
                    serves = {LEAN: lean, UVICORN: product.serves[0]}
                    path = "/v1/embeddings"
                    served = {name: Served(one.url + path, one.pid, headers) for name, one in serves.items()}
                    _rounds(job, served, widths, count)
                finally:
                    lean.stop()
                    product.stop()
        finally:
            stub.stop()


def edge_alone(job: Job, widths: list[int], count: int) -> None:
    """The edge's protocol before an application that only answers."""
    with tempfile.TemporaryDirectory(prefix="gr-edge-") as name, on_core(SYSTEM_CORE):
        processes: dict[str, Process] = {}
        for contender, cycle in ((LEAN, "lean"), (UVICORN, "uvicorn")):
            port = free_port()
            argv = ["bench.clients.edge_alone", str(port), cycle]
            processes[contender] = Process(cycle, argv, {}, Path(name), port)
        try:
            for process in processes.values():
                process.start()
                process.wait_until_ready("/")
            _rounds(job, {name: Served(one.url, one.pid, {}) for name, one in processes.items()}, widths, count)
        finally:
            for process in processes.values():
                process.stop()


def _rounds(job: Job, served: dict[str, Served], widths: list[int], count: int) -> None:
    body = request_body(MODEL, "base64")
    for name, one in served.items():
        job.versions[name] = ""
        first_answer(one.url, one.headers, body)
        load.run(one.url, one.headers, body, 32, WARM_UP_S)
    for number in range(1, count + 1):
        for width in widths:
            for name in list(served)[:: 1 if number % 2 else -1]:
                one = served[name]
                before = cpu_s([one.pid])
                point = load.run(one.url, one.headers, body, width, max(1, round(job.seconds_per_point)))
                assert not point.failed, f"{point.failed} calls failed"
                cpu_us = 1e6 * (cpu_s([one.pid]) - before) / point.requests
                job.points.append(Point(name, width, number, point.per_s, cpu_us, 0.0))
                job.keep()
                say(job.points[-1])
