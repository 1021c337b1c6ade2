"""Lists changes with before and after: the newest first, those of one subject or that concern one account."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from router.api.in_process import OperationRefused
from router.changes.audit import AuditEntry
from web.answers import Crumb, Page
from web.forms import Change, Form, changes_of, form_of
from web.ops.lists import Listed, next_page
from web.ops.write import OPERATIONS
from web.request import PageRequest


class AuditQuery(msgspec.Struct, frozen=True):
    """Which changes."""

    subject: str = ""
    account: str = ""
    cursor: str = ""


class ChangeRow(msgspec.Struct, frozen=True):
    """A change, with the fields that differ between before and after."""

    at: datetime
    actor: str
    action: str
    subject: str
    reason: str
    fields: tuple[Change, ...]


class _Change(msgspec.Struct, frozen=True):
    """A change as the operation answers it."""

    at: datetime
    actor: str
    action: str
    subject: str
    reason: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


async def read_changes(
    request: PageRequest, which: Mapping[str, str], limit: int
) -> tuple[tuple[ChangeRow, ...], str | None]:
    """A page of changes, and where it goes on. Raises ``OperationRefused``."""
    listed = (await request.run("list_changes", Listed[_Change], query={**which, "limit": str(limit)})).value
    return tuple(map(_row, listed.data)), next_page(request, listed)


def rows_of(entries: Iterable[AuditEntry]) -> tuple[ChangeRow, ...]:
    """Changes as the part below the operations lists them."""
    return tuple(
        _row(
            _Change(
                at=entry.at,
                actor=entry.actor,
                action=entry.change.action,
                subject=entry.change.subject,
                reason=entry.change.reason,
                before=entry.change.before,
                after=entry.change.after,
            )
        )
        for entry in entries
    )


def _row(change: _Change) -> ChangeRow:
    before, after = change.before or {}, change.after or {}
    fields = changes_of(before, after, {name: name for name in (before | after)})
    return ChangeRow(change.at, change.actor, change.action, change.subject, change.reason, fields)


class AuditPage(Page, frozen=True, kw_only=True):
    """The list."""

    template: ClassVar[str] = "ops/audit.html"

    rows: tuple[ChangeRow, ...]
    next_href: str | None
    form: Form


async def show(request: PageRequest) -> AuditPage:
    """A page of changes."""
    query = request.query_as(AuditQuery)
    which = {name: value for name, value in msgspec.structs.asdict(query).items() if value}
    form, status = Form(which), 200
    rows: tuple[ChangeRow, ...] = ()
    next_href = None
    try:
        rows, next_href = await read_changes(request, which, 50)
    except OperationRefused as refused:
        form, status = form_of(request, refused, typed=which), refused.status
    return AuditPage(
        title="Audit",
        crumbs=(OPERATIONS, Crumb("Audit")),
        rows=rows,
        next_href=next_href,
        form=form,
        status=status,
    )
