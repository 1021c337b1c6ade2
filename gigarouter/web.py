"""The process of the pages: wires its collaborators, listens, and on SIGTERM finishes the pages in flight."""

import asyncio
import os

import uvloop

from gigarouter import telemetry
from gigarouter.listeners import Listener, serve_until_signaled
from gigarouter.ports import Port
from gigarouter.schema import require_migrated
from gigarouter.settings import Settings
from gigarouter.web_wiring import pages
from store.checks import check_postgres
from web.app import WebApp
from web.public.documentation.reference import operations
from web.routes import ROUTES

DRAIN_S = 5.0
# Pages give way to calls where they share a machine, as rendering and checking of documents do.
NICENESS = 10


def run(settings: Settings) -> None:
    """Answer until SIGTERM or SIGINT. Raises CannotStart before the port opens."""
    os.nice(NICENESS)
    uvloop.run(_run(settings))


async def _run(settings: Settings) -> None:
    telemetry.configure(settings.log_level, settings.log_format)
    settings.require_secret_keys()
    port = Port(settings.web_host, settings.web_port, "GIGAROUTER_WEB_PORT")
    database_url = settings.require_database_url()
    await check_postgres(database_url)
    await require_migrated(database_url)
    requests = telemetry.RequestLog(settings.log_format)
    async with pages(settings) as context, asyncio.TaskGroup() as group:
        app = WebApp(context, ROUTES, requests.record)
        # It takes longer than any page may: its first reader, and whoever reads beside them, does not wait for it.
        group.create_task(asyncio.to_thread(operations))
        await serve_until_signaled(Listener(app, port, settings, drain_s=DRAIN_S, refuse=app.refuse_unread), [])
