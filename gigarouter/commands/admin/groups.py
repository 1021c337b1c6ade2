"""Groups of generated commands, for people who type them."""

from typing import Any

from typer.core import TyperGroup
from typing_extensions import override


class SingleVerb(TyperGroup):
    """A noun with one verb, which may stay untyped: ``gigarouter admin usage --csv`` is ``usage list --csv``."""

    @override
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The arguments with the verb in front."""
        (verb,) = self.commands
        return super().parse_args(ctx, args if args[:1] == [verb] else [verb, *args])


def no_options() -> None:
    """A noun with one verb is a noun still."""
