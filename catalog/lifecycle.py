"""Moves models between their states, by a table of moves that a trigger of the database checks, too.

Going live is the one move with conditions of its own. Prices and endpoints belong to other packages, so facts about
them are passed in.
"""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog.claims import combine
from catalog.errors import LaunchRefused, ModelUnknown, MoveRefused
from catalog.models import get
from catalog.permit import may_charge
from catalog.tables import ModelEventRow, ModelRow
from catalog.values import Model, Status
from store.ids import ModelEventId, ModelId, new_id

MOVES: Mapping[Status, frozenset[Status]] = MappingProxyType(
    {
        Status.COMING_SOON: frozenset({Status.LIVE, Status.RETIRED}),
        # Customers are owed a deprecation: directly to retired only where the model may not be served a day longer.
        Status.LIVE: frozenset({Status.DEPRECATED, Status.RETIRED}),
        Status.DEPRECATED: frozenset({Status.LIVE, Status.RETIRED}),
        # A retired model has to launch again.
        Status.RETIRED: frozenset({Status.COMING_SOON}),
    }
)


def missing_for_launch(
    model: Model, *, has_price: bool, has_live_endpoint: bool, now: datetime, is_free: bool = False
) -> tuple[str, ...]:
    """A sentence for each thing that a launch lacks; empty where the model may go live. Pure."""
    missing = []
    standing = combine(model.claims, model.resolution)
    if not standing.licenses:
        missing.append("It has no license: record a claim with its source and evidence.")
    elif standing.conflict:
        missing.append(f"Its license is not resolved. {standing.disagreement}")
    if standing.unknown:
        missing.append(f"The terms of {' and '.join(standing.unknown)} are not known: resolve to a license that is.")
    if not has_price:
        missing.append("It has no price in force: set one.")
    elif standing.is_known and not is_free and not (charging := may_charge(model, now)).allowed:
        missing.append(f"It has a price, and {charging.reasons[0]} {charging.lifted_by}")
    if not has_live_endpoint:
        missing.append("It has no live endpoint: register one, and let it pass its probes.")
    return tuple(missing)


async def launch(
    db: AsyncConnection,
    model_id: ModelId,
    actor: str,
    *,
    has_price: bool,
    has_live_endpoint: bool,
    now: datetime,
    is_free: bool = False,
    reason: str = "",
) -> None:
    """Put a model live. ``is_free``: its price in force is zero.

    Raises ``LaunchRefused`` with a sentence for each thing that is missing, ``MoveRefused`` where it is live already,
    ``ModelUnknown``.
    """
    status = await _lock(db, model_id)
    _check(model_id, status, Status.LIVE)
    missing = missing_for_launch(
        await get(db, model_id), has_price=has_price, has_live_endpoint=has_live_endpoint, now=now, is_free=is_free
    )
    if missing:
        raise LaunchRefused(model_id, missing)
    await _write(db, model_id, status, Status.LIVE, actor=actor, reason=reason, now=now)


async def move(
    db: AsyncConnection,
    model_id: ModelId,
    to: Status,
    actor: str,
    *,
    reason: str,
    now: datetime,
    successor: ModelId | None = None,
) -> None:
    """Deprecate, retire, or announce a retired model again; never launch. ``successor`` takes its place.

    Raises ``MoveRefused``, ``ModelUnknown``.
    """
    if to is Status.LIVE:
        raise MoveRefused("A model goes live by being launched, which checks its license, price and endpoints.")
    status = await _lock(db, model_id)
    _check(model_id, status, to)
    if successor is not None:
        await _check_successor(db, model_id, to, successor)
    await _write(db, model_id, status, to, actor=actor, reason=reason, now=now, successor=successor)


async def _check_successor(db: AsyncConnection, model_id: ModelId, to: Status, successor: ModelId) -> None:
    if to not in (Status.DEPRECATED, Status.RETIRED):
        raise MoveRefused("Only a model that is deprecated or retired has a successor.")
    if successor == model_id:
        raise MoveRefused(f"{model_id} cannot take its own place: name another model as its successor.")
    status = (await get(db, successor)).status
    if status in (Status.DEPRECATED, Status.RETIRED):
        raise MoveRefused(f"{successor} is {status}: a model that ends takes nobody's place.")


def _check(model_id: str, status: Status, to: Status) -> None:
    if to not in MOVES[status]:
        allowed = ", ".join(sorted(MOVES[status]))
        raise MoveRefused(f"{model_id} is {status} and cannot become {to}. From there it can become: {allowed}.")


async def _lock(db: AsyncConnection, model_id: ModelId) -> Status:
    # Of two operators who move a model at once, the second decides on the status that the first one left.
    status = await db.scalar(select(ModelRow.status).where(ModelRow.id == model_id).with_for_update())
    if status is None:
        raise ModelUnknown(model_id, [])
    return Status(status)


async def _write(
    db: AsyncConnection,
    model_id: ModelId,
    before: Status,
    to: Status,
    *,
    actor: str,
    reason: str,
    now: datetime,
    successor: ModelId | None = None,
) -> None:
    await db.execute(update(ModelRow).where(ModelRow.id == model_id).values(status=to, successor=successor))
    event = {"model_id": model_id, "from_status": before, "to_status": to, "actor": actor, "reason": reason}
    await db.execute(insert(ModelEventRow).values(id=ModelEventId(new_id()), **event, occurred_at=now))
