"""``/v1/audit``: who changed what in the account, as pages or as CSV."""

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

import msgspec
from fastapi import Query, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from router.api.fields import AuditIdText, DayOrInstant, Instant, rfc3339
from router.api.forms import Answer, Page, PageQuery, answer_of
from router.api.operation import CSV, JSON, Operations, Who
from router.api.public.account_request import AccountRead
from router.api.spreadsheet import csv_text
from router.api.usage_report import media_of
from router.changes.own_audit import OwnChange, OwnFilter, list_own_changes
from router.errors import InvalidRequest
from router.identity.scopes import Scope
from store.ids import AccountId, AuditId

operations = Operations("audit", "/v1/audit", tag="Account", who=Who.MANAGER)
ROWS_MAX = 20_000
COLUMNS = ("at", "actor", "actor_name", "action", "subject", "before", "after")


class OwnChangeOut(Answer):
    """A change in the account."""

    columns: ClassVar[tuple[str, ...]] = COLUMNS

    id: AuditIdText
    at: Instant
    actor: str = Field(description="key_…, mgmt_… or mem_… of the account; operator; process.")
    actor_name: str | None = Field(description="The name of the key, or the member's e-mail address.")
    action: str
    subject: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    object: Literal["change"] = "change"


class OwnAuditQuery(PageQuery):
    """Which changes."""

    subject: str | None = Field(None, description="Those of this id, such as key_….")
    actor: str | None = Field(None, description="Those by this key, management key or member, by id.")
    action: str | None = Field(
        None, max_length=64, pattern=r"^[a-z_]+(\.[a-z_]+)?$", description="One, such as key.create, or a kind: key."
    )
    since: DayOrInstant | None = Field(None, alias="from", description="From this day (UTC) or instant on.")
    until: DayOrInstant | None = Field(
        None, alias="to", description="Up to this day (UTC) or instant, which is not part of it."
    )
    format: Literal["json", "csv"] | None = Field(
        None, description="csv: the whole selection, whatever limit says; by default as Accept says."
    )

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

    def which(self, account_id: AccountId) -> OwnFilter:
        """The filter, of one account's changes."""
        return OwnFilter(
            account_id=account_id,
            subject=self.subject,
            actor=self.actor,
            action=self.action,
            since=self.since,
            until=self.until,
        )


@operations.get(
    "",
    verb="list",
    name="list_own_changes",
    summary="List changes in the account",
    scope=Scope.MEMBERS_WRITE,
    answer=Page[OwnChangeOut],
    media=(JSON, CSV),
)
async def list_(request: AccountRead, query: Annotated[OwnAuditQuery, Query()]) -> Page[OwnChangeOut] | Response:
    """Who changed what in the account, the newest first: its own people and keys by name, our operators as such."""
    which, before = query.which(request.account_id), query.before()
    is_csv = media_of(query.format, request.accept) == CSV
    most = ROWS_MAX if is_csv else query.limit

    async def ask(connection: AsyncConnection) -> list[OwnChange]:
        return await list_own_changes(connection, which, before=before, most=most + 1)

    found = await request.read(ask)
    if not is_csv:
        rows = [answer_of(OwnChangeOut, change) for change in found]
        return request.page(query, rows, lambda row: f"{row.at.isoformat()} {row.id.hex}")
    if len(found) > ROWS_MAX:
        raise InvalidRequest(f"These are more than {ROWS_MAX} changes: ask for a shorter time.", param="from")
    return request.respond(csv_text(COLUMNS, map(_cells, found)).encode(), CSV)


def _cells(change: OwnChange) -> list[object]:
    facts = [None if one is None else msgspec.json.encode(one).decode() for one in (change.before, change.after)]
    return [rfc3339(change.at), change.actor, change.actor_name, change.action, change.subject, *facts]
