"""What is tried at Stripe itself with a test key, and at the stand-in by every run of the tests.

A page of Checkout cannot be paid without a browser, so cards come by :class:`Cards`, and payments by recharges.
"""

from typing import Protocol

from billing.stripe import portal_links, recharges, sweep
from billing.stripe.refund_rules import RefundStatus
from billing.stripe.topup_rules import TopupStatus
from billing.stripe.topups import find_topup
from store.ids import AccountId
from tests.builders.billing import an_account
from tests.builders.stripe import Payments


class Cards(Protocol):
    """Saves a test card for a customer: one that ``pays``, is ``declined``, or asks for ``authentication``."""

    async def save(self, customer: str, behaviour: str) -> None: ...


async def a_low_account(p: Payments, cards: Cards, behaviour: str) -> AccountId:
    """It has no credit, a customer by the portal, a card, and buys 25.00 below 10.00."""
    account = await an_account(p.db, 0)
    async with p.db.transaction() as tx:
        link_id = await portal_links.order_link(tx, account, actor="smoke")
    await p.act()
    async with p.db.transaction() as tx:
        link = await portal_links.find_link(tx, link_id)
    assert link is not None
    assert str(link.url).startswith("https://"), link
    await cards.save(await p.customer(account), behaviour)
    await p.consent(account, 1_000, 2_500, 5_000)
    return account


async def a_page_is_made_and_closed(p: Payments, cards: Cards) -> None:
    topup = await p.open(await an_account(p.db, 0), 2_000)
    assert (topup.status, str(topup.url).startswith("https://")) == (TopupStatus.OPEN, True), topup
    await p.context.client.expire_session(str(topup.session_id))
    await p.catch_up()
    assert (await p.read(topup)).status is TopupStatus.EXPIRED


async def a_recharge_is_paid_and_refunded(p: Payments, cards: Cards) -> None:
    account = await a_low_account(p, cards, "pays")
    await p.recharge()
    (attempt,) = await p.attempts(account)
    async with p.db.transaction() as tx:
        topup = await find_topup(tx, "id", attempt.topup_id)
        credit = (await recharges.read_need(tx, account)).credit_nano
    assert topup is not None
    assert (topup.status, topup.paid_cents, credit) == (TopupStatus.PAID, 2_500, 25_000_000_000), attempt
    await p.recharge()
    assert len(await p.attempts(account)) == 1
    (refund,) = await p.refund(account, 1_000)
    assert refund.status in (RefundStatus.SENT, RefundStatus.SUCCEEDED), refund
    await p.catch_up()
    booked = f"SELECT booked_at IS NOT NULL FROM stripe_transactions WHERE source = '{topup.charge_id}'"
    assert await p.rows(booked) == [(True,)]


async def a_decline_is_noted_and_canceled(p: Payments, cards: Cards) -> None:
    account = await a_low_account(p, cards, "declined")
    await p.recharge()
    (attempt,) = await p.attempts(account)
    assert (attempt.status.value, attempt.tries) == ("declined", 1), attempt
    await switch_off(p, account)


async def a_payment_to_be_confirmed_has_a_link_and_is_canceled(p: Payments, cards: Cards) -> None:
    account = await a_low_account(p, cards, "authentication")
    await p.recharge()
    (attempt,) = await p.attempts(account)
    assert attempt.status.value == "action", attempt
    url = (await p.rows(f"SELECT url FROM topups WHERE id = '{attempt.topup_id}'"))[0][0]
    assert str(url).startswith("https://"), url
    await switch_off(p, account)


async def switch_off(p: Payments, account: AccountId) -> None:
    """The invoice is void then, at Stripe too."""
    async with p.db.transaction() as tx:
        await recharges.switch_off(tx, account, actor="smoke", reason="smoke")
    await p.act()
    (attempt,) = await p.attempts(account)
    invoice = await p.context.client.invoice(str(attempt.invoice_id))
    assert (attempt.status.value, invoice.status) == ("canceled", "void")


async def what_stripe_lists_changes_nothing_more(p: Payments, cards: Cards) -> None:
    """Every event of the stories before, heard from Stripe's list."""
    await p.catch_up()
    entries = await p.entries()
    await p.catch_up()
    assert await p.entries() == entries
    assert await sweep.sweep_events(p.context) == 0


STORIES = (
    a_page_is_made_and_closed,
    a_recharge_is_paid_and_refunded,
    a_decline_is_noted_and_canceled,
    a_payment_to_be_confirmed_has_a_link_and_is_canceled,
    what_stripe_lists_changes_nothing_more,
)
