"""Lets an operator see an account as its owner sees it: for half an hour, with a reason, and able to change nothing.

One operator sees one account at a time. A view that is started in a browser ends with that browser's session; one that
is started with an operator's key holds in any session of that operator. Its start and its end are in the account's own
audit, where owners read the reason. What it shows, and that it writes nothing, is for who reads with it:
:class:`router.identity.principals.MemberPrincipal` with ``only_reads``.
"""

from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, InvalidRequest, NotFound
from router.tables import Json
from store.ids import AccountId, AccountViewId, MemberId, SessionId, new_id, wire

VIEW_LIFE = timedelta(minutes=30)
REASON_MAX = 500
_COLUMNS = """
    v.id, v.account_id, a.name AS account_name, v.member_id, m.email AS operator, v.session_id, v.reason, v.started_at,
    v.expires_at, v.ended_at
"""
_FROM = "FROM account_views v JOIN accounts a ON a.id = v.account_id JOIN members m ON m.id = v.member_id"
_INSERT = text("""
    INSERT INTO account_views (id, account_id, member_id, session_id, reason, started_at, expires_at)
    VALUES (:id, :account, :member, :session, :reason, :now, :expires_at)
""")
_OPEN = text(f"SELECT {_COLUMNS} {_FROM} WHERE v.member_id = :member AND v.ended_at IS NULL FOR UPDATE OF v")
_GET = text(f"SELECT {_COLUMNS} {_FROM} WHERE v.id = :id")
_LOCK = text(f"SELECT {_COLUMNS} {_FROM} WHERE v.id = :id FOR UPDATE OF v")
_LIST = text(f"""
    SELECT {_COLUMNS} {_FROM}
    WHERE (CAST(:account AS uuid) IS NULL OR v.account_id = :account)
        AND (CAST(:before AS uuid) IS NULL OR v.id < :before)
    ORDER BY v.id DESC LIMIT :most
""")
_END = text("UPDATE account_views SET ended_at = :now WHERE id = :id")
_MEMBER = text("SELECT id FROM members WHERE id = :member AND removed_at IS NULL FOR NO KEY UPDATE")


class AccountView(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's look at an account. ``operator`` is the person's e-mail address."""

    id: AccountViewId
    account_id: AccountId
    account_name: str
    member_id: MemberId
    operator: str
    session_id: SessionId | None
    reason: str
    started_at: datetime
    expires_at: datetime
    ended_at: datetime | None = None

    def is_open(self, now: datetime) -> bool:
        """Whether it holds still, as far as its own row knows: a session may have ended meanwhile."""
        return self.ended_at is None and now < self.expires_at


async def start_view(
    work: UnitOfWork, account_id: AccountId, member_id: MemberId, session_id: SessionId | None, reason: str
) -> AccountView:
    """Start to see an account; what the operator saw before ends. Raises ``InvalidRequest``, ``NotFound``."""
    if not 1 <= len(reason) <= REASON_MAX:
        raise InvalidRequest(
            f"A reason has 1 to {REASON_MAX} characters: the account's owners read it.", param="reason"
        )
    # Two starts of one operator at once are one after the other.
    if (await work.connection.execute(_MEMBER, {"member": member_id})).one_or_none() is None:
        raise NotFound(f"There is no member {wire(MemberId, member_id)}.", param="member")
    for row in (await work.connection.execute(_OPEN, {"member": member_id})).all():
        await _end(work, _view(row))
    view_id, expires_at = AccountViewId(new_id(work.now)), work.now + VIEW_LIFE
    values = {"id": view_id, "account": account_id, "member": member_id, "session": session_id, "reason": reason}
    await work.connection.execute(_INSERT, values | {"now": work.now, "expires_at": expires_at})
    after: Json = {"reason": reason, "until": expires_at.isoformat()}
    work.record_change(Change("view.start", wire(AccountViewId, view_id), account_id, after=after, reason=reason))
    return await get_view(work.connection, view_id)


async def end_view(work: UnitOfWork, view_id: AccountViewId, member_id: MemberId | None) -> AccountView:
    """End a view of an operator's own; of anybody's where ``member_id`` is None. Raises ``NotFound``, ``Conflict``."""
    view = await get_view(work.connection, view_id, locked=True)
    if member_id is not None and view.member_id != member_id:
        raise _unknown(view_id)
    if not view.is_open(work.now):
        ended = min(view.ended_at or view.expires_at, view.expires_at)
        raise Conflict(f"It ended at {ended:%Y-%m-%d %H:%M} UTC.", param="view")
    await _end(work, view)
    return await get_view(work.connection, view_id)


async def get_view(connection: AsyncConnection, view_id: AccountViewId, *, locked: bool = False) -> AccountView:
    """One view. Raises ``NotFound``."""
    row = (await connection.execute(_LOCK if locked else _GET, {"id": view_id})).one_or_none()
    if row is None:
        raise _unknown(view_id)
    return _view(row)


async def list_views(
    connection: AsyncConnection, *, account_id: AccountId | None, before: AccountViewId | None, most: int
) -> list[AccountView]:
    """List views, of one account where it is named, the newest first; ``before`` is the last one of the page before."""
    values = {"account": account_id, "before": before, "most": most}
    return [_view(row) for row in await connection.execute(_LIST, values)]


async def _end(work: UnitOfWork, view: AccountView) -> None:
    """End a view; one whose time has run out ended then, and its audit has said when since it began."""
    if view.is_open(work.now):
        work.record_change(Change("view.end", wire(AccountViewId, view.id), view.account_id))
    await work.connection.execute(_END, {"id": view.id, "now": min(work.now, view.expires_at)})


def _unknown(view_id: AccountViewId) -> NotFound:
    return NotFound(f"There is no view {wire(AccountViewId, view_id)}.", param="view")


def _view(row: Row[Any]) -> AccountView:
    return AccountView(
        id=AccountViewId(row.id),
        account_id=AccountId(row.account_id),
        account_name=row.account_name,
        member_id=MemberId(row.member_id),
        operator=row.operator,
        session_id=None if row.session_id is None else SessionId(row.session_id),
        reason=row.reason,
        started_at=row.started_at,
        expires_at=row.expires_at,
        ended_at=row.ended_at,
    )
