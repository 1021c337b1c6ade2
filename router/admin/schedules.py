"""Sets up and ends credit that is given by the month, through the one write path."""

from datetime import date

from billing import schedules
from billing.credits import GrantKind
from billing.money import MAX_AMOUNT, NanoUSD, to_usd
from billing.schedules import GrantSchedule
from router.admin.accounts import require_open_account
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, InvalidRequest, NotFound
from router.tables import Json
from store.ids import AccountId, GrantScheduleId, wire

YEAR = 12


async def create_schedule(
    work: UnitOfWork,
    account_id: AccountId,
    amount: NanoUSD,
    kind: GrantKind,
    *,
    first_month: date,
    last_month: date | None,
    lasts_months: int | None,
    note: str,
) -> GrantSchedule:
    """Give so much each month. Raises ``NotFound``, ``InvalidRequest``."""
    await require_open_account(work, account_id)
    if kind not in (GrantKind.PROMOTIONAL, GrantKind.GOODWILL):
        raise InvalidRequest("Credit that is given by the month is promotional or goodwill.", param="kind")
    if amount > MAX_AMOUNT:
        raise InvalidRequest(f"A grant is at most {to_usd(MAX_AMOUNT)} USD.", param="amount_usd")
    if first_month < work.now.date().replace(day=1):
        raise InvalidRequest("The first month is this one or a later one.", param="first_month")
    if last_month is not None and last_month < first_month:
        raise InvalidRequest("The last month is not before the first one.", param="last_month")
    made = await schedules.add_schedule(
        work.connection,
        account_id,
        kind,
        amount,
        first_month=first_month,
        last_month=last_month,
        lasts_months=lasts_months,
        note=note,
        actor=work.actor,
    )
    facts: Json = {"amount_usd": to_usd(amount), "kind": kind.value, "first_month": f"{first_month:%Y-%m}"}
    facts["last_month"] = f"{last_month:%Y-%m}" if last_month else None
    facts["lasts_months"] = lasts_months
    facts["whole_usd"] = to_usd(whole_amount(made))
    work.record_change(Change("grant_schedule.create", _name(made), account_id, after=facts, reason=note))
    return made


def whole_amount(schedule: GrantSchedule) -> NanoUSD:
    """What a schedule gives in all, by which a second person is needed; of one without end, what it gives in a year."""
    months = YEAR
    if schedule.last_month is not None:
        first, last = schedule.first_month, schedule.last_month
        months = YEAR * (last.year - first.year) + last.month - first.month + 1
    return NanoUSD(min(schedule.amount_nano * months, MAX_AMOUNT))


async def end_schedule(work: UnitOfWork, schedule_id: GrantScheduleId, note: str) -> GrantSchedule:
    """Give no further months. Raises ``NotFound``, ``Conflict`` where it has ended."""
    if not await schedules.end_schedule(work.connection, schedule_id, work.actor):
        if await schedules.find_schedule(work.connection, schedule_id) is None:
            raise NotFound(f"There is no schedule {wire(GrantScheduleId, schedule_id)}.", param="schedule")
        raise Conflict("The schedule has ended.")
    ended = await schedules.find_schedule(work.connection, schedule_id)
    assert ended is not None, "it was just ended; this is a bug"
    work.record_change(Change("grant_schedule.end", _name(ended), ended.account_id, reason=note))
    return ended


def _name(schedule: GrantSchedule) -> str:
    return wire(GrantScheduleId, schedule.id)
