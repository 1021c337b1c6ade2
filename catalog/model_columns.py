"""Pure. Turns the facts of a model into the columns of ``models`` that hold them, and a row back into facts.

A fact is a column of its own name, lists of records as JSON. Exceptions are the aliases (a table of their own), the
estimate (a column for each of its fields) and the vector space, which is named from other facts.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from catalog.descriptions import Benchmark, Downloads, Statement, Text
from catalog.spaces import space_of
from catalog.values import Estimate, ModelFacts

# Facts whose column has a list or JSON of them.
_LISTS: Final = ("trained_dimensions", "language_codes", "programming_languages")
_RECORDS: Final[Mapping[str, Any]] = {
    "downloads": Downloads | None,
    "statements": tuple[Statement, ...],
    "benchmarks": tuple[Benchmark, ...],
    "texts": tuple[Text, ...],
}
# Facts that are a column as they are.
_PLAIN: Final = tuple(
    name for name in ModelFacts.__struct_fields__ if name not in {"id", "aliases", "estimate", *_LISTS, *_RECORDS}
)


def columns_of(facts: ModelFacts) -> dict[str, Any]:
    """The columns that state these facts, with their values; ``id`` is not among them."""
    estimate = facts.estimate
    records = {name: json_of(getattr(facts, name)) for name in _RECORDS}
    lists = {name: list(getattr(facts, name)) for name in _LISTS}
    return (
        {name: getattr(facts, name) for name in _PLAIN}
        | lists
        | records
        | {
            "space": space_of(
                facts.id,
                revision=facts.revision,
                owned_by=facts.owned_by,
                pooling=facts.pooling,
                normalized=facts.normalized,
                prompts=facts.prompts,
                numerics=facts.numerics,
            ),
            "estimated_nano_per_mtok": estimate.nano_per_mtok if estimate else None,
            "estimate_source": estimate.source if estimate else None,
            "estimate_stated_on": estimate.stated_on if estimate else None,
            "estimate_is_list_price": estimate.is_list_price if estimate else False,
            "estimate_note": estimate.note if estimate else "",
        }
    )


def json_of(records: object) -> object:
    """A record, or a list of them, as JSON has it: without what is empty."""
    return [msgspec.to_builtins(one) for one in records] if isinstance(records, tuple) else msgspec.to_builtins(records)


def facts_in(row: Mapping[Any, Any], aliases: Iterable[str]) -> dict[str, Any]:
    """The facts that a row of ``models`` states, by the names of :class:`ModelFacts`."""
    return {name: row[name] for name in _PLAIN} | {
        "id": row["id"],
        "aliases": tuple(aliases),
        **{name: tuple(row[name]) for name in _LISTS},
        **{name: msgspec.convert(row[name], kind) for name, kind in _RECORDS.items()},
        "estimate": _estimate(row),
    }


def _estimate(row: Mapping[Any, Any]) -> Estimate | None:
    if row["estimated_nano_per_mtok"] is None:
        return None
    return Estimate(
        nano_per_mtok=row["estimated_nano_per_mtok"],
        source=row["estimate_source"],
        stated_on=row["estimate_stated_on"],
        is_list_price=row["estimate_is_list_price"],
        note=row["estimate_note"],
    )
