"""`gigarouter serve`: the API in this process."""

import typer

from gigarouter import settings
from gigarouter.serve import run


def command(
    host: str = typer.Option(None, help="Address to listen on; default GIGAROUTER_HOST."),
    port: int = typer.Option(None, help="Port to listen on; default GIGAROUTER_PORT."),
) -> None:
    """Answer calls until SIGTERM, then finish those in flight."""
    given = {name: value for name, value in {"host": host, "port": port}.items() if value is not None}
    run(settings.load(**given))
