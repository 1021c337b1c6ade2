"""Models as operators add and edit them: the catalogue's file, the admin API and the command line ask the same here.

What may be in a fact is :mod:`catalog.model_edits`' to say, which one may still be changed ``registry.model_facts``'.
"""

from collections.abc import Awaitable

from billing.money import to_usd
from catalog import model_edits, models
from catalog.errors import FactsInvalid, NameTaken
from catalog.values import Estimate, Model, ModelFacts
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, InvalidRequest
from router.registry.endpoints import list_endpoints
from router.registry.model_facts import SPACE_FACTS, why_it_stays
from router.tables import Json
from store.ids import ModelId


async def add_model(work: UnitOfWork, entry: ModelFacts) -> Model:
    """A new model, coming soon; its claims are recorded apart. Raises ``InvalidRequest``, ``Conflict``."""
    await _written(model_edits.add(work.connection, entry))
    added = await models.get(work.connection, entry.id)
    work.changed(Change("model.add", entry.id, after=_audited(added)))
    return added


async def entry_of(work: UnitOfWork, model_id: str) -> ModelFacts:
    """A model's facts to edit, which nobody else changes until this work ends. Raises ``ModelUnknown``."""
    before = await models.get(work.connection, model_id)
    await models.lock(work.connection, before.id)
    return model_edits.facts_of(await models.get(work.connection, before.id))


async def edit_model(work: UnitOfWork, entry: ModelFacts) -> Model:
    """Replace all facts; those that its customers or endpoints rely on stay as they are.

    Another fact of the space gives the space another name. Raises ``ModelUnknown``, ``InvalidRequest``, ``Conflict``.
    """
    await models.lock(work.connection, ModelId(entry.id))
    before = await models.get(work.connection, entry.id)
    was, now = facts_of(before), facts_of(entry)
    changed = {fact for fact in now if now[fact] != was[fact]}
    has_endpoints = bool(await list_endpoints(work.connection, before.id))
    for fact in sorted(changed):
        status = before.status.value
        if says := why_it_stays(entry.id, status, fact, was[fact], has_endpoints=has_endpoints):
            raise Conflict(f"'{fact}' cannot be changed. {says}", param=fact)
    await _written(model_edits.edit(work.connection, entry, keeps_space=not changed & SPACE_FACTS))
    after = await models.get(work.connection, entry.id)
    work.changed(Change("model.edit", entry.id, None, *_differing(_audited(before), _audited(after))))
    return after


def facts_of(model: ModelFacts) -> Json:
    """A model's facts as JSON, in the words of the catalogue's file."""
    written: Json = {
        "published_on": model.published_on.isoformat() if model.published_on else None,
        "aliases": sorted(model.aliases),
        "trained_dimensions": sorted(model.trained_dimensions),
        "estimate": _estimate(model.estimate),
    }
    plain = (name for name in ModelFacts.__struct_fields__ if name != "id" and name not in written)
    return {name: getattr(model, name) for name in plain} | written


def _audited(model: Model) -> Json:
    return facts_of(model) | {"space": model.space}


def _differing(was: Json, now: Json) -> tuple[Json, Json]:
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


async def _written(writing: Awaitable[None]) -> None:
    try:
        await writing
    except NameTaken as taken:
        raise Conflict(taken.message, param=taken.field) from taken
    except FactsInvalid as invalid:
        raise InvalidRequest(invalid.message, param=invalid.field or None) from invalid
