"""Adds and edits models for operators; :mod:`catalog.seed` imports the shipped ones. Lifecycles are not its matter."""

import re
from collections.abc import Iterator

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog import descriptions
from catalog.descriptions import Sourced
from catalog.errors import FactsInvalid, NameTaken
from catalog.model_columns import columns_of
from catalog.tables import ModelAliasRow, ModelRow
from catalog.values import Estimate, Model, ModelFacts
from store.ids import ModelId

INTEGER_MAX, BIGINT_MAX = 2**31 - 1, 2**63 - 1
MANY = 100
MODEL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._:-]*")
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")
_SLUG = re.compile(r"[a-z0-9-]{1,40}")
_PRINTABLE = re.compile(r"[!-~]{1,200}")
_LENGTHS = {
    "owned_by": (1, 200),
    "summary": (1, 1000),
    "tokenizer": (1, 300),
    "languages": (0, 1000),
    "architecture": (1, 200),
    "note": (0, 5000),
}
_BOUNDS = {
    "dimensions": (1, 65536),
    "max_input_tokens": (1, INTEGER_MAX),
    "max_input_tokens_ceiling": (1, INTEGER_MAX),
    "vocabulary_size": (1, INTEGER_MAX),
    "special_tokens": (0, INTEGER_MAX),
    "parameters": (1, BIGINT_MAX),
}
_ESTIMATE_MAX = 9_000_000_000_000

# The facts of a model where nothing states them; for the facts that it needs, placeholders.
BARE = ModelFacts(
    id=ModelId(""), owned_by="", summary="", published_on=None, dimensions=1, max_input_tokens=1, normalized=False
)


def facts_of(model: Model) -> ModelFacts:
    """A model's facts, as they can be edited."""
    return ModelFacts(**{name: getattr(model, name) for name in ModelFacts.__struct_fields__})


async def add(db: AsyncConnection, facts: ModelFacts) -> None:
    """Add a model, coming soon; its claims are recorded separately. Raises ``FactsInvalid``, ``NameTaken``."""
    await _check(db, facts)
    try:
        await db.execute(insert(ModelRow).values(id=facts.id, **columns_of(facts)))
        await _write_aliases(db, facts)
    except IntegrityError as error:
        raise _refused(facts, error) from error


async def edit(db: AsyncConnection, facts: ModelFacts, *, keeps_space: bool) -> None:
    """Replace all facts. ``keeps_space``: its vector space keeps the name it was given.

    Raises ``FactsInvalid``, ``NameTaken``.
    """
    await _check(db, facts)
    columns = columns_of(facts)
    if keeps_space:
        del columns["space"]
    try:
        await db.execute(update(ModelRow).where(ModelRow.id == facts.id).values(**columns))
        await db.execute(delete(ModelAliasRow).where(ModelAliasRow.model_id == facts.id))
        await _write_aliases(db, facts)
    except IntegrityError as error:
        raise _refused(facts, error) from error


async def _write_aliases(db: AsyncConnection, facts: ModelFacts) -> None:
    for alias in facts.aliases:
        await db.execute(insert(ModelAliasRow).values(alias=alias, model_id=facts.id))


async def _check(db: AsyncConnection, facts: ModelFacts) -> None:
    for field, message in faults(facts):
        raise FactsInvalid(message, field)
    taken = select(ModelAliasRow.alias, ModelAliasRow.model_id).where(
        ModelAliasRow.alias.in_(facts.aliases), ModelAliasRow.model_id != facts.id
    )
    for alias, other in await db.execute(taken):
        raise NameTaken(f"The alias {alias} is {other}'s.", "aliases")


def _refused(facts: ModelFacts, error: IntegrityError) -> FactsInvalid:
    """The error for what only the database could see, such as a name that was taken in the same moment."""
    rule = getattr(getattr(error.orig, "__cause__", None), "constraint_name", None) or "the catalogue's rules"
    if rule == "models_pkey":
        return NameTaken(f"There is a model {facts.id} already.", "id")
    if rule == "model_aliases_pkey":
        return NameTaken(f"An alias of {facts.id} is another model's: {', '.join(facts.aliases)}.", "aliases")
    return FactsInvalid(f"The facts of {facts.id} cannot be: they break {rule}.")


