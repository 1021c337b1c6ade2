"""``/admin/v1/audit``: who changed what, when, from what to what."""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from router.api.admin.operation import lists
from router.api.admin.parsing import V1, given_id, query_of, read, rfc3339
from router.api.admin.responses import page, slice_of
from router.api.operation import OperationRoute
from router.changes.audit import AuditEntry, list_changes
from router.errors import InvalidRequest
from store.ids import AccountId, AuditId, wire

operations = APIRouter(route_class=OperationRoute)


class ChangeOut(msgspec.Struct, frozen=True):
    """A change. ``actor``: an operator's or member's id, ``cli:<user>``, or a process."""

    id: str
    at: str | None
    actor: str
    action: str
    subject: str
    account: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    reason: str
    object: str = "change"


@operations.get(f"{V1}/audit", **lists("list_changes", "List changes", "Audit", ChangeOut, "subject", "account"))
async def list_(request: Request) -> Response:
    """The newest first; those of one subject (an id, a model), or that concern one account."""
    query = query_of(request, "limit", "cursor", "subject", "account")
    part = slice_of(query)
    account = AccountId(given_id(AccountId, query["account"], "account")) if "account" in query else None
    before = None if part.after is None else _place(part.after)

    async def ask(connection: AsyncConnection) -> list[AuditEntry]:
        return await list_changes(
            connection, subject=query.get("subject"), account_id=account, before=before, limit=part.limit + 1
        )

    return page(request, await read(request, ask), part, lambda one: f"{one.at.isoformat()} {one.id.hex}", _out)


def _place(key: str) -> tuple[datetime, AuditId]:
    at, _, identity = key.partition(" ")
    try:
        return datetime.fromisoformat(at), AuditId(UUID(hex=identity))
    except ValueError:
        raise InvalidRequest("'cursor' is the next_cursor of the page before.", param="cursor") from None


def _out(one: AuditEntry) -> ChangeOut:
    made = one.change
    return ChangeOut(
        id=wire(AuditId, one.id),
        at=rfc3339(one.at),
        actor=one.actor,
        action=made.action,
        subject=made.subject,
        account=None if made.account_id is None else wire(AccountId, made.account_id),
        before=made.before,
        after=made.after,
        reason=made.reason,
    )
