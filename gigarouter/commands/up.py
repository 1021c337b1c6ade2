"""`gigarouter up`: everything on this machine, in the foreground."""

from pathlib import Path
from typing import Annotated

import typer

from gigarouter import settings
from gigarouter.up import run


def command(
    port: Annotated[int | None, typer.Option(help="Port of the API; default GIGAROUTER_PORT.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder for all data; default GIGAROUTER_DATA_DIR.")] = None,
    demo_usage: Annotated[
        bool, typer.Option("--demo-usage", help="Make two accounts with a month of made-up usage, and their person.")
    ] = False,
    reload: Annotated[
        bool, typer.Option("--reload", help="Show changed templates, styles and scripts of the pages at once.")
    ] = False,
) -> None:
    """Start PostgreSQL, Redis, the API, the jobs and the worker, with a demo account; Ctrl-C ends them all."""
    given = {"port": port, "data_dir": data_dir, "web_reload": reload or None}
    options = {name: value for name, value in given.items() if value is not None}
    run(settings.load(**options), demo_usage=demo_usage)
