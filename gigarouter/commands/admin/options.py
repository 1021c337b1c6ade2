"""Options that making a thing and editing it have in common: one table, whatever was typed arrives as ``**given``."""

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, TypeAlias

import typer

from gigarouter.commands.admin.session import USAGE, fail

Command: TypeAlias = Callable[..., None]
Unset = Annotated[list[str] | None, typer.Option("--unset", help="Take one away; may be repeated.")]


def offers(options: Mapping[str, object]) -> Callable[[Command], Command]:
    """Gives a command with ``**given`` the options of a table, by parameter; None stands for one that was not typed."""

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command)
        own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        shared = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
            for name, option in options.items()
        ]
        own.sort(key=lambda one: one.kind)
        command.__signature__ = signature.replace(parameters=[*own, *shared])  # type: ignore[attr-defined]
        return command

    return decorate


def typed(given: Mapping[str, object]) -> dict[str, object]:
    """Those that were typed."""
    return {name: value for name, value in given.items() if value is not None}


def taken_away(unset: list[str] | None, allowed: Mapping[str, object]) -> dict[str, object]:
    """What each ``--unset`` leaves; a wrong one ends the command."""
    if unknown := set(unset or ()) - allowed.keys():
        fail(f"--unset takes {', '.join(allowed)}, not {', '.join(sorted(unknown))}.", USAGE)
    return {name: allowed[name] for name in unset or ()}
