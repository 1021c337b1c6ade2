"""Moves models through their states, and brings in the catalogue that a release ships, through the one write path.

The rules stay in :mod:`catalog.lifecycle`; here they meet prices and endpoints.
"""

from datetime import datetime

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from billing import prices
from billing.money import Price, price_at
from catalog import lifecycle, models
from catalog.seed import Summary, import_seed
from catalog.values import Model, Status
from router.admin.model_mails import mail_launch, mail_retiring
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.registry.endpoints import list_endpoints
from router.registry.models import differences, model_as_json
from router.registry.providers import list_providers
from router.tables import Json
from router.values import EndpointState
from store.ids import ModelId


async def launch_model(work: UnitOfWork, model_id: ModelId, *, reason: str = "") -> Model:
    """Put a model live. Raises ``LaunchRefused`` with a sentence for each thing that is missing."""
    before = await models.get(work.connection, model_id)
    facts = await _launch_facts(work.connection, model_id, work.now)
    await lifecycle.launch(
        work.connection,
        model_id,
        work.actor,
        has_price=facts.has_price,
        has_live_endpoint=facts.has_live_endpoint,
        now=work.now,
        is_free=facts.is_free,
        reason=reason,
    )
    if facts.price is not None:
        await mail_launch(work, before, facts.price)
    return await _moved(work, before, "model.launch", reason)


class _LaunchFacts(msgspec.Struct, frozen=True):
    price: Price | None
    has_live_endpoint: bool
    is_free: bool

    @property
    def has_price(self) -> bool:
        return self.price is not None


async def _launch_facts(connection: AsyncConnection, model_id: ModelId, now: datetime) -> _LaunchFacts:
    known = [price for price in await prices.list_prices(connection) if price.model_id == model_id]
    current = price_at(known, now)
    # One at a provider that is switched off gets no traffic, whatever its state.
    enabled = {view.id for view in await list_providers(connection) if view.spec.enabled}
    endpoints = [view.endpoint for view in await list_endpoints(connection, model_id)]
    live = [one for one in endpoints if one.state is EndpointState.LIVE and one.provider_id in enabled]
    # A price that waits for its day counts too, else a model without a right to charge would start to.
    coming = [price for price in known if price.effective_at > now]
    is_free = all(price.nano_per_mtok == 0 for price in [*coming, *([current] if current else [])])
    return _LaunchFacts(current, bool(live), is_free)


async def missing_for_launch(connection: AsyncConnection, model: Model, now: datetime) -> tuple[str, ...]:
    """A sentence for each thing that a model lacks to go live."""
    facts = await _launch_facts(connection, model.id, now)
    return lifecycle.missing_for_launch(
        model,
        has_price=facts.has_price,
        has_live_endpoint=facts.has_live_endpoint,
        now=now,
        is_free=facts.is_free,
    )


async def move_model(work: UnitOfWork, model_id: ModelId, to: Status, *, reason: str) -> Model:
    """Deprecate, retire or announce again. Raises ``MoveRefused``, ``ModelUnknown``."""
    before = await models.get(work.connection, model_id)
    await lifecycle.move(work.connection, model_id, to, work.actor, reason=reason, now=work.now)
    await mail_retiring(work, before, to)
    return await _moved(work, before, f"model.{to.value}", reason)


async def _moved(work: UnitOfWork, before: Model, action: str, reason: str) -> Model:
    after = await models.get(work.connection, before.id)
    was: Json = {"status": before.status.value}
    work.record_change(Change(action, before.id, None, was, {"status": after.status.value}, reason=reason))
    return after


async def import_catalog(work: UnitOfWork) -> Summary:
    """Bring the catalogue that this release ships up to date; what operators changed stays."""
    summary = await bring_shipped(work)
    after: Json = {name: len(getattr(summary, name)) for name in ("added", "updated", "unchanged", "kept")}
    work.record_change(Change("catalog.import", "catalog", after=after))
    return summary


async def bring_shipped(work: UnitOfWork) -> Summary:
    """The same; it records which facts of which models are others now, and nothing where none are."""
    before = {model.id: model_as_json(model) for model in await models.load_models(work.connection)}
    summary = await import_seed(work.connection)
    for model in await models.load_models(work.connection) if summary.updated else ():
        if model.id in summary.updated:
            changed = differences(before[model.id], model_as_json(model))
            work.record_change(Change("model.import", model.id, None, *changed))
    return summary
