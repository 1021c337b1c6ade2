"""Pure. Lists the options of each kind of provider with types and descriptions, and reads them or says what is wrong.

The options are declared once, as a struct beside each kind; OpenAPI, the command line's help, the manifest and the
sentences of a refusal come from there.
"""

import difflib
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import inspect

from providers.litellm.options import LiteLLMOptions
from providers.openai.options import OpenAIOptions
from providers.protocol import ProviderKind
from providers.sandbox_options import SandboxOptions
from providers.worker_client.options import WorkerOptions

Options = OpenAIOptions | LiteLLMOptions | WorkerOptions | SandboxOptions

OPTIONS: Final[Mapping[ProviderKind, type[Options]]] = MappingProxyType(
    {
        ProviderKind.OPENAI: OpenAIOptions,
        ProviderKind.LITELLM: LiteLLMOptions,
        ProviderKind.WORKER: WorkerOptions,
        ProviderKind.SANDBOX: SandboxOptions,
    }
)
_PLAIN: Final[Mapping[type[inspect.Type], str]] = {
    inspect.BoolType: "true or false",
    inspect.StrType: "text",
}


class OptionFacts(msgspec.Struct, frozen=True):
    """One option: its type in a person's words, what it is when it is left out, and what it does."""

    name: str
    type: str
    default: object
    required: bool
    description: str


class OptionFault(msgspec.Struct, frozen=True):
    """What is wrong with one option; ``is_unknown``: the kind has none of this name."""

    name: str
    message: str
    is_unknown: bool = False


class OptionsRefused(ValueError):
    """The options are not the kind's: every fault, and the sentence that lists what there is."""

    def __init__(self, kind: ProviderKind, faults: tuple[OptionFault, ...]) -> None:
        self.kind = kind
        self.faults = faults
        sentences = [f"{fault.message}." for fault in faults]
        if any(fault.is_unknown for fault in faults):
            sentences.append(options_sentence(kind))
        self.sentence = " ".join(sentences)
        super().__init__(f"options: {self.sentence}".removesuffix("."))


def read_options(kind: ProviderKind, options: Mapping[str, object]) -> Options:
    """Read the options of a provider of this kind. Raises :class:`OptionsRefused` with all faults."""
    struct = OPTIONS[kind]
    faults = tuple(_faults(kind, options))
    if faults:
        raise OptionsRefused(kind, faults)
    try:
        return msgspec.convert(dict(options), struct)
    except msgspec.ValidationError as error:
        # Raised by a struct of ours for a value of the right type: "headers: why".
        name, _, message = str(error).partition(": ")
        raise OptionsRefused(kind, (OptionFault(name, f"The option {name}: {message}"),)) from error


def option_facts(kind: ProviderKind) -> tuple[OptionFacts, ...]:
    """The options of a kind, in the order of their importance."""
    return tuple(
        OptionFacts(
            field.name,
            _words(field.type),
            None if field.required else _default(field),
            field.required,
            _description(OPTIONS[kind], field.name),
        )
        for field in _fields(kind)
    )


def options_sentence(kind: ProviderKind) -> str:
    """What options a kind has, each with its type: "The kind openai has the options path (text), …"."""
    listed = (f"{facts.name} ({facts.type}{', needed' * facts.required})" for facts in option_facts(kind))
    return f"The kind {kind} has the options {', '.join(listed)}."


def option_lines() -> list[str]:
    """A line for each option of every kind: "openai.path (text): What follows the base URL."."""
    return [
        f"{kind}.{facts.name} ({facts.type}{', needed' * facts.required}): {facts.description}"
        for kind in ProviderKind
        for facts in option_facts(kind)
    ]


def option_schemas(prefix: str) -> dict[str, Any]:
    """The JSON schema of each kind's options, by name; references begin with ``prefix``."""
    _, components = msgspec.json.schema_components(OPTIONS.values(), ref_template=prefix + "{name}")
    return components


def _fields(kind: ProviderKind) -> tuple[inspect.Field, ...]:
    info = inspect.type_info(OPTIONS[kind])
    assert isinstance(info, inspect.StructType), "options are a struct; this is a bug"
    return info.fields


def _faults(kind: ProviderKind, options: Mapping[str, object]) -> Iterable[OptionFault]:
    types = get_type_hints(OPTIONS[kind], include_extras=True)
    facts = {one.name: one for one in option_facts(kind)}
    for name in options:
        if name not in facts:
            near = difflib.get_close_matches(name, facts, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            yield OptionFault(name, f"{name[:60]!r} is no option of the kind {kind}{hint}".rstrip("?"), is_unknown=True)
    for one in facts.values():
        if one.name in options:
            try:
                msgspec.convert(options[one.name], types[one.name])
            except msgspec.ValidationError:
                yield OptionFault(one.name, f"The option {one.name} is {one.type}")
        elif one.required:
            yield OptionFault(
                one.name, f"The kind {kind} needs the option {one.name} ({one.type}): {one.description}".rstrip(".")
            )


def _default(field: inspect.Field) -> object:
    if field.default is not msgspec.NODEFAULT:
        return field.default
    return field.default_factory() if callable(field.default_factory) else None


def _description(struct: type[Options], name: str) -> str:
    """The description that stands in the field's annotation, or in one of the types that it may have."""
    pending: list[object] = [get_type_hints(struct, include_extras=True)[name]]
    while pending:
        hint = pending.pop(0)
        for note in getattr(hint, "__metadata__", ()):
            if isinstance(note, msgspec.Meta) and note.description:
                return note.description
        if get_origin(hint) is not Literal:
            pending += get_args(hint)
    raise AssertionError(f"the option {name} has no description; this is a bug")


def _words(kind: inspect.Type) -> str:
    """A type in a person's words."""
    match kind:
        case inspect.Metadata():
            words = _words(kind.type)
        case inspect.LiteralType():
            words = " or ".join(map(str, kind.values))
        case inspect.IntType():
            words = "a whole number" if kind.ge is None else f"a whole number from {kind.ge} to {kind.le}"
        case inspect.DictType():
            words = f"names with {_words(kind.value_type)}"
        case inspect.ListType():
            words = f"a list of {_words(kind.item_type)}"
        case inspect.UnionType():
            words = " or ".join(_words(one) for one in kind.types if not isinstance(one, inspect.NoneType))
        case _:
            words = _PLAIN[type(kind)]
    return words
