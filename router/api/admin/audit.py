"""``/admin/v1/audit``: who changed what, when, from what to what."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from router.api.admin.references import account_of
from router.api.admin.request import Read
from router.api.fields import AccountIdText, AccountRef, AuditIdText, Instant
from router.api.forms import Answer, Page, PageQuery, answer_of
from router.api.operation import ALL, V1, Operations
from router.changes.audit import AuditEntry, list_changes
from router.errors import InvalidRequest
from store.ids import AuditId

operations = Operations("audit", f"{V1}/audit")


class ChangeOut(Answer):
    """A change. ``actor``: an operator's or member's id, ``cli:<user>``, or a process."""

    columns: ClassVar[tuple[str, ...]] = ("at", "actor", "action", "subject", "before", "after", "reason")

    id: AuditIdText
    at: Instant
    actor: str
    action: str
    subject: str
    account: AccountIdText | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    reason: str
    object: Literal["change"] = "change"


class AuditQuery(PageQuery):
    """Which changes."""

    subject: str | None = Field(None, description="Those of this id, such as key_… or ep_…, or of this model.")
    account: AccountRef | None = Field(None, description="Those that concern this account.")

    def before(self) -> tuple[datetime, AuditId] | None:
        """The last change of the page before. Raises ``InvalidRequest``."""
        key = self.after()
        if key is None:
            return None
        at, _, identity = key.partition(" ")
        try:
            return datetime.fromisoformat(at), AuditId(UUID(hex=identity))
        except ValueError:
            raise InvalidRequest("'cursor' is the next_cursor of the page before.", param="cursor") from None


@operations.get("", verb="list", name="list_changes", summary="List changes", roles=ALL)
async def list_(admin: Read, query: Annotated[AuditQuery, Query()]) -> Page[ChangeOut]:
    """The newest first; those of one subject (an id, a model), or that concern one account."""
    before = query.before()

    async def ask(connection: AsyncConnection) -> list[ChangeOut]:
        account = None if query.account is None else (await account_of(connection, query.account)).id
        found = await list_changes(
            connection, subject=query.subject, account_id=account, before=before, limit=query.limit + 1
        )
        return [_out(entry) for entry in found]

    return admin.page(query, await admin.read(ask), lambda row: f"{row.at.isoformat()} {row.id.hex}")


def _out(entry: AuditEntry) -> ChangeOut:
    return answer_of(
        ChangeOut, entry.change, id=entry.id, at=entry.at, actor=entry.actor, account=entry.change.account_id
    )
