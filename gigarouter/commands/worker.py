"""`gigarouter worker`: the in-house worker in this process, its arguments passed on as they are."""

import typer

from providers.worker.process import main

CONTEXT = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def command(context: typer.Context) -> None:
    """The same as `python -m providers.worker`."""
    raise typer.Exit(main(context.args))
