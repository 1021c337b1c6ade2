"""``/admin/v1/finance/close``: closes months by a checklist, and answers their closing papers and late calls."""

from datetime import date
from typing import Annotated, Any, ClassVar, Literal

from fastapi import Query, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing import periods
from billing.close.checklist import CHECKLIST
from billing.close.pack import NAMES, Papers, read_papers
from billing.periods import LateEvent, Period, State
from router.admin import close
from router.api.admin.books import HeadOut
from router.api.admin.request import Read, Write
from router.api.fields import AccountIdText, Instant, Usd, text_of
from router.api.forms import Answer, Body, Page, PageQuery
from router.api.operation import ALL, CSV, JSON, MONEY, V1, Operations
from router.api.periods import MonthText
from router.api.request_ids import RequestIdText
from router.api.spreadsheet import csv_text
from router.api.usage_report import MEDIA, media_of
from router.changes.transaction import UnitOfWork
from router.errors import InvalidRequest

operations = Operations("close", f"{V1}/finance/close", tag="Finance")
ONE = "/{month}"


class ItemOut(Answer):
    """One item of the checklist."""

    item: str
    sentence: str
    state: Literal["green", "red", "signed_off", "not_checked"]
    message: str = Field(description="What is wrong.")
    link: str = Field(description="Where it is explained what to do.")
    reason: str | None = Field(description="Why it was signed off.")
    signed_by: str | None
    checked_at: Instant | None


class PeriodRow(Answer):
    """A month that is closing or closed."""

    columns: ClassVar[tuple[str, ...]] = ("month", "state", "started_at", "finish_requested_at", "closed_at")

    month: MonthText
    state: State
    started_at: Instant | None = None
    finish_requested_at: Instant | None = Field(None, description="Since when it is closed as soon as nothing is red.")
    closed_at: Instant | None = None


class PeriodsOut(Answer):
    """The months that are closing or closed; all others are open."""

    data: list[PeriodRow]
    object: Literal["list"] = "list"


class PeriodOut(PeriodRow):
    """A month and its checklist."""

    checklist: list[ItemOut]
    head: HeadOut | None = Field(None, description="The head of the ledger's chain when the month was closed.")
    object: Literal["period"] = "period"


class SignOff(Body):
    """Why a month may be closed although an item is red."""

    item: str = Field(description="Its name in the checklist.")
    reason: Annotated[str, text_of(2000)] = Field(description="Stays for good, with who gave it.")


class LateOut(Answer):
    """A call that was charged after its month was closed."""

    columns: ClassVar[tuple[str, ...]] = ("request", "occurred_at", "account", "model", "cost_usd", "booked_in")

    request: RequestIdText
    occurred_at: Instant
    account: AccountIdText
    model: str
    cost_usd: Usd
    booked_in: MonthText


class PaperOut(Answer):
    """The closing papers: tables of text, amounts in USD."""

    month: MonthText
    final: bool = Field(description="The papers as they were when the month was closed; else a preview of now.")
    faults: list[str] = Field(description="What of these tables does not add up to the ledger: nothing.")
    tables: dict[str, list[dict[str, Any]]]
    object: Literal["closing_papers"] = "closing_papers"


class PaperQuery(BaseModel):
    """Which of the papers, in which format."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    table: str | None = Field(None, description="One of them, such as trial_balance; CSV has one at a time.")
    format: Literal["json", "csv"] | None = Field(None, description="json or csv; by default as Accept says.")


@operations.get("", verb="list", name="list_closes", summary="List closed months", roles=ALL)
async def list_(admin: Read) -> PeriodsOut:
    """The months that are closing or closed, the oldest first."""

    async def ask(connection: AsyncConnection) -> PeriodsOut:
        return PeriodsOut(data=[PeriodRow(**_row(found)) for found in await periods.list_periods(connection)])

    return await admin.read(ask)


@operations.get(ONE, verb="status", summary="How far is a month's close?", roles=ALL)
async def status(admin: Read, month: MonthText) -> PeriodOut:
    """A month's state and checklist, which `gigarouter jobs` checks anew every 15 seconds while it is closing."""

    async def ask(connection: AsyncConnection) -> PeriodOut:
        return await _out(connection, month, await periods.get_period(connection, month))

    return await admin.read(ask)


@operations.post(f"{ONE}/start", verb="start", summary="Start to close a month", roles=MONEY)
async def start(admin: Write, month: MonthText) -> PeriodOut:
    """Begin with the checklist. Calls are charged, and entries booked, as before."""

    async def command(work: UnitOfWork) -> PeriodOut:
        return await _out(work.connection, month, await close.start(work, month))

    return await admin.change(command)


