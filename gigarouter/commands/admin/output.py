"""What a command prints: a table for people at a terminal, JSON for everything else or where ``--json`` is given."""

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Literal, cast

import msgspec
import typer
from rich.console import Console
from rich.table import Table

Row = Mapping[str, object]
# What a person looks for first.
FIRST = ("key", "id", "name")
# What a program tells kinds of answers apart by; a person knows what the command was.
KIND = "object"
AsJson = Annotated[bool, typer.Option("--json", help="JSON also on a terminal.")]


def show(answer: object, *, as_json: bool, columns: Sequence[str] = ()) -> None:
    """Print what an operation answered; ``columns`` are what a table of many things shows, all of them if empty."""
    match answer:
        case None:
            return
        case str():
            typer.echo(answer, nl=not answer.endswith("\n"))
        case {"object": "list", "data": list() as rows}:
            listed = [_chosen(row, columns) for row in rows] if not prints_json(as_json) else rows
            show_list(listed, as_json=as_json)
        case {"lines": list() as lines} if not prints_json(as_json):
            typer.echo("\n".join(map(str, lines)))
        case dict():
            first = {name: answer[name] for name in FIRST if name in answer}
            show_one({**first, **answer}, as_json=as_json)
        case _:
            _print_json(answer)


def _chosen(row: Row, columns: Sequence[str]) -> Row:
    """The columns of a table; without a choice, what fits a cell."""
    if columns:
        return {name: row.get(name) for name in columns}
    return {name: value for name, value in row.items() if not isinstance(value, dict | list)}


def show_list(rows: Sequence[Row], *, as_json: bool) -> None:
    """Many things: one line each, or ``{"object": "list", "data": […]}``."""
    if prints_json(as_json):
        _print_json({"object": "list", "data": [_plain(row) for row in rows]})
        return
    if not rows:
        typer.echo("Nothing.")
        return
    rows = [_without_kind(row) for row in rows]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0]:
        table.add_column(name.replace("_", " "), overflow="fold", justify=_side(rows[0][name]))
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    Console().print(table)


def show_one(row: Row, *, as_json: bool) -> None:
    """One thing: a line per field, or an object."""
    if prints_json(as_json):
        _print_json(_plain(row))
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    row = _without_kind(row)
    tables = {name: value for name, value in row.items() if _is_table(value)}
    for name, value in row.items():
        if name not in tables:
            table.add_row(name.replace("_", " "), _cell(value))
    Console().print(table)
    grouping = cast("list[str]", row.get("group_by") or [])
    for name, rows in tables.items():
        typer.echo(f"\n{name.replace('_', ' ').capitalize()}")
        show_list(_without_empty_columns(cast("list[Row]", rows), grouping), as_json=False)


def _without_empty_columns(rows: Sequence[Row], grouping: Sequence[str]) -> list[Row]:
    """Rows without the columns that are null in each of them; what they are grouped by stands first."""
    first = [column for name in grouping for column in (name, f"{name}_name")]
    shown = [name for name in rows[0] if any(row.get(name) is not None for row in rows)]
    shown.sort(key=lambda name: first.index(name) if name in first else len(first))
    return [{name: row.get(name) for name in shown} for row in rows]


def instant(value: datetime | None) -> str | None:
    """RFC 3339 in UTC, to the second."""
    return None if value is None else f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def prints_json(wanted: bool) -> bool:
    """Whether JSON is wanted: asked for, or nobody sits at a terminal."""
    return wanted or not sys.stdout.isatty()


def _print_json(value: object) -> None:
    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def _plain(row: Row) -> dict[str, object]:
    return {name: value.value if isinstance(value, Enum) else value for name, value in row.items()}


def _is_table(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, Mapping) for one in value)


def _without_kind(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != KIND}


def _side(value: object) -> Literal["left", "right"]:
    return "right" if isinstance(value, int) and not isinstance(value, bool) else "left"


def _cell(value: object) -> str:
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case list() | tuple() | frozenset():
            return ", ".join(_cell(item) for item in value) or "-"
        case Mapping():
            return ", ".join(f"{name}={_cell(item)}" for name, item in value.items() if name != KIND) or "-"
        case _:
            return str(value)
