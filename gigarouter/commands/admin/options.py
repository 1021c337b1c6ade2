"""Turns the JSON schema of an operation's fields into the options of its command, and what was typed back into JSON.

Pure. What a command is about, the first two required fields, are its arguments, every other field is an option; fields
of a nested object are options with its name in front (``--cap-amount-usd``). Nothing that was not typed is sent, so
that the API's own defaults hold; and values are judged by the API alone, which tells all that is wrong at once.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from keyword import iskeyword
from typing import Annotated, Any, Final

import msgspec
import typer

Json = dict[str, Any]
Reader = Callable[[str], str]

_NUMBER: Final = re.compile(r"[+-]?\d{1,30}(\.\d{1,30})?", re.ASCII)
UNSET: Final = "unset"
EMPTY: Final[Mapping[str, object]] = {"list": [], "integers": [], "map": {}}
SCALARS: Final = frozenset({"text", "choice", "integer", "number", "file"})


class Usage(Exception):
    """What was typed cannot be sent; the message says what to type."""


class Option(msgspec.Struct, frozen=True):
    """One field of an operation. ``path`` is its place in the JSON, ``kind`` says how it is typed."""

    path: tuple[str, ...]
    kind: str
    help: str
    required: bool = False
    nullable: bool = False
    choices: tuple[str, ...] = ()
    format: str = ""

    @property
    def name(self) -> str:
        """The parameter: ``cap_amount_usd``; ``from_``, which Python would not have as ``from``."""
        name = "_".join(self.path)
        return f"{name}_" if iskeyword(name) else name

    @property
    def flag(self) -> str:
        """The option as it is typed: ``--cap-amount-usd``."""
        return f"--{'-'.join(self.path).replace('_', '-')}"

    @property
    def can_be_unset(self) -> bool:
        """Whether an edit can take it away: what may be null, and all of a list or a map."""
        return self.nullable or self.kind in EMPTY

    @property
    def may_be_argument(self) -> bool:
        """Whether it can stand without a name."""
        return self.required and len(self.path) == 1 and self.kind in SCALARS


def options_of(schema: Json, prefix: tuple[str, ...] = (), definitions: Json | None = None) -> Iterator[Option]:
    """The options of an object's fields, those of nested objects among them."""
    known = schema.get("$defs", {}) if definitions is None else definitions
    needed = set(schema.get("required", ()))
    for name, declared in schema.get("properties", {}).items():
        field, nullable = _resolved(declared, known)
        path = (*prefix, name)
        if field.get("properties"):
            yield from options_of(field, path, known)
            if nullable:
                yield Option(path, "whole", _help(declared, field), nullable=True)
            continue
        yield Option(
            path=path,
            kind=_kind(field),
            help=_help(declared, field),
            required=name in needed and not prefix and not nullable,
            nullable=nullable,
            choices=tuple(str(one) for one in field.get("enum", ())),
            format=field.get("format", ""),
        )


def _resolved(declared: Json, known: Json) -> tuple[Json, bool]:
    """A field's schema without references and without null, and whether null was allowed."""
    field, nullable = declared, False
    if "anyOf" in field:
        some = [one for one in field["anyOf"] if one.get("type") != "null"]
        nullable = len(some) < len(field["anyOf"])
        field = {**field, **(some[0] if len(some) == 1 else {})}
    if "$ref" in field:
        field = {**field, **known[field["$ref"].rpartition("/")[2]]}
    if "$ref" in field.get("items", {}):
        field = {**field, "items": known[field["items"]["$ref"].rpartition("/")[2]]}
    return field, nullable


def _kind(field: Json) -> str:
    """How a field is typed: its JSON type, or what is special about it."""
    kind = str(field.get("type", "json"))
    item = field.get("items", {})
    items = "object" if "$ref" in item else item.get("type", "string")
    special = (
        (bool(field.get("writeOnly")), "secret"),
        ("contentMediaType" in field, "file"),
        (set(field.get("enum", ())) == {"0", "1"}, "flag"),
        (kind == "string" and "enum" in field, "choice"),
        (kind == "array" and items == "integer", "integers"),
        (kind == "array" and items != "string", "json"),
    )
    plain = {"string": "text", "boolean": "switch", "array": "list", "object": "map"}
    return next((name for holds, name in special if holds), plain.get(kind, kind))


def _help(declared: Json, field: Json) -> str:
    words = [declared.get("description") or field.get("description") or ""]
    if _kind(field) in ("list", "integers"):
        words.append("May be repeated.")
    if _kind(field) == "map":
        words.append("name=value; may be repeated.")
    default = declared.get("default")
    if default not in (None, "", [], {}) and not isinstance(default, dict | list):
        words.append(f"By default {default}.")
    return " ".join(filter(None, words))


