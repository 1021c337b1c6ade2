"""What was paid of an invoice that is taken back is the customer's: it is set off, once, or paid back."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from billing.documents.document import DocumentKind, SetOff
from billing.documents.issue import issue_waiting
from billing.documents.render import Renderer
from billing.documents.requests import request_credit_note
from billing.documents.store import StoredDocument
from billing.documents.verify import verify
from billing.favours import pay_back, read_favours
from billing.lines import read_exposure, set_line
from billing.money import NanoUSD
from billing.reaper import mismatches
from billing.receivables import AmountRefused, Receivable, find_receivable, pay, write_off
from tests.builders.billed_month import BY, an_account_with_a_month
from tests.builders.billing import Billing
from tests.builders.issued import assert_no_gaps, assert_receivables_are_the_ledgers, balances, documents_of, invoice_of

pytestmark = pytest.mark.anyio
CENT, DOLLAR, NOW = 10**7, 10**9, datetime.now(UTC)


async def an_invoice(b: Billing, renderer: Renderer, dollars: int = 3) -> StoredDocument:
    """An invoice of drawn credit of so much, with 19 % of tax."""
    # What tests before lent, Redis hears of as by a notification.
    for behind in await mismatches(b.db, b.projection):
        await b.projection.refresh(behind.account_id)
    account = await an_account_with_a_month(b, [DOLLAR] * dollars, line=10 * DOLLAR)
    async with b.db.transaction() as tx:
        await set_line(tx, account, NanoUSD(10 * DOLLAR), NOW)
    return await invoice_of(b, renderer, account)


async def receivable_of(b: Billing, stored: StoredDocument) -> Receivable:
    async with b.db.transaction() as tx:
        found = await find_receivable(tx, stored.document.name)
    assert found is not None
    return found


async def test_the_rest_of_an_invoice_is_voided_and_its_payment_set_off_against_the_next(
    b: Billing, renderer: Renderer
) -> None:
    """Of 3.57 there are 0.60 allowed and 1.00 paid; the new invoice demands what is left of it, and no more."""
    before = await balances(b)
    first = await an_invoice(b, renderer)
    account = first.account_id
    async with b.db.transaction() as tx:
        await request_credit_note(tx, account, first.id, "an hour of errors", BY, net_cents=50)
        await pay(tx, (await receivable_of(b, first)).id, NanoUSD(DOLLAR), NOW, source_ref="bank:part")
    await issue_waiting(b.db, renderer)
    async with b.db.transaction() as tx:
        for _ in range(2):
            await request_credit_note(tx, account, first.id, "Wrong address", BY, reissues=True)
    await issue_waiting(b.db, renderer)
    issued = await documents_of(b, account)
    allowance, rest, second, again = (one.document.draft for one in issued[1:])
    assert (rest.total_cents, rest.in_favour_cents, rest.lines[0].description) == (
        357 - allowance.total_cents,
        100,
        f"Credit: the rest of {first.document.name}",
    )
    assert (second.total_cents, second.paid_cents, second.due_cents) == (357, 100, 257)
    assert second.set_off == (SetOff(first.document.name, 100),)
    assert again.corrects is not None
    assert (again.corrects.name, again.total_cents) == (issued[3].document.name, allowance.total_cents)
    async with b.db.transaction() as tx:
        for stored in issued:
            assert (await verify(tx, stored)).faults == ()
    assert [(await receivable_of(b, one)).open for one in (issued[0], issued[3])] == [0, 197 * CENT]
    await assert_receivables_are_the_ledgers(b)
    async with b.db.transaction() as tx:
        assert await read_favours(tx, account) == []
        await pay(tx, (await receivable_of(b, issued[3])).id, NanoUSD(197 * CENT), NOW, source_ref="bank:rest")
        exposure = await read_exposure(tx, account)
    # All is paid once, and the line is as free as before.
    assert (exposure.owed, exposure.available) == (0, 10 * DOLLAR)
    after = await balances(b)
    moved = {kind: after.get(kind, 0) - before.get(kind, 0) for kind in ("bank", "goodwill_expense", "tax_payable")}
    assert moved == {
        "bank": -297 * CENT,
        "goodwill_expense": -allowance.net_cents * CENT,
        "tax_payable": (57 - allowance.tax_cents) * CENT,
    }
    await assert_no_gaps(b)
    await b.assert_books_are_right()


async def test_what_is_in_favour_is_paid_back_once_and_what_was_written_off_is_in_nobodys(
    b: Billing, renderer: Renderer
) -> None:
    paid, lost = [await an_invoice(b, renderer) for _ in range(2)]
    async with b.db.transaction() as tx:
        await pay(tx, (await receivable_of(b, paid)).id, NanoUSD(DOLLAR), NOW, source_ref="bank:one")
        await write_off(tx, (await receivable_of(b, lost)).id, NanoUSD(DOLLAR), source_ref="lost:one")
        for one in (paid, lost):
            await request_credit_note(tx, one.account_id, one.id, "Never used", BY)
    await issue_waiting(b.db, renderer)
    notes = [(await documents_of(b, one.account_id))[-1].document.draft for one in (paid, lost)]
    assert [(one.kind, one.in_favour_cents or 0) for one in notes] == [
        (DocumentKind.CREDIT_NOTE, 100),
        (DocumentKind.CREDIT_NOTE, 0),
    ]
    assert [(await receivable_of(b, one)).open for one in (paid, lost)] == [-DOLLAR, 0]
    # The undone write-off is the house's again.
    assert (await balances(b)).get("write_off", 0) == 0
    await assert_receivables_are_the_ledgers(b)
    found = await receivable_of(b, paid)
    async with b.db.transaction() as tx:
        with pytest.raises(AmountRefused):
            await pay_back(tx, found.id, NanoUSD(DOLLAR + 1), source_ref="back:much")
        await pay_back(tx, found.id, NanoUSD(DOLLAR), source_ref="back:one")
    async with b.db.transaction() as tx:
        with pytest.raises(AmountRefused):
            await pay_back(tx, found.id, NanoUSD(1), source_ref="back:two")
        freed = text("SELECT sum(freed_nano) FROM receivable_payments WHERE receivable_id = :id")
        assert await tx.scalar(freed, {"id": found.id}) == 0
        # What was drawn is on no invoice, and used as before.
        exposure = await read_exposure(tx, paid.account_id)
    assert (exposure.billed, exposure.drawn + exposure.unbilled) == (0, 3 * DOLLAR)
    await assert_receivables_are_the_ledgers(b)
    await b.assert_books_are_right()
