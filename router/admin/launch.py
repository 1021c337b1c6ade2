"""Moves models through their states, and brings in the catalogue that a release ships, through the one write path.

The rules stay in :mod:`catalog.lifecycle`; here they meet prices and endpoints.
"""

from datetime import datetime

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import Price, price_at
from billing.prices import list_prices
from catalog import lifecycle, models
from catalog.seed import Summary, import_seed
from catalog.values import Model, Status
from router.admin.model_mails import mail_launch, mail_retiring
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.registry.endpoints import EndpointView, list_endpoints
from router.registry.models import differences, model_as_json
from router.tables import Json
from router.values import EndpointState
from store.ids import ModelId


async def launch_model(work: UnitOfWork, model_id: ModelId, *, reason: str = "") -> Model:
    """Put a model live. Raises ``LaunchRefused`` with a sentence for each thing that is missing."""
    before = await models.get(work.connection, model_id)
    facts = await read_launch_facts(work.connection, model_id, work.now)
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


class LaunchFacts(msgspec.Struct, frozen=True):
    """What a launch depends on beside the license: the price in force, prices to come, and endpoints."""

    price: Price | None
    coming: tuple[Price, ...]
    endpoints: tuple[EndpointView, ...]

    @property
    def has_price(self) -> bool:
        """Whether a price is in force."""
        return self.price is not None

    @property
    def has_live_endpoint(self) -> bool:
        """Whether an endpoint gets traffic: one at a provider that is switched off gets none, whatever its state."""
        return any(view.is_enabled and view.endpoint.state is EndpointState.LIVE for view in self.endpoints)

    @property
    def is_free(self) -> bool:
        """Whether nothing is charged, by no price: one that waits for its day would charge without a right to, too."""
        return all(one.nano_per_mtok == 0 for one in (*self.coming, *([self.price] if self.price else [])))


async def read_launch_facts(connection: AsyncConnection, model_id: ModelId, now: datetime) -> LaunchFacts:
    """Read a model's prices and endpoints: two statements."""
    prices = [price for price in await list_prices(connection) if price.model_id == model_id]
    coming = tuple(price for price in prices if price.effective_at > now)
    return LaunchFacts(price_at(prices, now), coming, tuple(await list_endpoints(connection, model_id)))


def missing_for_launch(model: Model, facts: LaunchFacts, now: datetime) -> tuple[str, ...]:
    """A sentence for each thing that a model lacks to go live."""
    return lifecycle.missing_for_launch(
        model,
        has_price=facts.has_price,
        has_live_endpoint=facts.has_live_endpoint,
        now=now,
        is_free=facts.is_free,
    )


async def move_model(
    work: UnitOfWork, model_id: ModelId, to: Status, *, reason: str, successor: ModelId | None = None
) -> Model:
    """Deprecate, retire or announce again; ``successor`` takes its place. Raises ``MoveRefused``, ``ModelUnknown``."""
    before = await models.get(work.connection, model_id)
    await lifecycle.move(work.connection, model_id, to, work.actor, reason=reason, now=work.now, successor=successor)
    await mail_retiring(work, before, to, successor)
    return await _moved(work, before, f"model.{to.value}", reason)


async def _moved(work: UnitOfWork, before: Model, action: str, reason: str) -> Model:
    after = await models.get(work.connection, before.id)
    was: Json = {"status": before.status.value}
    now: Json = {"status": after.status.value}
    if before.successor != after.successor:
        was["successor"], now["successor"] = before.successor, after.successor
    work.record_change(Change(action, before.id, None, was, now, reason=reason))
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
