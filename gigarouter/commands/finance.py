"""`gigarouter finance`: the commands of `gigarouter admin` that finance types, under the names that finance has.

There is no second code path: each command is that of the declared operation, here in another group. A group names the
nouns whose commands it has; a noun that this release lacks is left out.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import typer
from typer.core import TyperGroup
from typing_extensions import override

from gigarouter.commands.admin import client, where
from gigarouter.commands.admin.generate import Command, class_of, command_of, function_of
from router.api.admin import operations
from router.api.operation import OperationRoute, operation_routes

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.callback()(where)


class Group(msgspec.Struct, frozen=True):
    """A group of commands: a noun's, all of them or those of some ``verbs``.

    ``usual`` is the verb that may stay untyped; ``preset`` are options that the group has by its name.
    """

    noun: str
    verbs: tuple[str, ...] = ()
    usual: str = ""
    preset: Mapping[str, str] = {}


_DOCUMENTS = ("list", "show", "download", "preview", "issue", "send", "verify")
GROUPS: dict[str, Group] = {
    "billing-profile": Group("billing-profiles"),
    "topups": Group("topups"),
    "payments": Group("receivables"),
    "refund": Group("refunds", usual="create"),
    "disputes": Group("disputes"),
    "reviews": Group("reviews"),
    "recharges": Group("recharges"),
    "lines": Group("lines"),
    "contracts": Group("contracts"),
    "grants": Group("grants"),
    "proposals": Group("proposals"),
    "invoices": Group("documents", (*_DOCUMENTS, "issue-month", "void", "credit")),
    "statements": Group("documents", _DOCUMENTS[:-1], preset={"kind": "statement"}),
    "close": Group("close"),
    "export": Group("exports", usual="create"),
    "reconcile": Group("reconciliations", usual="run"),
    "differences": Group("differences"),
    "corrections": Group("corrections"),
    "provider-invoices": Group("provider-invoices"),
    "verify": Group("documents", ("verify",), usual="verify"),
    "books": Group("books"),
    "ledger": Group("ledger"),
}


def _usual_verb(verb: str) -> type[TyperGroup]:
    """The class of a group whose verb may stay untyped: ``finance refund Acme`` is ``finance refund create Acme``."""

    class UsualVerb(TyperGroup):
        @override
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            """The arguments with the verb in front, unless one is there or help is wanted."""
            is_typed = args[:1] and (args[0] in self.commands or (args[0] == "--help" and len(self.commands) > 1))
            return super().parse_args(ctx, args if is_typed else [verb, *args])

    return UsualVerb


def _with_preset(run: Callable[..., None], command: Command, preset: Mapping[str, str]) -> Callable[..., None]:
    """The command with those of the options set that its group has by its name."""
    known = {option.name for option in (*command.body, *command.query)}
    values = {name: value for name, value in preset.items() if name in known}
    if not values:
        return run

    def run_preset(**typed: object) -> None:
        run(**{**typed, **values})

    parameters = inspect.signature(run).parameters.values()
    kept = [parameter for parameter in parameters if parameter.name not in values]
    run_preset.__doc__ = run.__doc__
    run_preset.__signature__ = inspect.Signature(kept)  # type: ignore[attr-defined]
    return run_preset


def _add_groups() -> None:
    nouns: dict[str, list[OperationRoute]] = {}
    for route in operation_routes(route for noun in operations for route in noun.routes):
        nouns.setdefault(route.spec.noun, []).append(route)
    for name, group in GROUPS.items():
        routes = [route for route in nouns.get(group.noun, ()) if not group.verbs or route.spec.verb in group.verbs]
        if not routes:
            continue
        usual = group.usual or (routes[0].spec.verb if len(routes) == 1 else "")
        listed = typer.Typer(no_args_is_help=not usual, cls=_usual_verb(usual) if usual else None)
        listed.callback()(_nothing)
        for route in routes:
            command = command_of(route)
            named = listed.command(route.spec.verb, cls=class_of(command), help=route.description)
            named(_with_preset(function_of(command, client), command, group.preset))
        verbs = ", ".join(route.spec.verb for route in routes)
        app.add_typer(listed, name=name, help=f"{verbs} (`admin {group.noun}`).".capitalize())


def _nothing() -> None:
    """A group is a group, also of one verb."""


_add_groups()
