"""The API process: wires its collaborators, listens, and on SIGTERM finishes the calls in flight before it ends."""

import asyncio
import gc
import signal

import uvicorn
import uvloop
from uvicorn.config import Config

from gigarouter import telemetry
from gigarouter.settings import Settings
from gigarouter.wiring import process, require_fit
from router.api.app import create_app
from router.api.server.protocol import bounded

BACKLOG = 2048
KEEP_ALIVE_S = 75
# A call makes some hundred objects that die without the collector's help, so it need not look after every 700.
GC_YOUNG = 20_000


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises CannotStart before the port opens."""
    uvloop.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    telemetry.configure(settings.log_level, settings.log_format)
    await require_fit(settings)
    async with process(settings, "serve") as context:
        meters = telemetry.Meters(context, telemetry.RequestLog(settings.log_format))
        _settle_memory()
        app = create_app(context, record=meters.record, metrics=meters.expose, cors_origins=settings.cors_origins)
        server = _Server(
            Config(
                app,
                host=settings.host,
                port=settings.port,
                http=bounded(
                    header_bytes_max=settings.header_bytes_max,
                    header_deadline_s=settings.header_deadline_s,
                    body_deadline_s=settings.body_deadline_s,
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
                timeout_graceful_shutdown=round(settings.drain_s),
            )
        )
        async with asyncio.TaskGroup() as group:
            lag = group.create_task(meters.watch_loop())
            await server.serve_until_signaled()
            lag.cancel()


def _settle_memory() -> None:
    """Freeze the objects made by now: a full collection would walk them all, 50 ms and more, in the middle of calls."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_YOUNG)


class _Server(uvicorn.Server):
    """uvicorn's server with our own signal handlers: its collaborators outlive it until the last charge is booked."""

    async def serve_until_signaled(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        await self._serve()

    def _on_signal(self) -> None:
        if self.should_exit:
            self.force_exit = True
        self.should_exit = True
