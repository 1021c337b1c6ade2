"""``/admin/v1/mails``: the outbox, what became of each mail, and sending one again or not at all."""

from typing import Annotated, ClassVar, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from mail.records import MailFilter, MailRecord, list_mails
from router.admin.mails import drop_mail, retry_mail
from router.api.admin.references import account_of
from router.api.admin.request import Read, Write
from router.api.fields import AccountIdText, AccountRef, EmailAddress, Instant, MailIdText, text_of
from router.api.forms import Answer, Body, Page, PageQuery, answer_of
from router.api.operation import ALL, OPS, V1, Operations
from router.changes.transaction import UnitOfWork
from store.ids import MailId, wire

operations = Operations("mails", f"{V1}/mails", tag="Mails")
State = Literal["waiting", "split", "sent", "failed", "dropped"]


class MailOut(Answer):
    """A mail to one address, or to an account or the staff before its addresses were found; not what it says."""

    columns: ClassVar[tuple[str, ...]] = ("id", "created_at", "kind", "address", "state", "attempts", "fault")

    id: MailIdText
    kind: str
    address: str = Field(description="Empty: to the account's people, or the staff, as found when it is sent.")
    staff: Literal["ops", "finance"] | None
    account: AccountIdText | None
    state: State = Field(description="`split`: there is one for each address of the account.")
    attempts: int
    fault: str = Field(description="Why it was not sent, the last time.")
    next_at: Instant | None = Field(description="When it is tried next.")
    created_at: Instant
    sent_at: Instant | None


class MailQuery(PageQuery):
    """Which mails are listed."""

    state: State | None = Field(None, description="Those in this state.")
    kind: str | None = Field(None, max_length=40, description="Those of this kind, such as key_created.")
    address: EmailAddress | None = Field(None, description="Those to this address.")
    account: AccountRef | None = Field(None, description="Those of this account, by id or name.")


class DropReason(Body):
    """Why it is dropped."""

    reason: Annotated[str, text_of(500)] = Field(description="Why, for whoever looks next.")


@operations.get("", verb="list", summary="List mails", roles=ALL)
async def list_(admin: Read, query: Annotated[MailQuery, Query()]) -> Page[MailOut]:
    """The outbox, the newest first. Mails are deleted after 400 days."""
    after = query.after_id(MailId)

    async def ask(connection: AsyncConnection) -> list[MailOut]:
        account = None if query.account is None else (await account_of(connection, query.account)).id
        which = MailFilter(query.state, query.kind, query.address, account)
        before = None if after is None else MailId(after)
        return [_out(row) for row in await list_mails(connection, which, before=before, limit=query.limit + 1)]

    return admin.page(query, await admin.read(ask), lambda row: wire(MailId, row.id))


@operations.post("/{mail_id}/retry", verb="retry", summary="Send a mail now", roles=OPS)
async def retry(admin: Write, mail_id: MailIdText) -> MailOut:
    """Try what waits, or has failed, at once."""

    async def command(work: UnitOfWork) -> MailOut:
        return _out(await retry_mail(work, mail_id))

    return await admin.change(command)


@operations.post("/{mail_id}/drop", verb="drop", summary="Never send a mail", roles=OPS)
async def drop(admin: Write, mail_id: MailIdText, body: DropReason) -> MailOut:
    """Drop what waits, with the reason."""

    async def command(work: UnitOfWork) -> MailOut:
        return _out(await drop_mail(work, mail_id, body.reason))

    return await admin.change(command)


def _out(mail: MailRecord) -> MailOut:
    next_at = mail.run_after if mail.state == "waiting" else None
    address = "erased" if mail.address.startswith("erased ") else mail.address
    return answer_of(MailOut, mail, account=mail.account_id, next_at=next_at, address=address)
