"""Invoices are corrected, credited in parts, reminded of and written off; refunds have their credit notes."""

import asyncio
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from billing.documents.document import DocumentKind, month_of
from billing.documents.issue import issue, issue_waiting
from billing.documents.mails import add_reminder, finish_mail
from billing.documents.profiles import write_profile
from billing.documents.render import Renderer
from billing.documents.requests import (
    DocumentRequest,
    RequestState,
    issue_refund_note,
    issue_topup_document,
    list_requests,
    request_credit_note,
    request_month,
    retry_refused,
)
from billing.documents.store import find_document
from billing.documents.verify import verify
from billing.lines import read_exposure
from billing.money import NanoUSD
from billing.receivables import AmountRefused, find_receivable, list_receivables, remind, write_off
from mail import outbox
from mail.kinds import DocumentReference
from mail.render import Rendered, Surroundings, render
from router.admin.documents import ask_for_month
from router.changes.transaction import transact
from store.ids import AccountId
from tests.builders.billed_month import BY, an_account_with_a_month, last_month
from tests.builders.billing import Billing
from tests.builders.database import ACTOR
from tests.builders.documents import a_buyer
from tests.builders.issued import (
    assert_no_gaps,
    assert_receivables_are_the_ledgers,
    balances,
    documents_of,
    invoice_of,
    request_of,
)

pytestmark = pytest.mark.anyio


async def test_a_correction_is_a_credit_note_and_a_new_invoice(b: Billing, renderer: Renderer) -> None:
    account = await an_account_with_a_month(b, [77_777_777], line=10**9)
    before = await balances(b)
    first = await invoice_of(b, renderer, account)
    # The same month again is refused, with or without another request for it.
    again = await invoice_of(b, renderer, account, after=9)
    assert again == first
    assert (await request_of(b, account)).state is RequestState.REFUSED
    async with b.db.transaction() as tx:
        await request_credit_note(tx, account, first.id, "Wrong address", BY)
        await request_credit_note(tx, account, first.id, "Wrong address", BY)
        await write_profile(tx, account, a_buyer(legal_name="Customer Europe AG"), BY)
    await issue_waiting(b.db, renderer)
    note = (await documents_of(b, account))[-1].document.draft
    assert note.corrects is not None
    assert (note.corrects.name, note.total_cents) == (first.document.name, first.document.draft.total_cents)
    assert await balances(b) == before
    second = await invoice_of(b, renderer, account, after=1)
    assert second.document.draft.buyer.legal_name == "Customer Europe AG"
    async with b.db.transaction() as tx:
        old = await find_document(tx, first.id)
        open_ones = {one.source_ref: one.open for one in await list_receivables(tx) if one.account_id == account}
    # What the credit note took back is demanded by nobody any more, and by the new invoice once.
    assert open_ones == {first.document.name: 0, second.document.name: second.document.draft.total_cents * 10**7}
    assert old is not None
    assert old.document == first.document
    assert old.corrected_by == (await documents_of(b, account))[1].document.name
    await assert_no_gaps(b)


