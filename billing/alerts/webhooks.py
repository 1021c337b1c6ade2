"""Keeps an account's webhooks: where its events are sent, and the sealed secrets that sign them.

Secrets come and go sealed: this module cannot read them. While a secret replaces another, both sign.
"""

from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from store.ids import AccountId, WebhookId

WEBHOOKS_MAX = 10
# For so long the secret before a rotation signs, too.
OVERLAP = timedelta(hours=24)
_COLUMNS = "id, account_id, url, created_at, CASE WHEN previous_until > now() THEN previous_until END AS previous_until"
_INSERT = text(
    "INSERT INTO webhooks (id, account_id, url, sealed, created_by) VALUES (:id, :account, :url, :sealed, :by)"
)
_COUNT = text("SELECT count(*) FROM webhooks WHERE account_id = :account")
_LIST = text(
    f"SELECT {_COLUMNS} FROM webhooks WHERE account_id = :account AND id > :after ORDER BY id LIMIT :limit"  # noqa: S608
)
_FIND = text(f"SELECT {_COLUMNS} FROM webhooks WHERE account_id = :account AND id = :id")  # noqa: S608 - constants
_ROTATE = text(
    "UPDATE webhooks SET previous_sealed = sealed, previous_until = now() + CAST(:overlap AS interval),"
    " sealed = :sealed WHERE account_id = :account AND id = :id"
)
_DELETE = text("DELETE FROM webhooks WHERE account_id = :account AND id = :id")
_NIL = UUID(int=0)


class WebhookRow(msgspec.Struct, frozen=True):
    """A webhook without its secrets. ``previous_until``: how long the secret before the latest still signs."""

    id: WebhookId
    account_id: AccountId
    url: str
    created_at: datetime
    previous_until: datetime | None


def secret_binding(webhook_id: WebhookId) -> bytes:
    """What a webhook's secrets are sealed for: moved to another row they cannot be read."""
    return b"webhook:" + webhook_id.bytes


async def add_webhook(
    tx: AsyncConnection, account_id: AccountId, webhook_id: WebhookId, url: str, sealed: bytes, by: str
) -> WebhookRow:
    """Add a webhook; the caller has checked its URL."""
    row = {"id": webhook_id, "account": account_id, "url": url, "sealed": sealed, "by": by}
    await tx.execute(_INSERT, row)
    return await _written(tx, account_id, webhook_id)


async def count_webhooks(tx: AsyncConnection, account_id: AccountId) -> int:
    """How many webhooks an account has."""
    return int((await tx.execute(_COUNT, {"account": account_id})).scalar_one())


async def list_webhooks(
    tx: AsyncConnection, account_id: AccountId, *, after: UUID | None, limit: int
) -> list[WebhookRow]:
    """An account's webhooks, the oldest first."""
    rows = await tx.execute(_LIST, {"account": account_id, "after": after or _NIL, "limit": limit})
    return [_webhook(row) for row in rows]


async def find_webhook(tx: AsyncConnection, account_id: AccountId, webhook_id: WebhookId) -> WebhookRow | None:
    """An account's webhook of that id."""
    row = (await tx.execute(_FIND, {"account": account_id, "id": webhook_id})).one_or_none()
    return None if row is None else _webhook(row)


async def rotate_secret(tx: AsyncConnection, account_id: AccountId, webhook_id: WebhookId, sealed: bytes) -> WebhookRow:
    """Give a webhook another secret; the one before signs, too, for :data:`OVERLAP`, and any earlier one no more."""
    await tx.execute(_ROTATE, {"account": account_id, "id": webhook_id, "sealed": sealed, "overlap": OVERLAP})
    return await _written(tx, account_id, webhook_id)


async def delete_webhook(tx: AsyncConnection, account_id: AccountId, webhook_id: WebhookId) -> None:
    """Delete a webhook with its deliveries: nothing is sent to it any more."""
    await tx.execute(_DELETE, {"account": account_id, "id": webhook_id})


async def _written(tx: AsyncConnection, account_id: AccountId, webhook_id: WebhookId) -> WebhookRow:
    webhook = await find_webhook(tx, account_id, webhook_id)
    assert webhook is not None, "it was written a moment ago; this is a bug"
    return webhook


def _webhook(row: object) -> WebhookRow:
    return WebhookRow(**{name: getattr(row, name) for name in WebhookRow.__struct_fields__})
