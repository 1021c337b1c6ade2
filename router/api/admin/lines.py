"""``/admin/v1/finance/lines``: credit lines, by which accounts use first and pay after an invoice."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.lines import TERMS_DAYS, Line, get_line, list_lines, read_exposures
from billing.overdue import Exposure
from router.admin.lines import change_line, end_line, open_line, require_line
from router.api.admin.references import account_of
from router.api.admin.request import Edit, Read, Write
from router.api.fields import AccountIdText, AccountRef, Flag, Instant, Usd, UsdAboveZero
from router.api.forms import Body, Page, PageQuery, Patch, Resource, answer_of
from router.api.operation import ALL, MONEY, V1, Operations
from router.changes.second_person import MoneyKind
from router.changes.transaction import UnitOfWork
from router.errors import InvalidRequest, NotFound

operations = Operations("lines", f"{V1}/finance/lines", tag="Finance")
ONE = "/{account_id}"
TermsDays = Annotated[int, Field(ge=0, le=365)]


class LineOut(Resource):
    """A credit line, and what of it was drawn."""

    volatile: ClassVar[frozenset[str]] = frozenset(
        {"available_usd", "drawn_usd", "unbilled_usd", "billed_usd", "days_overdue", "lendable_usd"}
    )
    columns: ClassVar[tuple[str, ...]] = (
        *("account", "limit_usd", "available_usd", "drawn_usd", "unbilled_usd", "billed_usd"),
        *("days_overdue", "ended_at"),
    )

    account: AccountIdText
    limit_usd: Usd = Field(description="The most that may be drawn and not paid.")
    lendable_usd: Usd = Field(description="The limit that holds now: 0 while an invoice is 14 days overdue.")
    available_usd: Usd = Field(description="What can be drawn now.")
    drawn_usd: Usd = Field(description="Drawn since the last turn of the daily job.")
    unbilled_usd: Usd = Field(description="Drawn, and on no invoice yet.")
    billed_usd: Usd = Field(description="On invoices and not paid, without tax.")
    terms_days: int = Field(description="Within how many days an invoice is to be paid.")
    days_overdue: int = Field(description="For how many days the oldest unpaid invoice has been due; 0 or less: none.")
    opened_at: Instant
    ended_at: Instant | None
    currency: Literal["USD"] = "USD"
    object: Literal["credit_line"] = "credit_line"


class LineOpen(Body):
    """A credit line for an account."""

    limit_usd: UsdAboveZero = Field(description="The most that may be drawn and not paid.")
    terms_days: TermsDays = Field(TERMS_DAYS, description="Within how many days an invoice is to be paid.")
    note: str = Field("", max_length=2000, description="For whoever reads the audit log.")


class LineEdit(Patch):
    """What is given is changed."""

    limit_usd: UsdAboveZero = Field(description="The most that may be drawn and not paid.")
    terms_days: TermsDays = Field(description="Within how many days an invoice is to be paid.")
    note: str = Field("", max_length=2000, description="For whoever reads the audit log.")


class LineEnd(Body):
    """Why it ends."""

    note: str = Field("", max_length=2000, description="For whoever reads the audit log.")


class LineQuery(PageQuery):
    """Which lines are listed."""

    account: AccountRef | None = Field(None, description="That of one account.")
    overdue: Flag = Field(False, description="1: only those with an invoice that is overdue.")


@operations.get("", verb="list", summary="List credit lines", roles=ALL)
async def list_(admin: Read, query: Annotated[LineQuery, Query()]) -> Page[LineOut]:
    """All credit lines, also those that ended."""

    async def ask(connection: AsyncConnection) -> list[LineOut]:
        account = (await account_of(connection, query.account)).id if query.account else None
        found = [
            line
            for line in await list_lines(connection, admin.exchange.now)
            if account in (None, line.account_id) and (line.days_overdue > 0 or not query.overdue)
        ]
        return await _all_out(connection, query.cut(found, lambda line: line.account_id.hex))

    return admin.page(query, await admin.read(ask), lambda row: row.account.hex)


@operations.get(ONE, verb="show", summary="Retrieve a credit line", roles=ALL)
async def retrieve(admin: Read, account_id: AccountRef) -> LineOut:
    """An account's line, also one that ended."""

    async def ask(connection: AsyncConnection) -> LineOut:
        account = await account_of(connection, account_id)
        line = await get_line(connection, account.id, admin.exchange.now)
        if line is None:
            raise NotFound(f"{account.name} has no credit line.", param="account")
        return await _out(connection, line)

    return await admin.read(ask)


@operations.post(f"{ONE}/open", verb="open", summary="Open a credit line", roles=MONEY)
async def open_(admin: Write, account_id: AccountRef, body: LineOpen) -> LineOut:
    """Let an account use so much before it pays. It is drawn last, and no call passes the limit."""

    async def command(work: UnitOfWork) -> LineOut:
        account = await account_of(work.connection, account_id)
        line = await open_line(work, account.id, body.limit_usd, body.terms_days, body.note)
        await admin.require_second_person(work, MoneyKind.LINE, account.id, line.limit)
        return await _out(work.connection, line)

    return await admin.change(command)


@operations.patch(ONE, verb="edit", summary="Change a credit line", roles=MONEY)
async def edit(admin: Edit, account_id: AccountRef, body: LineEdit) -> LineOut:
    """More is lent at once. Less is taken back within seconds, what calls in flight hold after them."""
    given = body.given()
    if not given.keys() & {"limit_usd", "terms_days"}:
        raise InvalidRequest("Give what is to be changed: 'limit_usd', 'terms_days'.", param="limit_usd")

    async def command(work: UnitOfWork) -> LineOut:
        account = await account_of(work.connection, account_id)
        before = await require_line(work, account.id)
        line = await change_line(
            work, account.id, given.get("limit_usd"), given.get("terms_days"), str(given.get("note", ""))
        )
        if line.limit > before.limit:
            await admin.require_second_person(work, MoneyKind.LINE, account.id, line.limit)
        return await _out(work.connection, line)

    async def current(work: UnitOfWork) -> LineOut:
        account = await account_of(work.connection, account_id)
        return await _out(work.connection, await require_line(work, account.id))

    return await admin.change(command, current=current)


@operations.post(f"{ONE}/end", verb="end", summary="End a credit line", roles=MONEY)
async def end(admin: Write, account_id: AccountRef, body: LineEnd) -> LineOut:
    """Lend nothing any more; what was drawn stays owed."""

    async def command(work: UnitOfWork) -> LineOut:
        account = await account_of(work.connection, account_id)
        return await _out(work.connection, await end_line(work, account.id, body.note))

    return await admin.change(command)


async def _out(connection: AsyncConnection, line: Line) -> LineOut:
    return (await _all_out(connection, [line]))[0]


async def _all_out(connection: AsyncConnection, lines: Sequence[Line]) -> list[LineOut]:
    exposures = await read_exposures(connection, [line.account_id for line in lines])
    return [_line_out(line, exposures[line.account_id]) for line in lines]


def _line_out(line: Line, exposure: Exposure) -> LineOut:
    return answer_of(
        LineOut,
        line,
        account=line.account_id,
        limit_usd=line.limit,
        lendable_usd=line.lendable,
        available_usd=exposure.available,
        drawn_usd=exposure.drawn,
        unbilled_usd=exposure.unbilled,
        billed_usd=exposure.billed,
    )
