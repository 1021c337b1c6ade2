"""Prepares documents without a number, from what Postgres has: usage, grants, postings, parties, rates.

Raises :class:`DocumentRefused` where something is missing, with the rule and the field. What is prepared is not yet
checked: :mod:`billing.documents.render` does that.
"""

from datetime import date, datetime, timedelta

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.contracts.minimums import read_paid
from billing.documents import contract_lines
from billing.documents.balances import read_statement
from billing.documents.carried import carried_months
from billing.documents.credit_notes import Credited, credit_note_of, partial_note_of, rest_note_of
from billing.documents.document import (
    Document,
    DocumentKind,
    Draft,
    LineUsage,
    SetOff,
    due_on,
    local_tax,
    month_bounds,
    month_of,
    with_totals,
)
from billing.documents.faults import DocumentRefused, DocumentWaits
from billing.documents.parties import Seller
from billing.documents.profiles import find_rate, list_sellers, read_profile
from billing.documents.requests import TOPUP, DocumentFacts, DocumentRequest, RequestState, find_source
from billing.documents.rounding import NANO_PER_CENT, tax_cents
from billing.documents.store import StoredDocument, find_document, list_credit_notes
from billing.documents.tax import TaxDecision, TaxUndecided, decide_tax
from billing.documents.usage_lines import measure_lines
from billing.documents.words import WORDS
from billing.favours import read_favours
from billing.receivables import find_receivable, written_off
from store.ids import AccountId, parse, wire

# A call ends, and is booked, within its deadline and what the reaper waits beyond it; a month is invoiced after that.
SETTLED_AFTER = timedelta(hours=1)

_DRAWN = text("""
    SELECT coalesce(sum(u.overdraft_nano), 0)::bigint AS owed, coalesce(sum(u.charged_nano), 0)::bigint AS charged,
        coalesce(sum(u.promotional_nano), 0)::bigint + coalesce(sum(u.goodwill_nano), 0)::bigint AS given,
        (SELECT coalesce(sum(g.amount_nano), 0)::bigint FROM entries e JOIN grant_uses g ON g.entry_id = e.id
            JOIN grants r ON r.id = g.grant_id
            WHERE e.account_id = :account AND e.kind = 'usage' AND e.period = :period AND r.kind = 'line') AS line,
        (SELECT coalesce(sum(g.amount_nano), 0)::bigint FROM entries e JOIN grant_uses g ON g.entry_id = e.id
            JOIN grants r ON r.id = g.grant_id WHERE e.account_id = :account AND e.kind = 'usage' AND e.period = :period
                AND r.kind = 'purchased' AND r.source_ref LIKE 'contract:%') AS commitment
    FROM usage_events u WHERE u.account_id = :account AND u.occurred_at >= :since AND u.occurred_at < :until
""")


async def prepare(
    tx: AsyncConnection, request: DocumentRequest, now: datetime, *, is_taxed_elsewhere: bool = False
) -> Draft:
    """The draft of what is requested, as things are now.

    ``is_taxed_elsewhere``: an invoice's tax is left out, for :func:`with_tax` to add. Raises :class:`DocumentRefused`,
    :class:`DocumentWaits`, :class:`DocumentCarried`.
    """
    match request.kind:
        case DocumentKind.CREDIT_NOTE:
            return await _credit_note(tx, request, now.date())
        case DocumentKind.TOPUP:
            return await _topup(tx, request, now.date())
        case DocumentKind.INVOICE:
            draft = await _invoice(tx, request, now)
            return draft if is_taxed_elsewhere else await with_tax(tx, draft, _decided(draft))
        case DocumentKind.STATEMENT:
            return await _statement(tx, request, now)


class _Billed(msgspec.Struct, frozen=True):
    """A month's lines, what is taken off them, and what the line drew."""

    lines: list[tuple[str, int, LineUsage | None]]
    given: int
    commitment: int
    prepaid: int
    owed: int
    line: int


async def _invoice(tx: AsyncConnection, request: DocumentRequest, now: datetime) -> Draft:
    """The draft of a month, and of those before it that wait for an invoice, without its tax."""
    draft = await _month(tx, request, now)
    carries = await carried_months(tx, request.account_id, draft.period, draft.seller.id)
    if carries:
        draft = msgspec.structs.replace(draft, since=carries[0], carries=tuple(carries))
    billed = [await _bill_month(tx, request.account_id, draft, month) for month in draft.months]
    words = WORDS[draft.buyer.language]
    taken_off = [
        (words["given"], sum(one.given for one in billed)),
        (words["commitment"], sum(one.commitment for one in billed)),
        (words["prepaid"], sum(one.prepaid for one in billed)),
        (words["owed"], sum(one.owed for one in billed)),
    ]
    lines = [line for one in billed for line in one.lines]
    rest, line = sum(nano for _, nano, _ in lines) - sum(nano for _, nano in taken_off), sum(one.line for one in billed)
    if rest != line:
        raise DocumentRefused("usage-is-ledger", "lines", f"usage less what was paid is {rest}, the line drew {line}")
    return with_totals(msgspec.structs.replace(draft, due_on=due_on(draft.buyer, draft.issued_on)), lines, taken_off)


