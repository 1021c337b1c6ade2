"""Runs the worker: serves one model until a signal; ``roofline`` prints what hardware could do."""

import asyncio
import contextlib
import importlib
import logging
import signal
import socket
import sys
from collections.abc import Coroutine, Iterator

import msgspec
import uvicorn
import uvloop
from typing_extensions import override

from providers.worker.engine.health import EXIT_WEDGED
from providers.worker.errors import StartRefused
from providers.worker.model import roofline
from providers.worker.options import Options, parse_options
from providers.worker.server.app import App
from providers.worker.server.loading import LoadingResponder
from providers.worker.server.operations import Operations
from providers.worker.start import LoadedModel, build_engine, load

logger = logging.getLogger("gigarouter.worker")
DRAIN_S = 30
# As a shell reports SIGINT.
INTERRUPTED = 130
# Longer than callers keep idle connections in their pools, so that it is they who close.
KEEP_ALIVE_S = 120


def main(argv: list[str] | None = None) -> int:
    """Open the port, load the model, serve. Returns the process's exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    # A shell starts background jobs with SIGINT ignored, and a model takes a minute to load.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    if arguments[:1] == ["roofline"]:
        return roofline.main(arguments[1:])
    options = parse_options(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    if options.ray:
        return _run_with_ray(options)
    try:
        listener = socket.create_server((options.host, options.port), backlog=1024)
    except OSError as error:
        sys.stderr.write(f"worker: cannot listen on {options.host}:{options.port}: {error.strerror}.\n")
        return 8
    # Accepted sockets inherit it; asyncio sets it only where the socket names its protocol, and answers wait 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with listener:
        try:
            with LoadingResponder(listener):
                ready = load(options)
        except StartRefused as refusal:
            sys.stderr.write(f"worker: {refusal}\n")
            return refusal.exit_code
        except KeyboardInterrupt:
            return INTERRUPTED
        return uvloop.run(serve(ready, listener))


def _run_with_ray(options: Options) -> int:
    """Serve with Ray, which is imported only here, since it is an extra of its own."""
    try:
        ray_deploy = importlib.import_module("providers.worker.ray_deploy")
    except ModuleNotFoundError as missing:
        sys.stderr.write(f"worker: --ray needs {missing.name}: install it with `pip install '.[ray]'`.\n")
        return 9
    try:
        code: int = ray_deploy.run(msgspec.structs.replace(options, threads=options.replica_cpus))
    except StartRefused as refusal:
        sys.stderr.write(f"worker: {refusal}\n")
        return refusal.exit_code
    return code


async def serve(ready: LoadedModel, listener: socket.socket) -> int:
    """Serve until SIGTERM or SIGINT, then answer all accepted requests. Not 0 where the device failed.

    A second signal ends the process after the step that runs.
    """
    engine, watchdog = build_engine(ready)
    config = uvicorn.Config(
        App(Operations(engine).answer),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=DRAIN_S,
        timeout_keep_alive=KEEP_ALIVE_S,
        server_header=False,
    )
    server = _Server(config)
    stop, stop_now = asyncio.Event(), asyncio.Event()

    def signaled() -> None:
        (stop_now if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signaled)
    engine.start()
    watchdog.start()
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve([listener]))
        logger.info("serving on http://%s:%d", *listener.getsockname()[:2])
        await _first(stop.wait(), engine.broken.wait())
        logger.info("draining")
        await _first(engine.drain(), stop_now.wait(), asyncio.sleep(DRAIN_S))
        server.should_exit = True
    watchdog.stop()
    engine.stop()
    return EXIT_WEDGED if engine.broken.is_set() else 0


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, since the drain comes first."""

    @contextlib.contextmanager
    @override
    def capture_signals(self) -> Iterator[None]:
        yield


async def _first(*waits: Coroutine[object, object, object]) -> None:
    """Wait until one of ``waits`` is done, and cancel the others."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(wait) for wait in waits]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
