"""``/admin/v1/finance/meter-mirrors``: accounts whose usage is at Stripe's meters, too, and what waits for Stripe."""

from datetime import date
from typing import Annotated, ClassVar, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.stripe.mirrors import Mirror, find_mirror, list_mirrors
from router.admin.meter_mirrors import switch_mirror
from router.api.admin.references import account_of
from router.api.admin.request import Read, Write
from router.api.fields import AccountIdText, AccountRef, Instant
from router.api.forms import Page, PageQuery, Resource
from router.api.operation import ALL, MONEY, V1, Operations
from router.changes.transaction import UnitOfWork
from router.errors import NotFound
from store.ids import AccountId, wire

operations = Operations("meter-mirrors", f"{V1}/finance/meter-mirrors", tag="Finance")


class MirrorRow(Resource):
    """The mirror of an account's usage at Stripe."""

    volatile: ClassVar[frozenset[str]] = frozenset({"waiting_days", "oldest_day", "sent_at", "fault"})
    columns: ClassVar[tuple[str, ...]] = ("account", "is_on", "since", "waiting_days", "oldest_day", "sent_at", "fault")

    account: AccountIdText
    is_on: bool
    since: date = Field(description="The first day (UTC) that Stripe is told of.")
    waiting_days: int = Field(description="Totals of days that Stripe does not have yet.")
    oldest_day: date | None = Field(description="The oldest of them.")
    sent_at: Instant | None = Field(description="When Stripe was told the last time.")
    fault: str | None = Field(description="Why Stripe did not take a day, where one was refused or is too old.")
    changed_by: str
    changed_at: Instant
    object: Literal["meter_mirror"] = "meter_mirror"


@operations.get("", verb="list", name="admin_list_meter_mirrors", summary="List mirrors at Stripe", roles=ALL)
async def list_(admin: Read, query: Annotated[PageQuery, Query()]) -> Page[MirrorRow]:
    """The accounts whose usage is, or was, at Stripe's meters, too."""
    after = query.after_id(AccountId)

    async def ask(connection: AsyncConnection) -> list[MirrorRow]:
        since = None if after is None else AccountId(after)
        return [_row(one) for one in await list_mirrors(connection, since, query.limit + 1)]

    return admin.page(query, await admin.read(ask), lambda row: wire(AccountId, row.account))


@operations.get(
    "/{account_id}", verb="show", name="admin_show_meter_mirror", summary="Show a mirror at Stripe", roles=ALL
)
async def show(admin: Read, account_id: AccountRef) -> MirrorRow:
    """The mirror of one account."""

    async def ask(connection: AsyncConnection) -> MirrorRow:
        account = await account_of(connection, account_id)
        found = await find_mirror(connection, account.id)
        if found is None:
            raise NotFound(f"{account.name} was never mirrored at Stripe.", param="account")
        return _row(found)

    return await admin.read(ask)


@operations.post(
    "/{account_id}/on", verb="on", name="admin_start_meter_mirror", summary="Switch a mirror on", roles=MONEY
)
async def on(admin: Write, account_id: AccountRef) -> MirrorRow:
    """Have Stripe's meters told of the account's usage, from today (UTC) on. Nothing is charged by it."""
    return await _switch(admin, account_id, is_on=True)


@operations.post(
    "/{account_id}/off", verb="off", name="admin_stop_meter_mirror", summary="Switch a mirror off", roles=MONEY
)
async def off(admin: Write, account_id: AccountRef) -> MirrorRow:
    """Have Stripe told no more, also of what waits. What Stripe has stays there."""
    return await _switch(admin, account_id, is_on=False)


async def _switch(admin: Write, account_id: str, *, is_on: bool) -> MirrorRow:
    async def command(work: UnitOfWork) -> MirrorRow:
        account = await account_of(work.connection, account_id)
        return _row(await switch_mirror(work, admin.context.stripe, account.id, is_on=is_on))

    return await admin.change(command)


def _row(found: Mirror) -> MirrorRow:
    return MirrorRow(
        account=found.account_id,
        is_on=found.is_on,
        since=found.since,
        waiting_days=found.waiting,
        oldest_day=found.oldest,
        sent_at=found.sent_at,
        fault=found.fault or None,
        changed_by=found.changed_by,
        changed_at=found.changed_at,
    )
