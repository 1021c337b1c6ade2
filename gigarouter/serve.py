"""The API process: wires its collaborators, listens, and on SIGTERM finishes the calls in flight before it ends."""

import asyncio
import gc
from functools import partial

import uvloop

from gigarouter import telemetry
from gigarouter.listeners import INSIDE_DRAIN_S, Listener, serve_until_signaled
from gigarouter.ports import LOOPBACK, Port
from gigarouter.settings import Settings
from gigarouter.web_settings import web_url
from gigarouter.wiring import process, require_fit
from router.api.app import Audience, create_app

# A call makes some hundred objects that die without the collector's help, so it need not look after every 700.
GC_YOUNG = 20_000


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises CannotStart before the port opens."""
    uvloop.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    telemetry.configure(settings.log_level, settings.log_format)
    customers_port = Port(settings.host, settings.port, "GIGAROUTER_PORT")
    inside_ports = (
        [] if settings.shares_port else [Port(settings.admin_host, settings.admin_port, "GIGAROUTER_ADMIN_PORT")]
    )
    await require_fit(settings)
    async with process(settings, "serve") as context:
        meters = telemetry.Meters(context, telemetry.RequestLog(settings.log_format))
        _settle_memory()
        app = partial(
            create_app,
            context,
            record=meters.record,
            metrics=meters.expose,
            cors_origins=settings.cors_origins,
            reads_per_minute=settings.reads_per_minute,
            web_url=_pages(settings),
            proxies=settings.proxies,
        )
        customers = app(Audience.EVERYONE if settings.shares_port else Audience.CUSTOMERS)
        async with asyncio.TaskGroup() as group:
            watches = [group.create_task(meters.watch_loop()), group.create_task(meters.books.run())]
            await serve_until_signaled(
                Listener(customers, customers_port, settings, drain_s=settings.drain_s),
                [Listener(app(Audience.INSIDE), port, settings, drain_s=INSIDE_DRAIN_S) for port in inside_ports],
            )
            for watch in watches:
                watch.cancel()


def _pages(settings: Settings) -> str | None:
    """Where ``/`` sends browsers: the pages' own address, or this machine's where the API is on it alone."""
    return settings.web_url or (web_url(settings) if settings.host == LOOPBACK else None)


def _settle_memory() -> None:
    """Freeze the objects made by now: a full collection would walk them all, 50 ms and more, in the middle of calls."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_YOUNG)
