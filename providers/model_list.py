"""Pure. Reads the list of models that an OpenAI-compatible server answers, with the facts that the servers in use add.

OpenAI's own list has names alone. vLLM adds a length, OpenRouter a length and a price per token, Together a type, and
our own API all of them. A fact is read where its name has one meaning among them: Together's ``pricing.input`` and
DeepInfra's are amounts without a unit, and are left alone. A fact of a wrong type counts as none.
"""

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Final, TypeVar

import msgspec

from providers.outcomes import Broken

T = TypeVar("T")
# OpenRouter's list of 400 models has 700 kB.
ANSWER_BYTES_MAX: Final = 4 << 20
MODELS_MAX: Final = 5_000
_LENGTHS: Final = ("max_model_len", "max_input_tokens", "context_length", "max_context_length", "context_window")
_WIDTHS: Final = ("dimensions", "embedding_dimensions", "embedding_length", "output_vector_size")
_COUNT_MAX: Final = 2**31 - 1
_AMOUNT: Final = re.compile(r"\d{1,12}(\.\d{1,30})?([eE]-?\d{1,2})?")


class ListedModel(msgspec.Struct, frozen=True):
    """A model as a provider lists it; None is what the list does not say. ``id`` is the provider's own name of it."""

    id: str
    is_embedding: bool | None = None
    dimensions: int | None = None
    max_input_tokens: int | None = None
    usd_per_token: Decimal | None = None


class _Pricing(msgspec.Struct):
    prompt: msgspec.Raw = msgspec.Raw(b"null")
    per_token: msgspec.Raw = msgspec.Raw(b"null")


class _Answer(msgspec.Struct):
    data: list[dict[str, msgspec.Raw]] | None = None
    models: list[dict[str, msgspec.Raw]] | None = None


_DECODER = msgspec.json.Decoder(_Answer | list[dict[str, msgspec.Raw]])


def read_model_list(body: bytes | bytearray) -> tuple[ListedModel, ...]:
    """Read a list of models, each name once, at most ``MODELS_MAX``. Raises Broken where it is none."""
    try:
        answer = _DECODER.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Broken(detail="a list of models that cannot be read", status=200) from error
    listed = answer if isinstance(answer, list) else answer.data if answer.data is not None else answer.models
    if listed is None:
        raise Broken(detail="a list of models that cannot be read", status=200)
    found: dict[str, ListedModel] = {}
    for fields in listed:
        model = _model(fields)
        if model is not None and len(found) < MODELS_MAX:
            found.setdefault(model.id, model)
    return tuple(found.values())


def _model(fields: dict[str, msgspec.Raw]) -> ListedModel | None:
    name = _text(fields.get("id")) or _text(fields.get("name"))
    if name is None:
        return None
    further = {**_object(fields.get("metadata")), **fields}
    return ListedModel(
        name,
        is_embedding=_is_embedding(fields),
        dimensions=_first_count(further, _WIDTHS),
        max_input_tokens=_first_count(further, _LENGTHS),
        usd_per_token=_usd_per_token(fields.get("pricing")),
    )


def _is_embedding(fields: dict[str, msgspec.Raw]) -> bool | None:
    """What the list says of its purpose: a type, a task, endpoints (Cohere), or what comes out of it (OpenRouter)."""
    said = [_text(fields.get(name)) for name in ("type", "task")]
    architecture = _object(fields.get("architecture"))
    for raw in (fields.get("endpoints"), fields.get("output_modalities"), architecture.get("output_modalities")):
        said += _texts(raw)
    words = {word.lower() for word in said if word and word != "model"}
    return None if not words else any("embed" in word for word in words)


def _usd_per_token(raw: msgspec.Raw | None) -> Decimal | None:
    pricing = _read(raw, _Pricing)
    for amount in () if pricing is None else (pricing.per_token, pricing.prompt):
        text = bytes(amount).decode("utf-8", errors="replace").strip('"')
        # A price of 0 is a free offer's, or one that nobody entered.
        if _AMOUNT.fullmatch(text) and Decimal(text) > 0:
            return Decimal(text)
    return None


def _first_count(fields: dict[str, msgspec.Raw], names: Iterable[str]) -> int | None:
    counts: Iterator[int | None] = (_read(fields.get(name), int) for name in names)
    return next((count for count in counts if count is not None and 0 < count <= _COUNT_MAX), None)


def _text(raw: msgspec.Raw | None) -> str | None:
    return _read(raw, str) or None


def _texts(raw: msgspec.Raw | None) -> list[str]:
    return _read(raw, list[str]) or []


def _object(raw: msgspec.Raw | None) -> dict[str, msgspec.Raw]:
    return _read(raw, dict[str, msgspec.Raw]) or {}


def _read(raw: msgspec.Raw | None, kind: type[T]) -> T | None:
    try:
        return None if raw is None else msgspec.json.decode(raw, type=kind)
    except msgspec.MsgspecError:
        return None
