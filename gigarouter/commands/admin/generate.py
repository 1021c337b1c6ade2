"""Makes one command of each declared operation of the admin API: ``gigarouter admin NOUN VERB``.

Name, help, arguments and options are the declaration's; what the command does is to send the call and print the answer:
a table for people at a terminal, JSON for everything else and with ``--json``. Exit codes: 0 done, 1 failed, 2 wrong
usage, 3 not allowed, 4 not found, 5 no credit, 6 a limit, 7 a provider failed.
"""

import base64
import inspect
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import msgspec
import typer
from typer.core import TyperCommand
from typing_extensions import override

from gigarouter.commands.admin.client import Call, Client, Reply
from gigarouter.commands.admin.instants import instant_text
from gigarouter.commands.admin.options import UNSET, Option, Reader, Usage, body_of, options_of, parameters
from gigarouter.commands.admin.output import show
from router.api.operation import CSV, OCTETS, OperationRoute, body_schema, columns_of, form_faults, query_schemas
from store.faults import CannotStart

FAILED, USAGE, NOT_ALLOWED, NOT_FOUND, NO_CREDIT, LIMITED, PROVIDER_FAILED = 1, 2, 3, 4, 5, 6, 7
EXIT_CODES: Final = {
    400: USAGE,
    401: NOT_ALLOWED,
    402: NO_CREDIT,
    403: NOT_ALLOWED,
    404: NOT_FOUND,
    422: USAGE,
    428: USAGE,
    429: LIMITED,
    502: PROVIDER_FAILED,
}
PAGE: Final = "100"
PAGING: Final = frozenset({"has_more", "next_cursor"})
PATIENCE_S: Final = 10.0
ONCE: Final = "The secret is shown this once and stored nowhere. Keep it now."
AGAIN: Final = "Keep the secret now. Only this command with the same --idempotency-key shows it again, for a day."
# What a command is about: more of them in a row would have to be learned by heart.
ARGUMENTS_MAX: Final = 2
_FIELD: Final = re.compile(r"\b[a-z]+(?:_[a-z0-9]+)+\b")

AsJson = Annotated[bool, typer.Option("--json", help="JSON also on a terminal.")]
Repeats = Annotated[
    str | None, typer.Option("--idempotency-key", help="The same key and command have their effect once.")
]


SaveTo = Annotated[
    Path | None, typer.Option("--to", help="The file to write; by default the answer's own name, in this folder.")
]
AsCsv = Annotated[bool, typer.Option("--csv", help="CSV, for a spreadsheet.")]


class Command(msgspec.Struct, frozen=True):
    """An operation as it is typed: what stands in its path, its query and its body."""

    route: OperationRoute
    places: tuple[str, ...]
    query: tuple[Option, ...]
    body: tuple[Option, ...]


class FormCommand(TyperCommand):
    """A command whose fields may be left out, so that its form tells all that is missing and wrong at once."""

    fields: frozenset[str] = frozenset()

    @override
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The arguments; which have to be given is only in the help."""
        needed = [parameter for parameter in self.params if parameter.required and parameter.name in self.fields]
        if "--help" in args:
            return super().parse_args(ctx, args)
        for parameter in needed:
            parameter.required = False
        try:
            return super().parse_args(ctx, args)
        finally:
            for parameter in needed:
                parameter.required = True


def class_of(command: Command) -> type[FormCommand]:
    """The class of one command, which knows the fields of its body."""
    fields = frozenset(option.name for option in command.body)
    return type("FormCommand", (FormCommand,), {"fields": fields})


def command_of(route: OperationRoute) -> Command:
    """The command of one operation."""
    body = body_schema(route)
    return Command(
        route,
        places=tuple(route.param_convertors),
        query=tuple(option for schema in query_schemas(route) for option in options_of(schema)),
        # What a thing is called comes first, wherever its form has it.
        body=() if body is None else tuple(sorted(options_of(body), key=lambda option: option.path != ("id",))),
    )


def function_of(command: Command, client: Callable[[], Client]) -> Callable[..., None]:
    """The function that Typer runs: its signature is the operation's."""
    spec = command.route.spec

    def run(**typed: object) -> None:
        as_json = bool(typed.pop("as_json"))
        try:
            reply = _sent(command, client(), typed)
        except CannotStart as fault:
            fail(str(fault))
        if reply.is_error:
            fail_with(reply, command)
        show(reply.answer, as_json=as_json, columns=columns_of(command.route))
        if spec.shows_once:
            typer.secho(AGAIN if typed.get("idempotency_key") else ONCE, err=True, fg="yellow")
        if isinstance(reply.answer, Mapping) and reply.answer.get("passed") is False:
            fail(" ".join(filter(None, (reply.answer.get("reason"), reply.answer.get("advice")))), PROVIDER_FAILED)
        if isinstance(reply.answer, Mapping) and reply.answer.get("balanced") is False:
            fail("The ledger does not balance.")
        if isinstance(reply.answer, Mapping) and reply.answer.get("ok") is False:
            fail("What was verified is not right.")

    run.__doc__ = command.route.description or command.route.summary
    run.__signature__ = inspect.Signature([*_signature(command)])  # type: ignore[attr-defined]
    return run


