"""`gigarouter serve`: the API in this process."""

from typing import Annotated

import typer

from gigarouter import settings
from gigarouter.serve import run


def command(
    host: Annotated[str | None, typer.Option(help="Address to listen on; default GIGAROUTER_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; default GIGAROUTER_PORT.")] = None,
) -> None:
    """Answer calls until SIGTERM, then finish those in flight."""
    options = {name: value for name, value in {"host": host, "port": port}.items() if value is not None}
    run(settings.load(**options))
