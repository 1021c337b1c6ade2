"""Opens, changes and ends credit lines and records payments of receivables through the one write path.

What a line is stays in :mod:`billing.lines`, what is owed in :mod:`billing.receivables`.
"""

from sqlalchemy.exc import IntegrityError, NoResultFound
from sqlalchemy.ext.asyncio import AsyncConnection

from billing import favours, lines, receivables
from billing.ledger import CreditTooLarge
from billing.lines import Line
from billing.money import MAX_AMOUNT, NanoUSD, to_usd
from billing.receivables import AmountRefused, Receivable
from router.admin.accounts import require_account, require_open_account
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork, violated_constraint
from router.errors import Conflict, InvalidRequest, NotFound
from router.tables import Json
from store.ids import AccountId, ReceivableId, new_id, wire


async def require_line(work: UnitOfWork, account_id: AccountId) -> Line:
    """The account's line, also one that ended. Raises ``NotFound``."""
    line = await lines.get_line(work.connection, account_id, work.now)
    if line is None:
        raise NotFound("The account has no credit line.", param="account")
    return line


async def open_line(work: UnitOfWork, account_id: AccountId, limit: NanoUSD, terms_days: int, note: str) -> Line:
    """Lend an account so much, to be paid after use. Raises ``NotFound``, ``InvalidRequest``, ``Conflict``."""
    await require_open_account(work, account_id, locked=True)
    before = await lines.get_line(work.connection, account_id, work.now)
    if before is not None and before.ended_at is None:
        raise Conflict("The account has a credit line: change it with `lines edit`.")
    return await _set(work, account_id, None, limit, terms_days, "line.open", note)


async def change_line(
    work: UnitOfWork, account_id: AccountId, limit: NanoUSD | None, terms_days: int | None, note: str
) -> Line:
    """Change what is given. More is lent at once; less as soon as calls in flight leave it free.

    Raises ``NotFound``, ``InvalidRequest``, ``Conflict``.
    """
    await require_account(work, account_id, locked=True)
    before = await require_line(work, account_id)
    if before.ended_at is not None:
        raise Conflict("The credit line has ended: open one anew with `lines open`.")
    new_limit = before.limit if limit is None else limit
    new_terms = before.terms_days if terms_days is None else terms_days
    return await _set(work, account_id, before, new_limit, new_terms, "line.change", note)


async def end_line(work: UnitOfWork, account_id: AccountId, note: str) -> Line:
    """Lend nothing any more; what was drawn stays owed. Raises ``NotFound``."""
    await require_account(work, account_id, locked=True)
    before = await require_line(work, account_id)
    await lines.end_line(work.connection, account_id)
    _record(work, "line.end", account_id, before, {"limit_usd": "0.00"}, note)
    return await require_line(work, account_id)


async def record_payment(
    work: UnitOfWork, receivable_id: ReceivableId, amount: NanoUSD | None, source: str, note: str
) -> Receivable:
    """Record money at the bank for a receivable, by default all that is open. One source is recorded once.

    Raises ``NotFound``, ``InvalidRequest``, ``Conflict``.
    """
    found = await require_receivable(work.connection, receivable_id)
    paid = found.open if amount is None else amount
    try:
        await receivables.pay(work.connection, receivable_id, paid, work.now, source_ref=source)
    except AmountRefused as error:
        raise InvalidRequest(f"Of it {to_usd(found.open)} USD are open.", param="amount_usd") from error
    except IntegrityError as error:
        if violated_constraint(error) == "booked_facts_pkey":
            raise Conflict(f"A payment of {source!r} was recorded before.") from error
        raise
    facts: Json = {"amount_usd": to_usd(paid), "source": source}
    subject = wire(ReceivableId, receivable_id)
    work.record_change(Change("receivable.pay", subject, found.account_id, after=facts, reason=note))
    return await receivables.get_receivable(work.connection, receivable_id)