def parameters(options: Sequence[Option], *, arguments: int = 0, edits: bool = False) -> Iterator[inspect.Parameter]:
    """The parameters of a command, for Typer to read: up to so many ``arguments``, then options."""
    first = [option for option in options if option.may_be_argument][:arguments]
    for option in options:
        if option in first:
            note = typer.Argument(help=_with_choices(option))
            yield _parameter(option.name, Annotated[str, note], inspect.Parameter.empty)
        elif option.required and option.may_be_argument:
            needed = typer.Option(option.flag, help=option.help, metavar=_metavar(option))
            yield _parameter(option.name, Annotated[str, needed], inspect.Parameter.empty)
        elif option.kind == "secret":
            file = typer.Option(f"{option.flag}-file", help=f"{option.help} Its file; - reads standard input.")
            yield _parameter(f"{option.name}_file", Annotated[str | None, file])
            ask = typer.Option(f"--ask-{option.name.replace('_', '-')}", help="Ask for it, hidden.")
            yield _parameter(f"ask_{option.name}", Annotated[bool, ask], False)
        elif option.kind != "whole":
            yield _parameter(option.name, _option(option))
    if edits and (removable := [option.name for option in options if option.can_be_unset]):
        note = typer.Option("--unset", help=f"Take one away ({', '.join(removable)}); may be repeated.")
        yield _parameter(UNSET, Annotated[list[str] | None, note])


def _option(option: Option) -> object:
    name = option.flag
    match option.kind:
        case "flag":
            return Annotated[bool, typer.Option(name, help=_flag_help(option.help))]
        case "switch":
            return Annotated[bool | None, typer.Option(f"{name}/--no-{name[2:]}", help=option.help)]
        case "integers" | "list" | "map":
            return Annotated[list[str] | None, typer.Option(name, help=option.help, metavar=_metavar(option))]
        case _:
            return Annotated[str | None, typer.Option(name, help=option.help, metavar=_metavar(option))]


def _metavar(option: Option) -> str | None:
    """How a value is shown in the help. Each is read as text, so that the form tells all that is wrong at once."""
    match option.kind:
        case "choice":
            return f"<{'|'.join(option.choices)}>"
        case "integer" | "integers":
            return "<int>"
        case "number":
            return "<float>"
        case "map":
            return "<name=value>"
        case "json":
            return "<json>"
        case _:
            return None


def _with_choices(option: Option) -> str:
    """The help of an argument, whose metavar is its name."""
    return f"{option.help} One of {', '.join(option.choices)}.".strip() if option.choices else option.help


def _parameter(name: str, annotation: object, default: object = None) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def body_of(
    options: Sequence[Option], typed: Mapping[str, Any], read: Mapping[str, Reader], faults: dict[str, str]
) -> Json:
    """What is sent: the fields that were typed, in their places. ``read`` has readers of text by format or kind.

    What cannot be read is left out, as is a field to unset that there is not; ``faults`` gets a sentence about
    each, by its place in the JSON.
    """
    body: Json = {}
    for option in options:
        value = typed.get(option.name)
        if value is None or (value is False and option.kind == "flag"):
            continue
        try:
            _place(body, option.path, _encoded(option, value, read))
        except Usage as usage:
            faults[".".join(option.path)] = f"{option.flag}: {usage}"
    removable = {option.name: option for option in options if option.can_be_unset}
    for name in typed.get(UNSET) or ():
        if name.replace("-", "_") not in removable:
            faults[f"{UNSET} {name}"] = f"--unset takes {', '.join(removable)}, not {name}."
            continue
        option = removable[name.replace("-", "_")]
        _place(body, option.path, None if option.nullable else EMPTY[option.kind])
    return body


def _place(body: Json, path: tuple[str, ...], value: object) -> None:
    for name in path[:-1]:
        body = body.setdefault(name, {})
    body[path[-1]] = value


def _encoded(option: Option, value: Any, read: Mapping[str, Reader]) -> object:  # noqa: ANN401 - as it was typed
    match option.kind:
        case "text" | "file" if (reader := read.get(option.format or option.kind)) is not None:
            return reader(value)
        case "map":
            return dict(_pair(pair) for pair in value)
        case "json":
            try:
                return msgspec.json.decode(value)
            except msgspec.DecodeError:
                raise Usage("that is no JSON.") from None
        case "flag":
            return "1"
        case "integer" | "integers" | "number":
            return [_number(one) for one in value] if isinstance(value, list) else _number(value)
        case _:
            return value


def _number(text: str) -> object:
    """A number, or the text as it is: the form says what is wrong with it."""
    if _NUMBER.fullmatch(text) is None:
        return text
    return float(text) if "." in text else int(text)


def _pair(text: str) -> tuple[str, object]:
    """``name=value``, the value as JSON where it is JSON, else as text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise Usage(f"{text!r} is no option such as name=value.")
    try:
        return name, msgspec.json.decode(value)
    except msgspec.DecodeError:
        return name, value


def _flag_help(sentence: str) -> str:
    """Over HTTP a flag is 1 or 0, which its description begins with; on a command line it is there or not."""
    rest = sentence.removeprefix("1: ")
    return rest[:1].upper() + rest[1:]