@operations.post(f"{ONE}/finish", verb="finish", summary="Close a month", roles=MONEY)
async def finish(admin: Write, month: MonthText) -> PeriodOut:
    """`gigarouter jobs` closes the month within seconds, for good. 409 where something is red and not signed off."""

    async def command(work: UnitOfWork) -> PeriodOut:
        return await _out(work.connection, month, await close.finish(work, month))

    return await admin.change(command)


@operations.post(f"{ONE}/sign-off", verb="sign-off", summary="Sign an item off", roles=MONEY)
async def sign_off(admin: Write, month: MonthText, body: SignOff) -> PeriodOut:
    """Let the month be closed although an item of its checklist is red."""

    async def command(work: UnitOfWork) -> PeriodOut:
        return await _out(work.connection, month, await close.sign_off(work, month, body.item, body.reason))

    return await admin.change(command)


@operations.get(f"{ONE}/late", verb="late", summary="List late calls", roles=ALL)
async def late(admin: Read, month: MonthText, query: Annotated[PageQuery, Query()]) -> Page[LateOut]:
    """Calls of the month that are booked in a later one, and calls booked in it that are of an earlier one."""

    async def ask(connection: AsyncConnection) -> list[LateOut]:
        found = query.cut(await periods.list_late(connection, month), lambda event: event.request_id.hex)
        return [_late(event) for event in found]

    return admin.page(query, await admin.read(ask), lambda row: row.request.hex)


@operations.get(
    f"{ONE}/papers", verb="papers", summary="Retrieve the closing papers", roles=ALL, answer=PaperOut, media=MEDIA
)
async def papers(admin: Read, month: MonthText, query: Annotated[PaperQuery, Query()]) -> Response:
    """Trial balance, revenue, margin, deferred revenue, receivables, late calls, chain: before the close a preview."""
    media = media_of(query.format, admin.accept)

    wanted = NAMES if query.table is None else (query.table,)

    async def ask(connection: AsyncConnection) -> Papers:
        return await read_papers(connection, month, wanted)

    found = await admin.read(ask)
    if not found.tables:
        raise InvalidRequest(f"The papers are {', '.join(found.names)}.", param="table")
    if media == CSV:
        return admin.respond(csv_text(found.tables[0].columns, found.tables[0].rows).encode(), CSV)
    rows = {table.name: [dict(zip(table.columns, row, strict=True)) for row in table.rows] for table in found.tables}
    answer = PaperOut(month=month, final=found.is_final, faults=list(found.faults), tables=rows)
    return admin.respond(answer.model_dump_json().encode(), JSON)


async def _out(connection: AsyncConnection, month: date, period: Period | None) -> PeriodOut:
    if period is None:
        return PeriodOut(month=month, state=State.OPEN, finish_requested_at=None, checklist=[], head=None)
    checks = await periods.read_checks(connection, month)
    signed = {signoff.item: signoff for signoff in await periods.list_signoffs(connection, month)}
    checklist = []
    for item in CHECKLIST:
        message, checked_at = checks.get(item.name, ("", None))
        signoff = signed.get(item.name)
        checklist.append(
            ItemOut(
                item=item.name,
                sentence=item.sentence,
                state=_state(message, is_checked=checked_at is not None, is_signed=signoff is not None),
                message=message,
                link=item.link,
                reason=signoff.reason if signoff else None,
                signed_by=signoff.actor if signoff else None,
                checked_at=checked_at,
            )
        )
    head = None
    if period.closed_at is not None and period.head_batch is not None and period.head_digest is not None:
        head = HeadOut(batch=period.head_batch, digest=period.head_digest.hex(), sealed_at=period.closed_at)
    return PeriodOut(**_row(period), checklist=checklist, head=head)


def _state(message: str, *, is_checked: bool, is_signed: bool) -> Literal["green", "red", "signed_off", "not_checked"]:
    if not message:
        return "green" if is_checked else "not_checked"
    return "signed_off" if is_signed else "red"


def _row(period: Period) -> dict[str, Any]:
    return {
        "month": period.period,
        "state": period.state,
        "started_at": period.started_at,
        "finish_requested_at": period.finish_requested_at,
        "closed_at": period.closed_at,
    }


def _late(event: LateEvent) -> LateOut:
    return LateOut(
        request=event.request_id,
        occurred_at=event.occurred_at,
        account=event.account_id,
        model=event.model_id,
        cost_usd=event.cost,
        booked_in=event.booked_period,
    )