def _signature(command: Command) -> Iterable[inspect.Parameter]:
    keyword = inspect.Parameter.KEYWORD_ONLY
    for place in command.places:
        noun = place.removesuffix("_id")
        note = typer.Argument(metavar=noun.upper(), help="Id or name.")
        yield inspect.Parameter(place, keyword, annotation=Annotated[str, note])
    optional = []
    edits = command.route.spec.edits
    arguments = ARGUMENTS_MAX - len(command.places)
    body = parameters(command.body, arguments=arguments, edits=edits)
    # The model of a list or a decision may stand without a name, too.
    for parameter in [*body, *parameters(command.query, arguments=arguments)]:
        if parameter.default is inspect.Parameter.empty:
            yield parameter
        else:
            optional.append(parameter)
    yield from optional
    if command.route.spec.writes:
        yield inspect.Parameter("idempotency_key", keyword, default=None, annotation=Repeats)
    yield inspect.Parameter("as_json", keyword, default=False, annotation=AsJson)
    if OCTETS in command.route.spec.media:
        yield inspect.Parameter("save_to", keyword, default=None, annotation=SaveTo)
    if CSV in command.route.spec.media:
        yield inspect.Parameter("as_csv", keyword, default=False, annotation=AsCsv)


def _sent(command: Command, client: Client, typed: dict[str, object]) -> Reply:
    spec = command.route.spec
    faults: dict[str, str] = {}
    for option in command.body:
        if option.kind == "secret":
            file, ask = typed.pop(f"{option.name}_file"), typed.pop(f"ask_{option.name}")
            try:
                typed[option.name] = _secret(None if file is None else str(file), ask=bool(ask))
            except Usage as usage:
                faults[".".join(option.path)] = str(usage)
    body = body_of(command.body, typed, READERS, faults)
    query = {
        name: _query_text(value)
        for name, value in body_of(command.query, {**typed, UNSET: None}, READERS, faults).items()
    }
    if faults := _form_faults(command, query, body) | faults:
        fail("\n".join(faults.values()), USAGE)
    call = Call(
        method=spec.method,
        path=spec.path,
        path_values={place: str(typed[place]) for place in command.places},
        query=query,
        body=None if command.route.body_field is None else body,
        edits=spec.edits,
        writes=spec.writes,
        idempotency_key=None if (key := typed.get("idempotency_key")) is None else str(key),
        accept=CSV if typed.get("as_csv") else None,
        save_to=_file_of(command, typed) if OCTETS in spec.media else None,
    )
    pages = "limit" not in query and any(option.name == "cursor" for option in command.query)
    return _all_pages(client, call) if pages else _sent_patiently(client, call)


def _file_of(command: Command, typed: Mapping[str, object]) -> Path:
    """Where a file goes: what was typed, else the last part of its path, which is its name."""
    wanted = typed.get("save_to")
    return wanted if isinstance(wanted, Path) else Path(Path(str(typed[command.places[-1]])).name)


