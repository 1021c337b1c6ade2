"""Keeps which links to Stripe's billing portal were asked for. Nothing here speaks to Stripe, so `serve` may import it.

A link is for the customer of the account that asked for it, and for nobody else. Whoever has it may enter, so it is
erased within the hour; at Stripe it ends within minutes.
"""

from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.stripe import work
from store.ids import AccountId, PortalLinkId, new_id, wire

_LOCK_ACCOUNT = text("SELECT FROM accounts WHERE id = :account FOR NO KEY UPDATE")
_RECENT = text(
    "SELECT count(*) FROM portal_links WHERE account_id = :account AND created_at > now() - interval '1 hour'"
)
_ADD = text("INSERT INTO portal_links (id, account_id, actor) VALUES (:id, :account, :actor)")
_FIND = text("SELECT id, account_id, status, attempt, url, created_at FROM portal_links WHERE id = :id")
_ERASE = text("UPDATE portal_links SET url = NULL WHERE url IS NOT NULL AND created_at < now() - interval '30 minutes'")
_DELETE = text("DELETE FROM portal_links WHERE created_at < now() - interval '90 days'")
# An account that has asked for so many within an hour waits.
HOUR_MAX = 60


class PortalLink(msgspec.Struct, frozen=True):
    """A link that was asked for. ``status``: new, made, failed."""

    id: PortalLinkId
    account_id: AccountId
    status: str
    attempt: int
    url: str | None
    created_at: datetime


class TooManyLinks(ValueError):
    """The account has asked for so many links that it has to wait."""


async def order_link(tx: AsyncConnection, account_id: AccountId, *, actor: str) -> PortalLinkId:
    """Have jobs make a link. Raises :class:`TooManyLinks`."""
    await tx.execute(_LOCK_ACCOUNT, {"account": account_id})
    if int(await tx.scalar(_RECENT, {"account": account_id}) or 0) >= HOUR_MAX:
        raise TooManyLinks
    link_id = PortalLinkId(new_id())
    await tx.execute(_ADD, {"id": link_id, "account": account_id, "actor": actor})
    await work.request(tx, f"portal:{wire(PortalLinkId, link_id)}")
    return link_id


async def find_link(tx: AsyncConnection, link_id: PortalLinkId) -> PortalLink | None:
    """A link that was asked for."""
    row = (await tx.execute(_FIND, {"id": link_id})).first()
    return None if row is None else msgspec.convert(dict(row._mapping), PortalLink)


async def erase_old(tx: AsyncConnection) -> None:
    """Erase the urls of links that have ended, and links of more than 90 days ago."""
    await tx.execute(_ERASE)
    await tx.execute(_DELETE)
