"""`gigarouter up`: everything on this machine, in the foreground."""

from pathlib import Path
from typing import Annotated

import typer

from gigarouter import settings
from gigarouter.up import run


def command(
    port: Annotated[int | None, typer.Option(help="Port of the API; default GIGAROUTER_PORT.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder for all data; default GIGAROUTER_DATA_DIR.")] = None,
) -> None:
    """Start PostgreSQL, Redis, the API, the jobs and the worker, with a demo account; Ctrl-C ends them all."""
    options = {name: value for name, value in {"port": port, "data_dir": data_dir}.items() if value is not None}
    run(settings.load(**options))
