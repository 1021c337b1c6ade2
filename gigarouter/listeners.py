"""Opens the ports of `serve`: the customers' and the inside one, each a uvicorn server with its own application.

The inside one has ``/admin`` and ``/metrics``. It is open until the customers' calls are finished, so that scrapers and
operators see a process that drains.
"""

import asyncio
import resource
import signal
from collections.abc import Sequence
from typing import Any

import structlog
import uvicorn
from uvicorn.config import Config

from gigarouter.ports import Port
from gigarouter.settings import Settings
from router.api.error_envelope import error_response
from router.api.server.protocol import AnswerUnread, bounded

log = structlog.get_logger("listeners")

BACKLOG = 2048
KEEP_ALIVE_S = 75
CONNECTIONS_MAX = 10_000
# Of the stores, the logs, the other port and the event loop.
DESCRIPTORS_BESIDE = 200
# What an operator still reads when the last call is over.
INSIDE_DRAIN_S = 2


class Listener(uvicorn.Server):
    """One port and the application behind it. It handles no signals: :func:`serve_until_signaled` ends it.

    ``refuse`` answers what never becomes a request for the application.
    """

    def __init__(
        self,
        app: Any,  # noqa: ANN401 - ASGI
        port: Port,
        settings: Settings,
        *,
        drain_s: float,
        refuse: AnswerUnread = error_response,
    ) -> None:
        self._port = port
        super().__init__(
            Config(
                app,
                http=bounded(
                    header_bytes_max=settings.header_bytes_max,
                    header_deadline_s=settings.header_deadline_s,
                    body_deadline_s=settings.body_deadline_s,
                    connections_max=connections_max(),
                    refuse=refuse,
                ),
                ws="none",
                lifespan="off",
                loop="none",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=True,
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=round(drain_s),
            )
        )

    async def open(self) -> None:
        """Begin to listen. Ends the process with a sentence where another took the port since it was bound."""
        if not self.config.loaded:
            self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        try:
            await self.startup(self._port.sockets)
        except OSError as error:
            # No CannotStart: the groups of tasks around us would wrap it.
            raise SystemExit(f"gigarouter: {self._port.fault(error)}") from error
        log.info("listening", at=[list(one.getsockname()[:2]) for one in self._port.sockets])

    async def run_until_ended(self) -> None:
        """Answer until :meth:`end`, then finish what is in flight."""
        await self.main_loop()
        await self.shutdown(self._port.sockets)

    def end(self) -> None:
        """Take no more; the second time, wait for nothing."""
        self.force_exit = self.should_exit
        self.should_exit = True


def connections_max() -> int:
    """How many connections a port takes; beyond that it answers 503, so that none is left without a descriptor.

    Raises the process's own limit of open files to what it may be. Half is for callers, a call needs one to an
    upstream, too, and the stores and logs need some.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * CONNECTIONS_MAX + DESCRIPTORS_BESIDE
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        soft = allowed
    if soft == resource.RLIM_INFINITY:
        return CONNECTIONS_MAX
    return max(1, min(CONNECTIONS_MAX, (soft - DESCRIPTORS_BESIDE) // 2))


async def serve_until_signaled(customers: Listener, inside: Sequence[Listener]) -> None:
    """Run all until SIGTERM or SIGINT; the inside ones end after the customers', at once on a second signal."""

    def on_signal() -> None:
        for listener in (customers, *inside) if customers.should_exit else (customers,):
            listener.end()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    for listener in (customers, *inside):
        await listener.open()
    async with asyncio.TaskGroup() as group:
        for listener in inside:
            group.create_task(listener.run_until_ended())
        await customers.run_until_ended()
        for listener in inside:
            listener.should_exit = True
