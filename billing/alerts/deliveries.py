"""Keeps what is sent to webhooks: a row per event and webhook, which whoever sends claims, sends and marks.

Sends nothing itself. What was sent by a process that died before it marked it is sent again, with the same id, by which
its receiver knows it. What cannot be delivered within a day is given up.
"""

from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from store.ids import AccountId, DeliveryId, WebhookId, new_id

# Whoever sends one has it for so long. A failure waits three times as long as the one before, at most four hours.
LEASE, FIRST_PAUSE, LAST_PAUSE, GIVEN_UP_AFTER = (
    timedelta(minutes=1),
    timedelta(seconds=5),
    timedelta(hours=4),
    timedelta(hours=24),
)
_OF_ACCOUNT = text("SELECT id FROM webhooks WHERE account_id = :account ORDER BY id")
_ADD = text("INSERT INTO webhook_deliveries (id, webhook_id, type, body) VALUES (:id, :webhook, :type, :body)")
_CLAIM = text("""
    UPDATE webhook_deliveries d SET run_after = now() + CAST(:lease AS interval), attempts = attempts + 1
    FROM webhooks w WHERE w.id = d.webhook_id AND d.id IN (
        SELECT id FROM webhook_deliveries WHERE state = 'waiting' AND run_after <= now()
        ORDER BY run_after, id LIMIT :limit FOR UPDATE SKIP LOCKED
    ) RETURNING d.id, d.webhook_id, d.type, d.body, d.attempts, d.created_at, w.url, w.sealed,
        CASE WHEN w.previous_until > now() THEN w.previous_sealed END AS previous_sealed
""")
_MARK = text("""
    UPDATE webhook_deliveries SET status = :status, fault = :fault, run_after = now() + CAST(:pause AS interval),
        state = CASE WHEN :delivered THEN 'delivered'
            WHEN :final OR now() + CAST(:pause AS interval) > created_at + CAST(:age AS interval) THEN 'failed'
            ELSE state END,
        delivered_at = CASE WHEN :delivered THEN now() END
    WHERE id = :id AND state = 'waiting'
""")
_LIST = text("""
    SELECT id, type, state, attempts, status, fault, created_at, delivered_at,
        CASE WHEN state = 'waiting' THEN run_after END AS next_at
    FROM webhook_deliveries WHERE webhook_id = :webhook AND id < :before ORDER BY id DESC LIMIT :limit
""")
_FIND = text("""
    SELECT id, type, state, attempts, status, fault, created_at, delivered_at,
        CASE WHEN state = 'waiting' THEN run_after END AS next_at
    FROM webhook_deliveries WHERE id = :id
""")
_FORGET = text("DELETE FROM webhook_deliveries WHERE created_at < now() - interval '30 days'")
_LAST = UUID(int=2**128 - 1)


class ClaimedDelivery(msgspec.Struct, frozen=True):
    """A delivery that is to be sent, for the so many-th time, and the sealed secrets that sign it."""

    id: DeliveryId
    webhook_id: WebhookId
    url: str
    body: str
    attempts: int
    sealed: bytes
    previous_sealed: bytes | None


class DeliveryRow(msgspec.Struct, frozen=True):
    """What became of a delivery. ``status``: of the latest answer; ``next_at``: when it is tried next."""

    id: DeliveryId
    type: str
    state: str
    attempts: int
    status: int | None
    fault: str
    created_at: datetime
    delivered_at: datetime | None
    next_at: datetime | None


async def add_event(
    tx: AsyncConnection, account_id: AccountId, name: str, at: datetime, data: dict[str, object]
) -> list[DeliveryId]:
    """Have every webhook of an account told of an event."""
    webhooks = [WebhookId(row.id) for row in await tx.execute(_OF_ACCOUNT, {"account": account_id})]
    return [await add_delivery(tx, webhook_id, name, at, data) for webhook_id in webhooks]


async def add_delivery(
    tx: AsyncConnection, webhook_id: WebhookId, name: str, at: datetime, data: dict[str, object]
) -> DeliveryId:
    """Have one webhook told of an event; the bytes are those of every attempt."""
    delivery_id = DeliveryId(new_id())
    event = {"type": name, "timestamp": f"{at:%Y-%m-%dT%H:%M:%SZ}", "data": data}
    row = {"id": delivery_id, "webhook": webhook_id, "type": name, "body": msgspec.json.encode(event).decode()}
    await tx.execute(_ADD, row)
    return delivery_id


async def claim_deliveries(tx: AsyncConnection, limit: int) -> list[ClaimedDelivery]:
    """The next deliveries, which nobody else has for a minute."""
    rows = await tx.execute(_CLAIM, {"lease": LEASE, "limit": limit})
    return [ClaimedDelivery(**{name: getattr(row, name) for name in ClaimedDelivery.__struct_fields__}) for row in rows]


async def mark_delivered(tx: AsyncConnection, delivery: ClaimedDelivery, status: int) -> None:
    """Its receiver took it."""
    await _mark(tx, delivery, status, "", delivered=True, final=False)


async def mark_failed(
    tx: AsyncConnection, delivery: ClaimedDelivery, status: int | None, fault: str, *, is_final: bool = False
) -> None:
    """It was not taken; it is tried again later, unless that is final or the day is over."""
    await _mark(tx, delivery, status, fault, delivered=False, final=is_final)


async def list_deliveries(
    tx: AsyncConnection, webhook_id: WebhookId, *, before: UUID | None, limit: int
) -> list[DeliveryRow]:
    """A webhook's deliveries, the newest first."""
    rows = await tx.execute(_LIST, {"webhook": webhook_id, "before": before or _LAST, "limit": limit})
    return [_delivery(row) for row in rows]


async def find_delivery(tx: AsyncConnection, delivery_id: DeliveryId) -> DeliveryRow:
    """The delivery of an id that is known to be there."""
    return _delivery((await tx.execute(_FIND, {"id": delivery_id})).one())


async def forget_old(tx: AsyncConnection) -> None:
    """Delete deliveries that are older than 30 days."""
    await tx.execute(_FORGET)


def pause_after(attempts: int) -> timedelta:
    """How long to wait after so many attempts: 5 s, 15 s, 45 s, … four hours."""
    return min(FIRST_PAUSE * int(3 ** min(attempts - 1, 20)), LAST_PAUSE)


async def _mark(
    tx: AsyncConnection, delivery: ClaimedDelivery, status: int | None, fault: str, *, delivered: bool, final: bool
) -> None:
    values = {"id": delivery.id, "status": status, "fault": fault[:500], "pause": pause_after(delivery.attempts)}
    await tx.execute(_MARK, {**values, "delivered": delivered, "final": final, "age": GIVEN_UP_AFTER})


def _delivery(row: object) -> DeliveryRow:
    return DeliveryRow(**{name: getattr(row, name) for name in DeliveryRow.__struct_fields__})
