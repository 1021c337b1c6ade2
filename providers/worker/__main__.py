"""``python -m providers.worker``: serve one model until a signal comes."""

import asyncio
import contextlib
import logging
import signal
import socket
import sys

import uvicorn
import uvloop

from providers.worker.engine import Engine
from providers.worker.errors import StartRefused
from providers.worker.options import Options, parse_options
from providers.worker.server import App
from providers.worker.start import Ready, prepare

logger = logging.getLogger("gigarouter.worker")
DRAIN_S = 30


def main(argv: list[str] | None = None) -> int:
    """Load the model, then open the port. Returns the process's exit code."""
    options = parse_options(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        ready = prepare(options)
    except StartRefused as refusal:
        sys.stderr.write(f"worker: {refusal}\n")
        return refusal.exit_code
    try:
        listener = socket.create_server((options.host, options.port), backlog=1024)
    except OSError as error:
        sys.stderr.write(f"worker: cannot listen on {options.host}:{options.port}: {error.strerror}.\n")
        return 8
    # Accepted sockets inherit it; asyncio sets it only where the socket names its protocol, and answers wait 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with listener:
        uvloop.run(serve(ready, listener, options))
    return 0


async def serve(ready: Ready, listener: socket.socket, options: Options) -> None:
    """Serve until SIGTERM or SIGINT, then answer everything accepted and return."""
    engine = Engine(ready)
    config = uvicorn.Config(
        App(engine),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=DRAIN_S,
        server_header=False,
    )
    server = uvicorn.Server(config)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        # uvicorn installs handlers of its own inside serve(); ours must come first in time, so its are left out.
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]
        group.create_task(server.serve([listener]))
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        logger.info("serving on http://%s:%d", options.host, listener.getsockname()[1])
        await stop.wait()
        logger.info("draining")
        async with asyncio.timeout(DRAIN_S):
            await engine.drain()
        server.should_exit = True


if __name__ == "__main__":
    sys.exit(main())
