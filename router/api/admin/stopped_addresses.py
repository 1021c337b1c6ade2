"""``/admin/v1/stopped-addresses``: to whom nothing is mailed, and why; where bounces are brought in."""

from typing import Annotated, ClassVar

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from mail.stopped import EVERYTHING, StoppedAddress, StopReason, list_stopped
from router.admin.mails import ADDRESSES_MAX, resume_address, stop_addresses
from router.api.admin.request import Read, Write
from router.api.fields import EmailAddress, Instant, text_of
from router.api.forms import Answer, Body, Page, PageQuery, answer_of
from router.api.operation import ALL, OPS, V1, Operations
from router.changes.transaction import UnitOfWork

operations = Operations("stopped-addresses", f"{V1}/stopped-addresses", tag="Mails")
# An address has no blank, so no key of two addresses is one.
_BETWEEN = " "


class StoppedAddressOut(Answer):
    """An address that nothing is mailed to, or nothing of a topic."""

    columns: ClassVar[tuple[str, ...]] = ("address", "topic", "reason", "detail", "created_at", "created_by")

    address: str
    topic: str = Field(description="`all`: nothing at all. Else nothing of this topic, whose reader has left it.")
    reason: StopReason
    detail: str
    created_at: Instant
    created_by: str


class Stop(Body):
    """Addresses to stop, as a mail server or a service has reported them."""

    addresses: tuple[EmailAddress, ...] = Field(
        min_length=1, max_length=ADDRESSES_MAX, description="To which nothing goes any more."
    )
    topic: str = Field(EVERYTHING, max_length=40, description="A topic of mails, or all of them.")
    reason: StopReason = Field(StopReason.BOUNCED, description="Why they are stopped.")
    detail: str = Field("", max_length=500, description="What the report says.")


class Stopped(Answer):
    """What was put onto the list."""

    added: tuple[str, ...] = Field(description="Those that were not on it.")


class Resume(Body):
    """An address that mails may go to again."""

    address: EmailAddress = Field(description="To which mails may go again.")
    topic: str = Field(EVERYTHING, max_length=40, description="A topic of mails, or all of them.")
    reason: Annotated[str, text_of(500)] = Field(description="Why, for whoever looks next.")


class Resumed(Answer):
    """It is off the list."""

    address: str
    topic: str


@operations.get("", verb="list", summary="List the addresses that nothing is mailed to", roles=ALL)
async def list_(admin: Read, query: Annotated[PageQuery, Query()]) -> Page[StoppedAddressOut]:
    """The stop list, by address."""
    address, _, topic = (query.after() or "").partition(_BETWEEN)

    async def ask(connection: AsyncConnection) -> list[StoppedAddressOut]:
        rows = await list_stopped(connection, after=(address, topic), limit=query.limit + 1)
        return [_out(row) for row in rows]

    return admin.page(query, await admin.read(ask), lambda row: f"{row.address}{_BETWEEN}{row.topic}")


@operations.post("", verb="add", summary="Mail nothing to addresses", roles=OPS)
async def add(admin: Write, body: Stop) -> Stopped:
    """Bring in bounces and complaints, at most 1,000 addresses at once."""

    async def command(work: UnitOfWork) -> Stopped:
        return Stopped(added=await stop_addresses(work, body.addresses, body.topic, body.reason, body.detail))

    return await admin.change(command)


@operations.post("/remove", verb="remove", summary="Mail to an address again", roles=OPS)
async def remove(admin: Write, body: Resume) -> Resumed:
    """Take an address off the list, because somebody said that it works."""

    async def command(work: UnitOfWork) -> Resumed:
        await resume_address(work, body.address, body.topic, body.reason)
        return Resumed(address=body.address.lower(), topic=body.topic)

    return await admin.change(command)


def _out(row: StoppedAddress) -> StoppedAddressOut:
    return answer_of(StoppedAddressOut, row)
