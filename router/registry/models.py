"""Adds and edits models, for the catalogue's file, the admin API and the command line alike.

:mod:`catalog.model_edits` checks what may be in a fact, ``registry.model_facts`` which one may still be changed.
"""

from collections.abc import Awaitable
from typing import Final

from billing.money import to_usd
from catalog import model_edits, models
from catalog.errors import FactsInvalid, NameTaken
from catalog.model_columns import json_of
from catalog.values import Estimate, Model, ModelFacts
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, InvalidRequest
from router.registry.endpoints import list_endpoints
from router.registry.model_facts import SPACE_FACTS, refusal_to_edit
from router.tables import Json
from store.ids import ModelId

# Facts that are records; as JSON they leave out what is empty, as a file does. Their order is the page's.
_RECORDS: Final = ("downloads", "statements", "benchmarks", "texts")


async def add_model(work: UnitOfWork, facts: ModelFacts, *, reason: str = "") -> Model:
    """Add a model, coming soon; its license claims are recorded apart. Raises ``InvalidRequest``, ``Conflict``."""
    await _with_our_errors(model_edits.add(work.connection, facts))
    added = await models.get(work.connection, facts.id)
    work.record_change(Change("model.add", facts.id, after=_audit_facts(added), reason=reason))
    return added


async def lock_model_for_edit(work: UnitOfWork, model_id: str) -> ModelFacts:
    """Return a model's facts for an edit, and keep others from changing them until the work ends.

    Raises ``ModelUnknown``.
    """
    before = await models.get(work.connection, model_id)
    await models.lock(work.connection, before.id)
    return model_edits.facts_of(await models.get(work.connection, before.id))


async def edit_model(work: UnitOfWork, facts: ModelFacts, *, reason: str = "") -> Model:
    """Replace all facts; those that its customers or endpoints rely on stay as they are.

    Another fact of the space gives the space another name. Raises ``ModelUnknown``, ``InvalidRequest``, ``Conflict``.
    """
    await models.lock(work.connection, ModelId(facts.id))
    before = await models.get(work.connection, facts.id)
    was, now = model_as_json(before), model_as_json(facts)
    changed = {fact for fact in now if now[fact] != was[fact]}
    has_endpoints = bool(await list_endpoints(work.connection, before.id))
    for fact in sorted(changed):
        status = before.status.value
        if refusal := refusal_to_edit(facts.id, status, fact, was[fact], has_endpoints=has_endpoints):
            raise Conflict(f"'{fact}' cannot be changed. {refusal}", param=fact)
    await _with_our_errors(model_edits.edit(work.connection, facts, keeps_space=not changed & SPACE_FACTS))
    after = await models.get(work.connection, facts.id)
    changes = differences(_audit_facts(before), _audit_facts(after))
    work.record_change(Change("model.edit", facts.id, None, *changes, reason=reason))
    return after


def model_as_json(model: ModelFacts) -> Json:
    """Return a model's facts as JSON, under their names in the catalogue's file."""
    converted: Json = {
        "published_on": model.published_on.isoformat() if model.published_on else None,
        "aliases": sorted(model.aliases),
        "trained_dimensions": sorted(model.trained_dimensions),
        "estimate": _estimate(model.estimate),
        "language_codes": sorted(model.language_codes),
        "programming_languages": sorted(model.programming_languages),
        **{name: json_of(getattr(model, name)) for name in _RECORDS},
    }
    plain = (name for name in ModelFacts.__struct_fields__ if name != "id" and name not in converted)
    return {name: getattr(model, name) for name in plain} | converted


def _audit_facts(model: Model) -> Json:
    return model_as_json(model) | {"space": model.space}


def differences(was: Json, now: Json) -> tuple[Json, Json]:
    """The facts that differ, before and after."""
    differ = [name for name in now if now[name] != was[name]]
    return {name: was[name] for name in differ}, {name: now[name] for name in differ}


def _estimate(estimate: Estimate | None) -> Json | None:
    """Only what differs from the default, as a file would state it."""
    if estimate is None:
        return None
    fields: Json = {"usd_per_mtok": to_usd(estimate.nano_per_mtok), "source": estimate.source}
    fields["stated_on"] = estimate.stated_on.isoformat()
    if estimate.is_list_price:
        fields["is_list_price"] = True
    if estimate.note:
        fields["note"] = estimate.note
    return fields


async def _with_our_errors(edit: Awaitable[None]) -> None:
    """Await an edit of the catalogue, and raise its errors as the router's."""
    try:
        await edit
    except NameTaken as taken:
        raise Conflict(taken.message, param=taken.field) from taken
    except FactsInvalid as invalid:
        raise InvalidRequest(invalid.message, param=invalid.field or None) from invalid
