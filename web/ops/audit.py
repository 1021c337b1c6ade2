"""Lists changes with before and after: the newest first, those of one subject or that concern one account."""

from datetime import datetime
from typing import Any, ClassVar

import msgspec

from router.api.in_process import OperationRefused
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
    """A change."""

    at: datetime
    actor: str
    action: str
    subject: str
    reason: str
    account: str | None = None
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None

    @property
    def fields(self) -> tuple[Change, ...]:
        """What differs between before and after."""
        before, after = self.before or {}, self.after or {}
        return changes_of(before, after, {name: name for name in (before | after)})


class AuditPage(Page, frozen=True, kw_only=True):
    """The list."""

    template: ClassVar[str] = "ops/audit.html"

    rows: list[ChangeRow]
    next_href: str | None
    form: Form


async def show(request: PageRequest) -> AuditPage:
    """A page of changes."""
    query = request.query_as(AuditQuery)
    asked = {name: value for name, value in msgspec.structs.asdict(query).items() if value}
    form, rows, next_href, status = Form(asked), list[ChangeRow](), None, 200
    try:
        listed = (await request.run("list_changes", Listed[ChangeRow], query={**asked, "limit": "50"})).value
        rows, next_href = listed.data, next_page(request, listed)
    except OperationRefused as refused:
        form, status = form_of(request, refused, typed=asked), refused.status
    return AuditPage(
        title="Audit",
        crumbs=(OPERATIONS, Crumb("Audit")),
        rows=rows,
        next_href=next_href,
        form=form,
        status=status,
    )