async def write_off_receivable(
    work: UnitOfWork, receivable_id: ReceivableId, amount: NanoUSD | None, reason: str
) -> tuple[Receivable, NanoUSD]:
    """Book that a receivable, by default all that is open of it, will not be paid; returns how much that is.

    Raises ``NotFound``, ``InvalidRequest``.
    """
    found = await require_receivable(work.connection, receivable_id)
    lost = found.open if amount is None else amount
    source = f"{wire(ReceivableId, receivable_id)}:{new_id().hex}"
    try:
        await receivables.write_off(work.connection, receivable_id, lost, source_ref=source, note=reason)
    except AmountRefused as error:
        raise InvalidRequest(f"Of it {to_usd(found.open)} USD are open.", param="amount_usd") from error
    subject = wire(ReceivableId, receivable_id)
    was: Json = {"open_usd": to_usd(found.open)}
    facts: Json = {"amount_usd": to_usd(lost)}
    work.record_change(Change("receivable.write_off", subject, found.account_id, was, facts, reason))
    return await receivables.get_receivable(work.connection, receivable_id), lost


async def pay_favour_back(
    work: UnitOfWork, receivable_id: ReceivableId, amount: NanoUSD | None, source: str, note: str
) -> tuple[Receivable, NanoUSD]:
    """Record that what is in a customer's favour, by default all of it, was paid back at the bank; returns how much.

    Raises ``NotFound``, ``InvalidRequest``, ``Conflict``.
    """
    found = await require_receivable(work.connection, receivable_id)
    favour = NanoUSD(max(0, -found.open))
    back = favour if amount is None else amount
    try:
        await favours.pay_back(work.connection, receivable_id, back, source_ref=source, note=note)
    except AmountRefused as error:
        raise InvalidRequest(f"Of it {to_usd(favour)} USD are in the customer's favour.", param="amount_usd") from error
    except IntegrityError as error:
        if violated_constraint(error) == "booked_facts_pkey":
            raise Conflict(f"A payment back of {source!r} was recorded before.") from error
        raise
    facts: Json = {"amount_usd": to_usd(back), "source": source}
    subject = wire(ReceivableId, receivable_id)
    work.record_change(Change("receivable.pay_back", subject, found.account_id, after=facts, reason=note))
    return await receivables.get_receivable(work.connection, receivable_id), back


async def require_receivable(connection: AsyncConnection, receivable_id: ReceivableId) -> Receivable:
    """The receivable. Raises ``NotFound``."""
    try:
        return await receivables.get_receivable(connection, receivable_id)
    except NoResultFound as error:
        raise NotFound(f"There is no receivable {wire(ReceivableId, receivable_id)}.", param="receivable_id") from error


async def _set(
    work: UnitOfWork,
    account_id: AccountId,
    before: Line | None,
    limit: NanoUSD,
    terms_days: int,
    action: str,
    note: str,
) -> Line:
    if not 0 < limit <= MAX_AMOUNT:
        raise InvalidRequest(f"A line is between 0.000000001 and {to_usd(MAX_AMOUNT)} USD.", param="limit_usd")
    try:
        await lines.set_line(work.connection, account_id, limit, work.now, terms_days=terms_days)
    except (CreditTooLarge, IntegrityError) as error:
        if isinstance(error, IntegrityError) and violated_constraint(error) != "credit_fits_redis":
            raise
        raise Conflict("An account can hold at most 9,000,000.00 USD of credit.") from error
    _record(work, action, account_id, before, {"limit_usd": to_usd(limit), "terms_days": terms_days}, note)
    return await require_line(work, account_id)


def _record(work: UnitOfWork, action: str, account_id: AccountId, before: Line | None, after: Json, note: str) -> None:
    was: Json | None = None if before is None else {"limit_usd": to_usd(before.limit), "terms_days": before.terms_days}
    work.record_change(Change(action, wire(AccountId, account_id), account_id, was, after, note))
