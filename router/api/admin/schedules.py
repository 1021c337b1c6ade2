"""``/admin/v1/finance/grant-schedules``: credit that accounts are given by the month."""

from typing import Annotated, ClassVar, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.credits import GrantKind
from billing.schedules import GrantSchedule, find_schedule, list_schedules
from router.admin.schedules import create_schedule, end_schedule, whole_amount
from router.api.admin.references import account_of
from router.api.admin.request import Read, Write
from router.api.fields import AccountIdText, AccountRef, GrantScheduleIdText, Instant, Usd, UsdAboveZero
from router.api.forms import Body, Page, PageQuery, Resource, answer_of
from router.api.operation import ALL, MONEY, V1, Operations
from router.api.periods import MonthText
from router.changes.second_person import MoneyKind
from router.changes.transaction import UnitOfWork
from router.errors import NotFound
from store.ids import GrantScheduleId, wire

operations = Operations("grant-schedules", f"{V1}/finance/grant-schedules", tag="Finance")
Months = Annotated[int, Field(ge=1, le=120)]


class ScheduleOut(Resource):
    """So much credit each month."""

    volatile: ClassVar[frozenset[str]] = frozenset({"next_month"})
    columns: ClassVar[tuple[str, ...]] = (
        *("id", "account", "kind", "amount_usd", "first_month", "last_month", "next_month", "ended_at"),
    )

    id: GrantScheduleIdText
    account: AccountIdText
    kind: GrantKind
    amount_usd: Usd
    first_month: MonthText
    last_month: MonthText | None
    next_month: MonthText = Field(description="The month whose credit is given next, unless the schedule is over.")
    lasts_months: int | None = Field(description="A month's credit ends with so many months; null: it does not expire.")
    note: str
    created_by: str
    created_at: Instant
    ended_by: str | None
    ended_at: Instant | None
    currency: Literal["USD"] = "USD"
    object: Literal["grant_schedule"] = "grant_schedule"


class ScheduleCreate(Body):
    """Credit that an account is given each month."""

    account: AccountRef = Field(description="Whose.")
    amount_usd: UsdAboveZero = Field(description="How much each month.")
    first_month: MonthText = Field(description="From which month on; this one is given within a minute.")
    last_month: MonthText | None = Field(None, description="Up to and with which month; null: until it is ended.")
    lasts_months: Months | None = Field(
        None, description="A month's credit ends with so many months, 1: with its own; null: it does not expire."
    )
    kind: GrantKind = Field(GrantKind.PROMOTIONAL, description="promotional or goodwill; promotional is spent first.")
    note: str = Field("", max_length=500, description="For whoever reads the audit log.")


class ScheduleEnd(Body):
    """Why it ends."""

    note: str = Field("", max_length=2000, description="For whoever reads the audit log.")


class ScheduleQuery(PageQuery):
    """Which schedules are listed."""

    account: AccountRef | None = Field(None, description="Those of one account.")


@operations.get("", verb="list", summary="List schedules of given credit", roles=ALL)
async def list_(admin: Read, query: Annotated[ScheduleQuery, Query()]) -> Page[ScheduleOut]:
    """Schedules of an account, or of all, the oldest first; also those that ended."""
    after = query.after_id(GrantScheduleId)

    async def ask(connection: AsyncConnection) -> list[ScheduleOut]:
        account = await account_of(connection, query.account) if query.account else None
        since = None if after is None else GrantScheduleId(after)
        rows = await list_schedules(connection, account.id if account else None, after=since, most=query.limit + 1)
        return [_out(row) for row in rows]

    return admin.page(query, await admin.read(ask), lambda row: wire(GrantScheduleId, row.id))


@operations.get("/{schedule_id}", verb="show", summary="Retrieve a schedule of given credit", roles=ALL)
async def show(admin: Read, schedule_id: GrantScheduleIdText) -> ScheduleOut:
    """One schedule."""

    async def ask(connection: AsyncConnection) -> ScheduleOut:
        found = await find_schedule(connection, schedule_id)
        if found is None:
            raise NotFound(f"There is no schedule {wire(GrantScheduleId, schedule_id)}.", param="schedule")
        return _out(found)

    return await admin.read(ask)


@operations.post("", verb="create", summary="Give credit each month", roles=MONEY, status=201)
async def create(admin: Write, body: ScheduleCreate) -> ScheduleOut:
    """Give an account so much each month, from the first instant (UTC) of the month on."""

    async def command(work: UnitOfWork) -> ScheduleOut:
        account = await account_of(work.connection, body.account)
        made = await create_schedule(
            work,
            account.id,
            body.amount_usd,
            body.kind,
            first_month=body.first_month,
            last_month=body.last_month,
            lasts_months=body.lasts_months,
            note=body.note,
        )
        await admin.require_second_person(work, MoneyKind.GRANT, account.id, whole_amount(made))
        return _out(made)

    return await admin.change(command)


@operations.post("/{schedule_id}/end", verb="end", summary="End a schedule of given credit", roles=MONEY)
async def end(admin: Write, schedule_id: GrantScheduleIdText, body: ScheduleEnd) -> ScheduleOut:
    """Give no further months; what was given stays."""

    async def command(work: UnitOfWork) -> ScheduleOut:
        return _out(await end_schedule(work, schedule_id, body.note))

    return await admin.change(command)


def _out(schedule: GrantSchedule) -> ScheduleOut:
    return answer_of(ScheduleOut, schedule, account=schedule.account_id, amount_usd=schedule.amount_nano)
