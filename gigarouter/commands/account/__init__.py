"""The commands of a customer, by URL and key: `gigarouter keys`, `usage`, `requests`, …, one group for each noun.

Each command is a declared operation of ``/v1``, as those of `gigarouter admin` are of ``/admin/v1``: the same
generator, output and exit codes. Operations for bodies that nobody types (embeddings, quotes) have none.
"""

from collections.abc import Iterator

import typer

from gigarouter.commands.account.client import client
from gigarouter.commands.admin.generate import class_of, command_of, function_of
from gigarouter.commands.admin.groups import SingleVerb, no_options
from router.api.operation import OperationRoute, Who, operation_routes
from router.api.public import operations
from store.faults import CannotStart

# What the command is called where the noun is another: a person has an account, not accounts.
NAMES = {"accounts": "account"}
_CALLERS = frozenset({Who.KEY, Who.MANAGER, Who.PERSON, Who.VISITOR})
# Pages and programs call these.
_WITHOUT = frozenset({"quotes", "device"})


def nouns() -> dict[str, list[OperationRoute]]:
    """The operations of each group, by its name."""
    found: dict[str, list[OperationRoute]] = {}
    for route in _routes():
        found.setdefault(NAMES.get(route.spec.noun, route.spec.noun), []).append(route)
    return found


def app_of(name: str) -> typer.Typer:
    """The group of one noun, with one command for each of its operations."""
    routes = nouns().get(name)
    if routes is None:
        raise CannotStart(f"This release has no operations of {name}.")
    group = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        cls=SingleVerb if len(routes) == 1 else None,
    )
    group.callback()(no_options)
    for route in routes:
        command = command_of(route)
        named = group.command(route.spec.verb, cls=class_of(command), help=route.description)
        named(function_of(command, client))
    return group


def _routes() -> Iterator[OperationRoute]:
    for noun in operations:
        for route in operation_routes(noun.routes.routes):
            if route.spec.who in _CALLERS and route.spec.noun not in _WITHOUT:
                yield route
