"""Books corrections of the ledger through the one write path; what may be booked is in :mod:`billing.corrections`."""

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from billing.corrections import Correctable, Correction, book
from billing.money import MAX_AMOUNT, to_usd
from billing.periods import is_open
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork, violated_constraint
from router.errors import Conflict, InvalidRequest
from store.ids import EntryId, ProviderId, parse, wire

_IS_PROVIDER = text("SELECT EXISTS (SELECT FROM providers WHERE id = :id)")


async def book_correction(work: UnitOfWork, correction: Correction) -> EntryId:
    """Book a correction, once per source.

    Raises ``InvalidRequest``, and ``Conflict`` for a source that was booked before and a month that is closed.
    """
    if fault := correction.fault():
        raise InvalidRequest(fault, param="debit")
    if not 0 < correction.amount <= MAX_AMOUNT:
        raise InvalidRequest(f"It is between 0.000000001 and {to_usd(MAX_AMOUNT)} USD.", param="amount_usd")
    for side, param in ((correction.debit, "debit_detail"), (correction.credit, "credit_detail")):
        if side.account is Correctable.PROVIDER_PAYABLE and not await _is_provider(work, side.detail):
            raise InvalidRequest(f"There is no provider {side.detail}: it is named by its id, prov_….", param=param)
    period = correction.period
    if period is not None and period > work.now.date():
        raise InvalidRequest(f"{period:%Y-%m} has not begun.", param="period")
    if period is not None and not await is_open(work.connection, period):
        raise Conflict(f"{period:%Y-%m} is closed, or being closed: book it in a month that is open.", param="period")
    try:
        entry_id = await book(work.connection, correction)
    except IntegrityError as error:
        if violated_constraint(error) == "booked_facts_pkey":
            raise Conflict(f"A correction of {correction.source!r} was booked before.", param="source") from error
        raise
    facts: dict[str, object] = {
        "debit": " ".join(filter(None, (correction.debit.account.value, correction.debit.detail))),
        "credit": " ".join(filter(None, (correction.credit.account.value, correction.credit.detail))),
        "amount_usd": to_usd(correction.amount),
        "source": correction.source,
    }
    change = Change("correction.book", wire(EntryId, entry_id), after=facts, reason=correction.reason)
    work.record_change(change)
    return entry_id


async def _is_provider(work: UnitOfWork, name: str) -> bool:
    try:
        return bool(await work.connection.scalar(_IS_PROVIDER, {"id": parse(ProviderId, name)}))
    except ValueError:
        return False