async def _bill_month(tx: AsyncConnection, account_id: AccountId, draft: Draft, month: date) -> _Billed:
    """A month of an invoice; of several months each line names its own."""
    since, until = month_of(month)
    of_month = msgspec.structs.replace(draft, since=since, until=until)
    drawn = (await tx.execute(_DRAWN, _span(account_id, month))).one()
    minimums = await read_paid(tx, account_id, month)
    lines = [*await _usage(tx, account_id, of_month), *contract_lines.minimum_lines(minimums, of_month)]
    if len(draft.months) > 1:
        name = WORDS[draft.buyer.language]["of_month"]
        lines = [
            (
                name.format(what=what, month=f"{month:%Y-%m}"),
                nano,
                usage and msgspec.structs.replace(usage, month=month),
            )
            for what, nano, usage in lines
        ]
    commitment = drawn.commitment + minimums.commitment
    return _Billed(
        lines=lines,
        given=drawn.given,
        commitment=commitment,
        prepaid=drawn.charged - drawn.given - drawn.line + minimums.prepaid - commitment,
        owed=drawn.owed + minimums.owed,
        line=drawn.line + minimums.line,
    )


async def with_tax(tx: AsyncConnection, draft: Draft, tax: TaxDecision, cents: int | None = None) -> Draft:
    """The draft with its tax, also in the currency of the seller's books; ``cents``: as whoever decided it says."""
    due = tax_cents(draft.net_cents, tax.rate) if cents is None else cents
    taxed = await _with_local_tax(tx, msgspec.structs.replace(draft, tax=tax, tax_cents=due))
    used: list[SetOff] = []
    for favour in await read_favours(tx, AccountId(parse(AccountId, draft.account))):
        left = taxed.total_cents - sum(one.cents for one in used)
        if (part := min(left, favour.amount // NANO_PER_CENT)) > 0:
            used.append(SetOff(favour.receivable.source_ref, part))
    if not used:
        return taxed
    return msgspec.structs.replace(taxed, set_off=tuple(used), paid_cents=sum(one.cents for one in used))


async def _topup(tx: AsyncConnection, request: DocumentRequest, today: date) -> Draft:
    facts, paid_on = request.facts, request.facts.paid_on or today
    draft = await _draft(tx, request, today, paid_on, paid_on)
    draft = msgspec.structs.replace(draft, paid_by=facts.paid_by, tax=facts.tax or _decided(draft), due_on=paid_on)
    draft = with_totals(draft, [(WORDS[draft.buyer.language]["bought"], facts.net_cents * NANO_PER_CENT, None)], [])
    if facts.tax is not None:
        draft = msgspec.structs.replace(draft, tax_cents=facts.tax_cents)
    elif draft.tax_cents != facts.tax_cents:
        message = f"the payment had tax of {facts.tax_cents} cents, the table of rates says {draft.tax_cents}"
        raise DocumentRefused("total-is-payment", "tax_cents", message)
    return await _with_local_tax(tx, msgspec.structs.replace(draft, paid_cents=draft.total_cents))


async def _credit_note(tx: AsyncConnection, request: DocumentRequest, today: date) -> Draft:
    facts, stored = request.facts, await credited_document(tx, request.facts)
    if stored.corrected_by is not None:
        raise DocumentRefused("credited-once", "corrects", f"{stored.corrected_by} took all of it back")
    notes = [one.document for one in await list_credit_notes(tx, stored.id)]
    if not facts.is_partial:
        whole = credit_note_of(stored.document, today, facts.reason)
        note = rest_note_of(stored.document, notes, today, facts.reason) if notes else whole
        return await _with_favour(tx, note, stored.document.name)
    # Of a refund the tax is what was paid back.
    tax_cents = facts.tax_cents if facts.corrects_source.startswith(TOPUP) else None
    part = Credited(facts.net_cents, facts.reason, facts.line, tax_cents, facts.paid_by)
    note = partial_note_of(stored.document, notes, part, today)
    return await _with_favour(tx, note, stored.document.name)


async def _with_favour(tx: AsyncConnection, note: Draft, name: str) -> Draft:
    """The credit note with what was paid of its invoice and is the customer's now."""
    found = None if note.paid_by else await find_receivable(tx, name)
    if found is None:
        return note
    owed = max(0, found.open + await written_off(tx, found.id))
    favour = note.total_cents - -(-owed // NANO_PER_CENT)
    return msgspec.structs.replace(note, in_favour_cents=favour) if favour > 0 else note


async def credited_document(tx: AsyncConnection, facts: DocumentFacts) -> StoredDocument:
    """The document that a credit note is wanted of. Raises :class:`DocumentRefused`, :class:`DocumentWaits`."""
    document_id = facts.corrects
    if document_id is None:
        before = await find_source(tx, facts.corrects_source)
        if before is None or before.state is RequestState.REFUSED:
            why = f": {before.fault}" if before else ""
            raise DocumentRefused("credits-an-invoice", "corrects", f"the payment has no tax invoice{why}")
        if before.document_id is None:
            raise DocumentWaits(facts.corrects_source)
        document_id = before.document_id
    stored = await find_document(tx, document_id)
    if stored is None or stored.document.draft.kind not in (DocumentKind.INVOICE, DocumentKind.TOPUP):
        raise DocumentRefused("credits-an-invoice", "corrects", "only an invoice or a tax invoice is credited")
    return stored


async def _statement(tx: AsyncConnection, request: DocumentRequest, now: datetime) -> Draft:
    draft = await _month(tx, request, now)
    lines = await _usage(tx, request.account_id, draft)
    used = [(what, nano) for what, nano, _ in lines]
    statement = await read_statement(tx, request.account_id, draft.since, used)
    return msgspec.structs.replace(with_totals(draft, lines, []), statement=statement, rounding_nano=0)


async def _month(tx: AsyncConnection, request: DocumentRequest, now: datetime) -> Draft:
    """The draft of a month that is over."""
    period = request.facts.period
    assert period is not None, "a month's document is asked for with its month; this is a bug"
    _, until = month_bounds(period)
    if now < until + SETTLED_AFTER:
        raise DocumentRefused("month-is-over", "period", f"calls of {period:%Y-%m} may still be booked")
    draft = await _draft(tx, request, now.date(), *month_of(period))
    await contract_lines.wait_for_minimums(tx, request.account_id, draft)
    return draft


async def _draft(tx: AsyncConnection, request: DocumentRequest, today: date, since: date, until: date) -> Draft:
    seller = await _seller(tx, request.facts.seller)
    stored = await read_profile(tx, request.account_id)
    if stored is None:
        raise DocumentRefused("buyer-is-known", "buyer", "the account has no billing profile")
    return Draft(
        kind=request.kind,
        account=wire(AccountId, request.account_id),
        seller=seller,
        buyer=stored.profile,
        issued_on=today,
        since=since,
        until=until,
        lines=(),
    )


async def _seller(tx: AsyncConnection, name: str) -> Seller:
    sellers = {one.seller.id: one.seller for one in await list_sellers(tx)}
    if not name and len(sellers) == 1:
        return next(iter(sellers.values()))
    if name not in sellers:
        raise DocumentRefused("seller-is-known", "seller", f"there is no seller {name!r}" if name else "which seller?")
    return sellers[name]


async def _usage(tx: AsyncConnection, account_id: AccountId, draft: Draft) -> list[tuple[str, int, LineUsage | None]]:
    words = await contract_lines.describe_usage(tx, account_id, draft)
    measured = await measure_lines(tx, account_id, draft.since)
    return [(words(one.usage), one.amount_nano, one.usage) for one in measured]


def _decided(draft: Draft) -> TaxDecision:
    try:
        return decide_tax(draft.seller, draft.buyer, draft.until)
    except TaxUndecided as fault:
        raise DocumentRefused("tax-is-decided", fault.field, str(fault)) from None


async def _with_local_tax(tx: AsyncConnection, draft: Draft) -> Draft:
    """The draft with its tax in the seller's currency, too, where that is another and there is tax."""
    currency = draft.seller.currency
    if currency == "USD" or not draft.tax_cents:
        return draft
    rate = await find_rate(tx, currency, draft.until)
    if rate is None:
        message = f"there is no exchange rate of {currency} on {draft.until} or in the ten days before"
        raise DocumentRefused("tax-in-currency-of-books", "seller.currency", message)
    return msgspec.structs.replace(draft, local_tax=local_tax(draft, *rate.fraction(), rate.on_day, rate.source))


def _span(account_id: AccountId, period: date) -> dict[str, object]:
    since, until = month_bounds(period)
    return {"account": account_id, "period": period, "since": since, "until": until}


def number(draft: Draft, next_number: int) -> Document:
    """The document that a draft is with a number."""
    return Document(number=next_number, draft=draft)