async def test_parts_are_credited_until_nothing_is_left_and_of_two_at_once_one_wins(
    b: Billing, renderer: Renderer
) -> None:
    """Of 1.33 with 0.25 of tax: a line's 0.40, then 0.90 twice at once, then the rest, then nothing."""
    account = await an_account_with_a_month(b, [1_333_333_338], line=10**10)
    before = await balances(b)
    first = await invoice_of(b, renderer, account)

    async def credit(net_cents: int = 0, line: int = 0) -> DocumentRequest:
        async with b.db.transaction() as tx:
            return await request_credit_note(tx, account, first.id, "Slow", BY, net_cents=net_cents, line=line)

    await credit(net_cents=40, line=1)
    await issue_waiting(b.db, renderer)
    requests = [await credit(net_cents=90), await credit(net_cents=90)]
    await asyncio.gather(*(issue(b.db, renderer, one) for one in requests))
    async with b.db.transaction() as tx:
        [one, other] = (await list_requests(tx, account_id=account))[:2]
        rights = {one.state: one.fault, other.state: other.fault}
    assert rights == {
        RequestState.ISSUED: "",
        RequestState.REFUSED: "credits-what-is-left (amount): of "
        f"{first.document.name} 0.03 USD net are left to credit",
    }
    await credit(net_cents=3)
    # Of all of it nothing is left to take back: its month is not to be invoiced again.
    await credit()
    await issue_waiting(b.db, renderer)
    nothing_left = f"of {first.document.name} nothing is left to credit"
    assert (await request_of(b, account)).fault == f"credits-what-is-left (amount): {nothing_left}"
    notes = [one for one in await documents_of(b, account) if one.document.draft.kind is DocumentKind.CREDIT_NOTE]
    drafts = [one.document.draft for one in notes]
    assert [(one.net_cents, one.tax_cents) for one in drafts] == [(40, 8), (90, 16), (3, 1)]
    assert drafts[0].lines[0].description == f"Credit: Embeddings with {first.document.draft.lines[0].usage.model}"  # type: ignore[union-attr]
    assert sum(one.local_tax.cents for one in drafts if one.local_tax) in range(21, 25)
    async with b.db.transaction() as tx:
        for stored in [await find_document(tx, first.id), *notes]:
            assert stored is not None
            assert (await verify(tx, stored)).faults == ()
        [receivable] = [one for one in await list_receivables(tx) if one.account_id == account]
        exposure = await read_exposure(tx, account)
    # Nothing is open, nothing is invoiced again, and the line is free by what is demanded no more.
    assert (receivable.open, exposure.billed, exposure.owed) == (0, 0, 0)
    after = await balances(b)
    moved = {kind: after.get(kind, 0) - before.get(kind, 0) for kind in after | before}
    assert {kind: amount for kind, amount in moved.items() if amount} == {
        "goodwill_expense": -1_330_000_000,
        "rounding": -3_333_338,
        "customer_unbilled": 1_333_333_338,
    }
    again = await invoice_of(b, renderer, account, after=9)
    assert again.document.draft.kind is DocumentKind.CREDIT_NOTE
    await assert_no_gaps(b)
    await assert_receivables_are_the_ledgers(b)
    await b.assert_books_are_right()


async def test_a_void_is_followed_by_the_new_invoice_which_comes_after_it(b: Billing, renderer: Renderer) -> None:
    account = await an_account_with_a_month(b, [88_888_888], line=10**9)
    first = await invoice_of(b, renderer, account)
    async with b.db.transaction() as tx:
        for _ in range(2):
            await request_credit_note(tx, account, first.id, "Wrong order number", BY, reissues=True)
        await write_profile(tx, account, a_buyer(po_number="PO-78"), BY)
    await issue_waiting(b.db, renderer)
    _, note, second = await documents_of(b, account)
    assert note.document.draft.corrects is not None
    assert (note.document.draft.corrects.name, second.document.draft.buyer.po_number) == (first.document.name, "PO-78")
    assert (second.document.draft.kind, second.corrected_by) == (DocumentKind.INVOICE, None)
    await assert_receivables_are_the_ledgers(b)


async def ask(b: Billing, account: AccountId, seller: str) -> DocumentRequest:
    """Ask for last month's invoice as an operator does."""
    kind, month = DocumentKind.INVOICE, last_month()
    return await transact(b.db, ACTOR, lambda work: ask_for_month(work, account, kind, month, seller))


@pytest.mark.parametrize("first", ["", "acme"])
async def test_without_a_seller_a_month_is_requested_of_the_only_one_also_after_a_credit_note(
    b: Billing, renderer: Renderer, first: str
) -> None:
    account = await an_account_with_a_month(b, [50_000_000], line=10**9)

    requests = [await ask(b, account, seller) for seller in (first, "", "acme")]
    assert {one.id for one in requests} == {requests[0].id}
    await issue_waiting(b.db, renderer)
    [invoice] = await documents_of(b, account)
    async with b.db.transaction() as tx:
        await request_credit_note(tx, account, invoice.id, "Wrong address", BY)
    await issue_waiting(b.db, renderer)
    again = [await ask(b, account, seller) for seller in ("", "acme", "")]
    assert {one.id for one in again} == {again[0].id} != {requests[0].id}
    await issue_waiting(b.db, renderer)
    kinds = [one.document.draft.kind for one in await documents_of(b, account)]
    assert kinds == [DocumentKind.INVOICE, DocumentKind.CREDIT_NOTE, DocumentKind.INVOICE]
    await assert_no_gaps(b)


async def test_a_month_that_an_older_release_requested_of_no_seller_is_its_first_request(
    b: Billing, renderer: Renderer
) -> None:
    account = await an_account_with_a_month(b, [50_000_000], line=10**9)
    async with b.db.transaction() as tx:
        before = await request_month(tx, DocumentKind.INVOICE, account, last_month(), "", BY)
    await issue_waiting(b.db, renderer)
    for seller in ("", "acme"):
        again = await ask(b, account, seller)
        assert (again.id, again.state) == (before.id, RequestState.ISSUED)