def faults(facts: ModelFacts) -> Iterator[tuple[str, str]]:
    """Each fact that breaks a rule, with a sentence; the database has the same bounds. Pure."""
    if len(facts.id) > 200 or MODEL_ID.fullmatch(facts.id) is None:
        yield "id", "A model's id is org/name: letters, digits, dots, dashes and underscores, at most 200 characters."
        return
    for field, (least, most) in _LENGTHS.items():
        text = getattr(facts, field)
        if text is not None and not least <= len(text) <= most:
            yield field, f"'{field}' has {least} to {most} characters."
    for field, (least, most) in _BOUNDS.items():
        number = getattr(facts, field)
        if number is not None and not least <= number <= most:
            yield field, f"'{field}' is between {least} and {most}."
    for field in ("pooling", "numerics", "task"):
        if _SLUG.fullmatch(getattr(facts, field)) is None:
            yield field, f"'{field}' is lower-case letters, digits and dashes, at most 40."
    if facts.revision is not None and _PRINTABLE.fullmatch(facts.revision) is None:
        yield "revision", "'revision' is a commit or a digest: 1 to 200 characters of ASCII without blanks."
    yield from _contradictions(facts)
    yield from _description_faults(facts)
    yield from _list_faults(facts)
    if facts.estimate is not None:
        yield from _estimate_faults(facts.estimate)
    if _PRINTABLE.fullmatch(columns_of(facts)["space"]) is None:
        yield "id", "The name of its vector space, made from its facts, would have more than 200 characters."


def _contradictions(facts: ModelFacts) -> Iterator[tuple[str, str]]:
    ceiling = facts.max_input_tokens_ceiling
    if ceiling is not None and ceiling < facts.max_input_tokens:
        yield "max_input_tokens_ceiling", "'max_input_tokens_ceiling' is at least 'max_input_tokens'."
    if facts.special_tokens > facts.max_input_tokens:
        yield "special_tokens", "'special_tokens' are among the 'max_input_tokens', so they are no more."
    if (facts.tokenizer is None) != (facts.vocabulary_size is None):
        lacks = "tokenizer" if facts.tokenizer is None else "vocabulary_size"
        yield lacks, "'tokenizer' and 'vocabulary_size' are stated together, or neither."


def _list_faults(facts: ModelFacts) -> Iterator[tuple[str, str]]:
    if any(len(alias) > 200 or _ALIAS.fullmatch(alias) is None for alias in facts.aliases):
        yield "aliases", "An alias is letters, digits, dots, dashes and underscores, without a slash, at most 200."
    if any(not 1 <= width <= 65536 for width in facts.trained_dimensions):
        yield "trained_dimensions", "'trained_dimensions' are between 1 and 65536."
    for field in ("aliases", "trained_dimensions"):
        listed = getattr(facts, field)
        if len(listed) > MANY or len(set(listed)) < len(listed):
            yield field, f"'{field}' are at most {MANY}, each given once."
    if not facts.prompts.keys() <= {"query", "document"}:
        yield "prompts", "'prompts' are for query and document."
    if any(len(text) > 2000 for text in facts.prompts.values()):
        yield "prompts", "A prompt has at most 2000 characters."


def _description_faults(facts: ModelFacts) -> Iterator[tuple[str, str]]:
    if facts.updated_on is not None and not descriptions.is_month_or_day(facts.updated_on):
        yield "updated_on", "'updated_on' is a day such as 2026-05-01, or a month such as 2026-05."
    for fault in descriptions.language_faults(facts.language_codes):
        yield "language_codes", fault
    if len(facts.programming_languages) > MANY or not all(map(descriptions.is_word, facts.programming_languages)):
        yield (
            "programming_languages",
            f"At most {MANY} words of lower-case letters, digits and dashes, such as c-sharp.",
        )
    if facts.downloads is not None:
        yield from (("downloads", fault) for fault in descriptions.downloads_faults(facts.downloads))
        yield from (("downloads", fault) for fault in descriptions.sourced_faults(facts.downloads))
    known = frozenset(ModelFacts.__struct_fields__)
    records: tuple[tuple[str, list[tuple[Sourced, Iterator[str]]]], ...] = (
        ("statements", [(one, descriptions.statement_faults(one, known)) for one in facts.statements]),
        ("benchmarks", [(one, descriptions.benchmark_faults(one)) for one in facts.benchmarks]),
        ("texts", [(one, descriptions.text_faults(one)) for one in facts.texts]),
    )
    for field, stated in records:
        if len(stated) > MANY:
            yield field, f"'{field}' are at most {MANY}."
        for one, own_faults in stated:
            yield from ((field, fault) for fault in (*own_faults, *descriptions.sourced_faults(one)))
    stated_facts = {statement.fact for statement in facts.statements}
    for field in descriptions.SOURCED:
        if getattr(facts, field) and field not in stated_facts:
            yield field, f"'{field}' needs a source: one of 'statements' with this fact."


def _estimate_faults(estimate: Estimate) -> Iterator[tuple[str, str]]:
    if not 0 <= estimate.nano_per_mtok <= _ESTIMATE_MAX:
        yield "estimate", "An estimate is between 0.00 and 9000.00 USD per million tokens."
    if not 1 <= len(estimate.source.strip()) <= 500:
        yield "estimate", "An estimate says its source in 1 to 500 characters."
    if len(estimate.note) > 1000:
        yield "estimate", "An estimate's note has at most 1000 characters."
