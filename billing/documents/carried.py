"""Carries months whose invoice is too small to be collected to a later month's invoice.

Such a month's request stays, with the reason; what was drawn stays unbilled. A later invoice of the account has the
month's lines beside its own, unless it was taken back. December's invoice, and one of an account that is closed or
whose line has ended, is issued however small it is: nothing may follow it.
"""

from datetime import date

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.documents.document import DocumentKind, Draft
from billing.documents.faults import DocumentCarried
from billing.documents.words import cents_text
from store.ids import AccountId, DocumentId

DECEMBER = 12
# What of a month is on an invoice that stands.
_ON = """
    SELECT d.name FROM documents d JOIN carried_months m ON m.document_id = d.id
    WHERE m.account_id = {account} AND m.period = {period} AND d.seller = :seller
        AND NOT EXISTS (SELECT FROM documents c WHERE c.corrects = d.id AND NOT c.partial)
"""
_CARRIED = text(f"""
    SELECT CAST(r.facts ->> 'period' AS date) AS period FROM document_requests r
    WHERE r.account_id = :account AND r.state = 'carried' AND CAST(r.facts ->> 'period' AS date) < :period
        AND coalesce(r.facts ->> 'seller', '') IN ('', :seller)
        AND NOT EXISTS ({_ON.format(account="r.account_id", period="CAST(r.facts ->> 'period' AS date)")})
    ORDER BY 1
""")  # noqa: S608 - constants
_ON_INVOICE = text(_ON.format(account=":account", period=":period"))
_IS_LAST = text("""
    SELECT EXISTS (SELECT FROM accounts WHERE id = :account AND status = 'closed')
        OR NOT EXISTS (SELECT FROM credit_lines WHERE account_id = :account AND ended_at IS NULL)
""")
_BEFORE = text("""
    SELECT sum(carried_nano) FROM document_requests WHERE account_id = :account AND state = 'carried'
        AND CAST(facts ->> 'period' AS date) = ANY(CAST(:periods AS date[]))
""")
_ADD = text("INSERT INTO carried_months (document_id, period, account_id) VALUES (:document, :period, :account)")


async def carried_months(tx: AsyncConnection, account_id: AccountId, period: date, seller: str) -> list[date]:
    """The months before one that wait for an invoice to be on. Raises :class:`DocumentCarried` where it is on one."""
    which = {"account": account_id, "period": period, "seller": seller}
    if (name := await tx.scalar(_ON_INVOICE, which)) is not None:
        raise DocumentCarried(f"it is on {name}", 0)
    return list((await tx.execute(_CARRIED, which)).scalars())


async def require_enough(
    tx: AsyncConnection, account_id: AccountId, draft: Draft, drawn: int, least_cents: int
) -> None:
    """Raise :class:`DocumentCarried` for an invoice of a line that demands too little and is not the last."""
    is_small = drawn > 0 and 0 < draft.due_cents < least_cents
    if not is_small or draft.until.month == DECEMBER or await tx.scalar(_IS_LAST, {"account": account_id}):
        return
    amount, least = cents_text(draft.due_cents), cents_text(least_cents)
    message = f"{amount} USD are less than is collected, {least} USD: the month will be on the next invoice"
    before = int(await tx.scalar(_BEFORE, {"account": account_id, "periods": list(draft.carries or ())}) or 0)
    raise DocumentCarried(message, drawn - before)


async def note_months(tx: AsyncConnection, document_id: DocumentId, account_id: AccountId, draft: Draft) -> None:
    """Note which earlier months an invoice has, in its transaction."""
    if draft.kind is not DocumentKind.INVOICE:
        return
    for period in draft.months[:-1]:
        await tx.execute(_ADD, {"document": document_id, "period": period, "account": account_id})