async def test_an_overdue_invoice_is_reminded_of_until_it_is_paid_or_written_off(
    b: Billing, renderer: Renderer
) -> None:
    account = await an_account_with_a_month(b, [500_000_000], line=10**9)
    stored = await invoice_of(b, renderer, account)
    async with b.db.transaction() as tx:
        demanded = await find_receivable(tx, stored.document.name)
    assert demanded is not None
    due = datetime.combine(demanded.due_on, time(), UTC)

    async def mails(days: int) -> list[Rendered]:
        """What jobs send on this day, twice; what others wait for is sent, too."""
        found: list[Rendered] = []
        async with b.db.transaction() as tx:
            for _ in range(2):
                for reminder in await remind(tx, due + timedelta(days=days)):
                    await add_reminder(tx, reminder.receivable.source_ref, reminder.step)
        while True:
            async with b.db.transaction() as tx:
                mail = await outbox.claim(tx)
                if mail is None:
                    return [one for one in found if stored.document.name in one.subject]
                assert isinstance(mail.mail, DocumentReference)
                finished = await finish_mail(tx, mail.mail)
                await outbox.mark_sent(tx, mail)
            if finished and mail.mail.step:
                assert finished.attachments[0].content.startswith(b"%PDF")
                found.append(render(mail, finished.mail, Surroundings("https://house.example")))

    assert [len(await mails(days)) for days in (0, 6)] == [0, 1]
    (second,) = await mails(7)
    assert second.subject == f"Acme Vectors GmbH: Reminder: Invoice {stored.document.name} is overdue"
    assert "USD 0.60 are still open" in second.text
    assert f"paid by {demanded.due_on + timedelta(days=14)}, the credit line is paused" in second.text
    async with b.db.transaction() as tx:
        with pytest.raises(AmountRefused):
            await write_off(tx, demanded.id, NanoUSD(demanded.total + 1), source_ref="w:0")
        await write_off(tx, demanded.id, demanded.total, source_ref="w:1", note="insolvent")
    assert await mails(14) == []
    async with b.db.transaction() as tx:
        owed = (await read_exposure(tx, account)).billed
    # Nothing is lent in place of what was not paid.
    assert owed == 500_000_000
    assert (await balances(b))["write_off"] == -600_000_000
    await assert_receivables_are_the_ledgers(b)
    await b.assert_books_are_right()


async def test_a_refunds_credit_note_waits_for_its_tax_invoice_and_is_one(b: Billing, renderer: Renderer) -> None:
    """Asked for before the tax invoice could be issued, and twice; no more than was paid is taken back."""
    account = await an_account_with_a_month(b, [], has_profile=False)
    paid: dict[str, Any] = {"payment_ref": "topup_1", "net_cents": 2500, "tax_cents": 475, "tax": None}
    refunds = (("refund_1", 1000, 190), ("refund_1", 1000, 190), ("refund_2", 1500, 285), ("refund_3", 1, 0))
    async with b.db.transaction() as tx:
        await issue_topup_document(
            tx, account, paid_on=month_of(last_month())[1], paid_by="Stripe", seller="acme", **paid
        )
        for ref, net, tax in refunds:
            await issue_refund_note(
                tx, account, payment_ref="topup_1", refund_ref=ref, net_cents=net, tax_cents=tax, paid_by="Stripe"
            )
        requests = (await list_requests(tx, account_id=account))[::-1]
    # Whichever is worked on first, before the tax invoice it waits.
    for request in reversed(requests[1:]):
        await issue(b.db, renderer, request)
        assert await documents_of(b, account) == []
    await issue(b.db, renderer, requests[0])
    async with b.db.transaction() as tx:
        await write_profile(tx, account, a_buyer(), BY)
        await retry_refused(tx, account)
    for request in [*requests, *requests]:
        await issue(b.db, renderer, request)
    topup, *notes = await documents_of(b, account)
    totals = [(one.document.draft.corrects.name, one.document.draft.total_cents) for one in notes]  # type: ignore[union-attr]
    assert totals == [(topup.document.name, 1190), (topup.document.name, 1785)]
    assert [one.document.draft.due_cents for one in notes] == [0, 0]
    assert (await request_of(b, account)).fault.startswith("credits-what-is-left (amount)")
    assert topup.credit_notes == tuple(one.document.name for one in notes)
    await assert_no_gaps(b)
