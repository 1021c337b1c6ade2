"""`gigarouter web`: the pages in this process."""

from typing import Annotated

import typer

from gigarouter import settings
from gigarouter.web import run


def command(
    host: Annotated[str | None, typer.Option(help="Address to listen on; default GIGAROUTER_WEB_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; default GIGAROUTER_WEB_PORT.")] = None,
) -> None:
    """Answer browsers until SIGTERM: catalogue, accounts, finance, operations."""
    options = {name: value for name, value in {"web_host": host, "web_port": port}.items() if value is not None}
    run(settings.load(**options))
