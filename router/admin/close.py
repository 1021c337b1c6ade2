"""Starts to close months, signs items of their checklist off, and asks to finish, through the one write path.

What closing means is in :mod:`billing.close`; the jobs process does it.
"""

from datetime import date

from sqlalchemy.exc import IntegrityError

from billing import periods
from billing.close.checklist import ITEMS
from billing.close.finish import OWN_WORK, red_items
from billing.periods import Period, State
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, InvalidRequest
from router.tables import Json


async def start(work: UnitOfWork, month: date) -> Period:
    """Begin to close a month that is over. Raises ``InvalidRequest``, ``Conflict``."""
    if periods.next_month(month) > work.now.date():
        raise InvalidRequest(f"{month:%Y-%m} is not over yet.", param="month")
    await _refuse_out_of_order(work, month)
    try:
        await periods.start(work.connection, month)
    except IntegrityError as error:
        raise Conflict("Another month is being closed at this moment. Look at it with `close list`.") from error
    _record(work, "period.start", month, {"state": State.CLOSING.value})
    return await _require(work, month)


async def finish(work: UnitOfWork, month: date) -> Period:
    """Ask that a month be closed. Raises ``Conflict`` where something is red that was not signed off."""
    period = await _require_closing(work, month)
    checked = await periods.read_checks(work.connection, month)
    if not checked:
        raise Conflict("The checklist was not checked yet: wait some seconds. Is `gigarouter jobs` running?")
    messages = {item: message for item, (message, _) in checked.items()}
    red = await red_items(work.connection, period, messages)
    if blocking := sorted(set(red) - OWN_WORK):
        listed = "; ".join(f"{name}: {red[name]}" for name in blocking)
        raise Conflict(f"Not everything is green or signed off: {listed}.")
    await periods.request_finish(work.connection, month)
    _record(work, "period.finish", month, {"asked": True})
    return await _require(work, month)


async def sign_off(work: UnitOfWork, month: date, item: str, reason: str) -> Period:
    """Let a month be closed although an item is red. Raises ``InvalidRequest``, ``Conflict``."""
    known = ITEMS.get(item)
    if known is None:
        raise InvalidRequest(f"The checklist has no item {item!r}, but {', '.join(ITEMS)}.", param="item")
    if not known.can_be_signed_off:
        raise Conflict(f"{known.sentence}: that comes by itself, so nobody signs it off.")
    await _require_closing(work, month)
    await periods.sign_off(work.connection, month, item, reason, work.actor)
    _record(work, "period.sign_off", month, {"item": item}, reason)
    return await _require(work, month)


async def _refuse_out_of_order(work: UnitOfWork, month: date) -> None:
    for period in await periods.list_periods(work.connection):
        if period.period == month and period.state is State.CLOSED:
            raise Conflict(f"{month:%Y-%m} is closed.")
        if period.period > month:
            raise Conflict(f"{period.period:%Y-%m} is {period.state.value}, and every month before it with it.")
        if period.period < month and period.state is State.CLOSING:
            raise Conflict(f"{period.period:%Y-%m} is being closed: finish it first.")


async def _require_closing(work: UnitOfWork, month: date) -> Period:
    period = await periods.get_period(work.connection, month)
    if period is None:
        raise Conflict(f"{month:%Y-%m} is open: start to close it with `close start {month:%Y-%m}`.")
    if period.state is State.CLOSED:
        raise Conflict(f"{month:%Y-%m} is closed.")
    return period


async def _require(work: UnitOfWork, month: date) -> Period:
    period = await periods.get_period(work.connection, month)
    assert period is not None, "the month was just written; this is a bug"
    return period


def _record(work: UnitOfWork, action: str, month: date, after: Json, reason: str = "") -> None:
    work.record_change(Change(action, f"{month:%Y-%m}", after=after, reason=reason))