def _form_faults(command: Command, query: Mapping[str, str], body: Mapping[str, object]) -> dict[str, str]:
    """What the operation's types would refuse, each fault by its field: told before anything is sent."""
    found = form_faults(command.route, query, msgspec.json.encode(body))
    return {fault.param or "": _as_typed(command, fault.param, fault.message) for fault in found}


def _as_typed(command: Command, param: str | None, message: str) -> str:
    """A sentence about a field, with the name of its option or argument instead of the field's."""
    options = (*command.body, *command.query)
    arguments = [option for option in options if option.may_be_argument][: ARGUMENTS_MAX - len(command.places)]
    field, bracket, place = (param or "").partition("[")
    for option in options:
        if field == ".".join(option.path):
            name = option.name if option in arguments else option.flag
            return message.replace(f"'{param}'", f"{name}{bracket}{place}", 1)
    return message


def _with_flags(command: Command, sentence: str) -> str:
    """A sentence with the options of this command in it, where it names their fields: allow_zero_cost."""
    flags = {option.name: option.flag for option in command.body}
    return _FIELD.sub(lambda found: flags.get(found[0], found[0]), sentence)


def _sent_patiently(client: Client, call: Call) -> Reply:
    """The answer; what can be read in a moment, such as a call that is being recorded, is waited for."""
    until = time.monotonic() + PATIENCE_S
    while True:
        reply = client.send(call)
        wait_s = reply.retry_after_s
        if call.method != "GET" or wait_s is None or time.monotonic() + wait_s > until:
            return reply
        time.sleep(wait_s)


def _query_text(value: object) -> str:
    """A value of the query; a list is one with commas."""
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _all_pages(client: Client, call: Call) -> Reply:
    """The whole list, page by page."""
    rows: list[Any] = []
    query = {**call.query, "limit": PAGE}
    while True:
        reply = client.send(msgspec.structs.replace(call, query=query))
        if reply.is_error or "next_cursor" not in reply.answer:
            return reply
        rows += reply.answer["data"]
        if not reply.answer["has_more"]:
            # What a list says beside its rows is the same on each of its pages.
            beside = {name: value for name, value in reply.answer.items() if name not in PAGING}
            return Reply(reply.status, {**beside, "data": rows})
        query = {**query, "cursor": reply.answer["next_cursor"]}


def _secret(file: str | None, *, ask: bool) -> str | None:
    """A secret from a file, a pipe or a hidden prompt: on a command line every user of the machine could see it.

    Raises :class:`Usage` for a file that cannot be read.
    """
    if ask:
        return str(typer.prompt("Credential", hide_input=True)).strip()
    if file is None:
        return None
    return _text_of(file).strip()


def _text_of(file: str) -> str:
    """The text of a file; ``-`` is standard input. Raises :class:`Usage`."""
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise Usage(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise Usage(f"{file} is not UTF-8 text.") from None


def _base64_of(file: str) -> str:
    """The bytes of a file in base64; ``-`` is standard input. Raises :class:`Usage`."""
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise Usage(f"{file} cannot be read: {error.strerror}.") from None
    return base64.b64encode(content).decode()


READERS: Final[dict[str, Reader]] = {"date-time": instant_text, "file": _text_of, "byte": _base64_of}


def fail_with(reply: Reply, command: Command) -> NoReturn:
    """End the command as the API's error says."""
    error = reply.answer.get("error", {}) if isinstance(reply.answer, Mapping) else {}
    default = f"The API answered {reply.status}."
    faults = (error.get("details") or {}).get("faults") or [error]
    sentences = [
        _with_flags(command, _as_typed(command, fault.get("param"), str(fault.get("message") or default)))
        for fault in faults
    ]
    fail("\n".join(sentences), EXIT_CODES.get(reply.status, FAILED))


def fail(message: str, code: int = FAILED) -> NoReturn:
    """One sentence on stderr, and the end of the command."""
    typer.secho(message, err=True, fg="red")
    raise typer.Exit(code)
