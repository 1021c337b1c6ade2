"""`gigarouter admin`: the command line of the admin API, one command for each of its operations.

It works in this process, as whoever is logged in on the machine, with nothing running but PostgreSQL; or on another
machine's admin port, with ``--url`` or ``GIGAROUTER_URL`` and an operator's key in ``GIGAROUTER_OPERATOR_KEY``.
"""

from typing import Annotated

import typer

from gigarouter import settings
from gigarouter.commands.admin.client import Client, LocalClient, RemoteClient
from gigarouter.commands.admin.generate import USAGE, class_of, command_of, fail, function_of
from gigarouter.commands.admin.groups import SingleVerb, no_options
from router.api.admin import operations
from router.api.operation import OperationRoute, operation_routes

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
_address: list[str] = []


@app.callback()
def where(
    url: Annotated[
        str | None, typer.Option(help="The admin API's address; by default the database of this machine.")
    ] = None,
) -> None:
    """Accounts, keys, credit, providers, endpoints, prices, models, usage."""
    _address[:] = [url] if url else []


def client() -> Client:
    """The API that is meant: at an address, else in this process."""
    loaded = settings.load_local()
    url = _address[0] if _address else loaded.url
    if url is None:
        return LocalClient()
    if loaded.operator_key is None:
        fail("GIGAROUTER_OPERATOR_KEY has your key for the admin API: set it.", USAGE)
    return RemoteClient(url, loaded.operator_key.get_secret_value())


def _add_commands() -> None:
    """One group for each noun, one command for each of its operations."""
    nouns: dict[str, list[OperationRoute]] = {}
    for route in operation_routes(route for noun in operations for route in noun.routes):
        nouns.setdefault(route.spec.noun, []).append(route)
    for noun, routes in nouns.items():
        group = typer.Typer(no_args_is_help=True, cls=SingleVerb if len(routes) == 1 else None)
        group.callback()(no_options)
        for route in routes:
            command = command_of(route)
            named = group.command(route.spec.verb, cls=class_of(command), help=route.description)
            named(function_of(command, client))
        app.add_typer(group, name=noun, help=f"{', '.join(route.spec.verb for route in routes)}.".capitalize())


_add_commands()
