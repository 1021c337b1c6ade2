"""Values that a run of an export hands on: the export, its connection, and the parts that become files."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

import msgspec

from billing.exports.requests import Export
from billing.exports.storage import HashingFile
from store.postgres import Connection


class ExportRefused(Exception):
    """The export cannot be written as it was requested; the message is for the person who requested it."""


class Part(msgspec.Struct, frozen=True):
    """One file of an export: which table or journal it has of ``[since, until)``, how many rows, and their sums."""

    number: int
    name: str
    content: str
    since: datetime
    until: datetime
    rows: int
    sums: dict[str, str] = {}


class Work(msgspec.Struct, frozen=True):
    """What a file is written with. ``connection`` is in the run's snapshot; ``count`` takes the rows as they go.

    ``memo`` is what one file of the run read and others need, too.
    """

    export: Export
    connection: Connection
    count: Callable[[int], None]
    memo: dict[str, Any] = msgspec.field(default_factory=dict)


class PartWriter(Protocol):
    """Plans and writes the files of one kind of export."""

    async def plan(self, work: Work) -> list[Part]:
        """The files that there will be."""
        ...

    async def write(self, work: Work, part: Part, file: HashingFile) -> tuple[int, dict[str, str]]:
        """Write one of them; its rows, and the sums of its amounts."""
        ...


def period_label(since: datetime, until: datetime) -> str:
    """A span of time for the name of a file: 2026-11, 2026-10_2026-12, 2026-11-03_2026-11-05."""
    whole = all((at.day, at.hour, at.minute, at.second, at.microsecond) == (1, 0, 0, 0, 0) for at in (since, until))
    last = datetime.fromtimestamp(until.timestamp() - 1, until.tzinfo)
    first_name, last_name = (f"{at:%Y-%m}" if whole else f"{at:%Y-%m-%d}" for at in (since, last))
    return first_name if first_name == last_name else f"{first_name}_{last_name}"
