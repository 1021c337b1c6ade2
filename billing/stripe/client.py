"""Speaks to Stripe, and is the only importer of its client. Answers are values of :mod:`billing.stripe.values`.

The client repeats nothing by itself: whoever calls repeats under the same idempotency key, and after Stripe's own
failure, which Stripe stores under the key, looks first for what it did (docs/stripe.md).
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from billing.stripe.config import StripeConfig
from billing.stripe.errors import StripeDeclined, StripeFailed, StripeRefused, StripeUnavailable
from billing.stripe.values import (
    Balance,
    Charge,
    CreditNote,
    Customer,
    Dispute,
    Event,
    Intent,
    Invoice,
    InvoicePayment,
    Meter,
    MeterSummary,
    PaymentMethod,
    Payout,
    PortalSession,
    Refund,
    Session,
    StripeObject,
    TaxCalculation,
    Transaction,
)
from store.faults import CannotStart

if TYPE_CHECKING:
    import stripe

TIMEOUT_S = 10.0
PAGE = 100
T = TypeVar("T")
O = TypeVar("O", bound=StripeObject)  # noqa: E741 - an object


class StripeClient:
    """One account at Stripe. Every method raises :class:`billing.stripe.errors.StripeFault`."""

    def __init__(self, config: StripeConfig) -> None:
        if find_spec("stripe") is None:
            raise CannotStart("Stripe's client is not installed, and a key for it is set: `pip install '.[finance]'`.")
        # An extra of few, and two seconds to import.
        import stripe

        self._errors = stripe
        self._http = stripe.HTTPXClient(timeout=TIMEOUT_S)
        self._stripe = stripe.StripeClient(
            config.secret_key,
            base_addresses={"api": config.base_url},
            http_client=self._http,
            max_network_retries=0,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close_async()  # type: ignore[no-untyped-call]

    async def create_customer(self, account: str, key: str) -> Customer:
        """A customer for an account of ours, under an idempotency key."""
        params: dict[str, Any] = {"metadata": {"account": account}}
        return await self._one(Customer, lambda: self._v1.customers.create_async(cast(Any, params), _key(key)))

    async def customer(self, customer_id: str) -> Customer:
        """Read a customer again."""
        return await self._one(Customer, lambda: self._v1.customers.retrieve_async(customer_id))

    async def update_customer(self, customer_id: str, params: dict[str, object]) -> Customer:
        """Name a customer as our own papers do; the same again changes nothing."""
        return await self._one(Customer, lambda: self._v1.customers.update_async(customer_id, cast(Any, params)))

    def payment_methods(self, customer_id: str) -> AsyncIterator[PaymentMethod]:
        """List what a customer has saved, the newest first."""
        return self._pages(
            PaymentMethod, lambda params: self._v1.customers.payment_methods.list_async(customer_id, params), {}
        )

    async def create_portal_session(self, customer: str, return_url: str, key: str) -> PortalSession:
        """A link to the billing portal, for one customer."""
        params: dict[str, Any] = {"customer": customer, "return_url": return_url}
        call = self._v1.billing_portal.sessions.create_async
        return await self._one(PortalSession, lambda: call(cast(Any, params), _key(key)))

    async def create_invoice(self, params: dict[str, object], key: str) -> Invoice:
        """A draft of an invoice, without lines."""
        return await self._one(Invoice, lambda: self._v1.invoices.create_async(cast(Any, params), _key(key)))

    async def create_invoice_item(self, params: dict[str, object], key: str) -> None:
        """A line of a draft."""
        await self._answer(lambda: self._v1.invoice_items.create_async(cast(Any, params), _key(key)))

    async def add_lines(self, invoice_id: str, lines: list[dict[str, object]], key: str) -> Invoice:
        """Add lines to a draft, all at once."""
        params: dict[str, Any] = {"lines": lines}
        return await self._one(
            Invoice, lambda: self._v1.invoices.add_lines_async(invoice_id, cast(Any, params), _key(key))
        )

    async def number_invoice(self, invoice_id: str, number: str) -> Invoice:
        """Give a draft our number; the same again changes nothing."""
        params: dict[str, Any] = {"number": number}
        return await self._one(Invoice, lambda: self._v1.invoices.update_async(invoice_id, cast(Any, params)))

    async def send_invoice(self, invoice_id: str, key: str) -> Invoice:
        """Have Stripe mail a final invoice with the link to its page."""
        return await self._one(Invoice, lambda: self._v1.invoices.send_invoice_async(invoice_id, {}, _key(key)))

    async def mark_uncollectible(self, invoice_id: str, key: str) -> Invoice:
        """Say that an open invoice was given up."""
        return await self._one(Invoice, lambda: self._v1.invoices.mark_uncollectible_async(invoice_id, {}, _key(key)))

    async def mark_paid_elsewhere(self, invoice_id: str, key: str) -> Invoice:
        """Say that an open invoice was paid without Stripe."""
        params: dict[str, Any] = {"paid_out_of_band": True}
        return await self._one(Invoice, lambda: self._v1.invoices.pay_async(invoice_id, cast(Any, params), _key(key)))

    async def create_credit_note(self, params: dict[str, object], key: str) -> CreditNote:
        """Lower what an open invoice demands."""
        return await self._one(CreditNote, lambda: self._v1.credit_notes.create_async(cast(Any, params), _key(key)))

    def invoices_of(self, customer_id: str, since: int) -> AsyncIterator[Invoice]:
        """List the invoices of a customer since an instant (Unix time), the newest first."""
        return self._pages(Invoice, self._v1.invoices.list_async, {"customer": customer_id, "created": {"gte": since}})

    async def invoice(self, invoice_id: str) -> Invoice:
        """Read an invoice again."""
        return await self._one(Invoice, lambda: self._v1.invoices.retrieve_async(invoice_id))

    async def finalize_invoice(self, invoice_id: str, key: str) -> Invoice:
        """Make a draft final; Stripe does nothing more about it by itself."""
        params: dict[str, Any] = {"auto_advance": False}
        call = self._v1.invoices.finalize_invoice_async
        return await self._one(Invoice, lambda: call(invoice_id, cast(Any, params), _key(key)))

    async def pay_invoice(self, invoice_id: str, method: str, key: str) -> Invoice:
        """Charge a saved means of payment. Raises :class:`billing.stripe.errors.StripeDeclined`, too."""
        params: dict[str, Any] = {"payment_method": method, "off_session": True}
        return await self._one(Invoice, lambda: self._v1.invoices.pay_async(invoice_id, cast(Any, params), _key(key)))

    async def void_invoice(self, invoice_id: str, key: str) -> Invoice:
        """Make an open invoice one that nobody can pay."""
        return await self._one(Invoice, lambda: self._v1.invoices.void_invoice_async(invoice_id, {}, _key(key)))

    async def delete_draft(self, invoice_id: str) -> None:
        """Delete an invoice that is not final."""
        await self._answer(lambda: self._v1.invoices.delete_async(invoice_id))

    def meters(self) -> AsyncIterator[Meter]:
        """List the meters that take events."""
        return self._pages(Meter, self._v1.billing.meters.list_async, {"status": "active"})

    async def create_meter(self, params: dict[str, object], key: str) -> Meter:
        """A meter."""
        return await self._one(Meter, lambda: self._v1.billing.meters.create_async(cast(Any, params), _key(key)))

    async def tell_meter(self, params: dict[str, object]) -> None:
        """Tell a meter of usage. Stripe refuses a second event with the same identifier."""
        await self._answer(lambda: self._v1.billing.meter_events.create_async(cast(Any, params)))

    def meter_days(self, meter_id: str, customer: str, since: int, until: int) -> AsyncIterator[MeterSummary]:
        """List what a meter has of a customer, by day, over whole days (Unix time)."""
        span = {"customer": customer, "start_time": since, "end_time": until, "value_grouping_window": "day"}
        list_days = self._v1.billing.meters.event_summaries.list_async
        return self._pages(MeterSummary, lambda params: list_days(meter_id, cast(Any, params)), span)

    def payments_of_invoice(self, invoice_id: str) -> AsyncIterator[InvoicePayment]:
        """List the payments of an invoice, the newest first."""
        return self._pages(InvoicePayment, self._v1.invoice_payments.list_async, {"invoice": invoice_id})

    def invoices_of_payment(self, intent_id: str) -> AsyncIterator[InvoicePayment]:
        """List which invoices a payment pays."""
        payment = {"type": "payment_intent", "payment_intent": intent_id}
        return self._pages(InvoicePayment, self._v1.invoice_payments.list_async, {"payment": payment})

    async def create_session(self, params: dict[str, object], key: str) -> Session:
        """A page of Checkout."""
        return await self._one(Session, lambda: self._v1.checkout.sessions.create_async(cast(Any, params), _key(key)))

    async def session(self, session_id: str) -> Session:
        """Read a page again."""
        return await self._one(Session, lambda: self._v1.checkout.sessions.retrieve_async(session_id))

    async def expire_session(self, session_id: str) -> Session:
        """Close a page that nobody is to pay any more."""
        return await self._one(Session, lambda: self._v1.checkout.sessions.expire_async(session_id))

    async def intent(self, intent_id: str) -> Intent:
        """Read a payment again."""
        return await self._one(Intent, lambda: self._v1.payment_intents.retrieve_async(intent_id))

    async def charge(self, charge_id: str) -> Charge:
        """Read one attempt of a payment again."""
        return await self._one(Charge, lambda: self._v1.charges.retrieve_async(charge_id))

    async def create_refund(self, intent_id: str, cents: int, refund: str, key: str) -> Refund:
        """Pay back a part of a payment; ``refund`` is our own id, by which it is found again."""
        params: dict[str, Any] = {"payment_intent": intent_id, "amount": cents, "metadata": {"refund": refund}}
        return await self._one(Refund, lambda: self._v1.refunds.create_async(cast(Any, params), _key(key)))

    async def calculate_tax(self, params: dict[str, object]) -> TaxCalculation:
        """What the tax of a supply is; the same again is as good."""
        made = await self._answer(lambda: self._v1.tax.calculations.create_async(cast(Any, params)))
        return msgspec.convert(made, TaxCalculation)

    async def refund(self, refund_id: str) -> Refund:
        """Read a refund again."""
        return await self._one(Refund, lambda: self._v1.refunds.retrieve_async(refund_id))

    def refunds_of(self, intent_id: str) -> AsyncIterator[Refund]:
        """List the refunds of a payment."""
        return self._pages(Refund, self._v1.refunds.list_async, {"payment_intent": intent_id})

    async def dispute(self, dispute_id: str) -> Dispute:
        """Read a dispute again."""
        return await self._one(Dispute, lambda: self._v1.disputes.retrieve_async(dispute_id))

    async def transaction(self, transaction_id: str) -> Transaction:
        """Read one movement of our balance."""
        return await self._one(Transaction, lambda: self._v1.balance_transactions.retrieve_async(transaction_id))

    def transactions(self, since: int) -> AsyncIterator[Transaction]:
        """List the movements of our balance since an instant (Unix time), the newest first."""
        return self._pages(Transaction, self._v1.balance_transactions.list_async, {"created": {"gte": since}})

    async def payout(self, payout_id: str) -> Payout:
        """Read a payout again."""
        return await self._one(Payout, lambda: self._v1.payouts.retrieve_async(payout_id))

    def payouts(self, since: int) -> AsyncIterator[Payout]:
        """List the payouts since an instant (Unix time), the newest first."""
        return self._pages(Payout, self._v1.payouts.list_async, {"created": {"gte": since}})

    async def balance(self) -> Balance:
        """What Stripe has of ours."""
        return msgspec.convert(await self._answer(self._v1.balance.retrieve_async), Balance)

    async def event(self, event_id: str) -> Event:
        """Read an event again."""
        return _event(await self._answer(lambda: self._v1.events.retrieve_async(event_id)))

    async def events(self, since: int, types: tuple[str, ...]) -> AsyncIterator[Event]:
        """List what happened since an instant (Unix time), the newest first."""
        params = {"created": {"gte": since}, "types": list(types)}
        async for row in self._rows(self._v1.events.list_async, params):
            yield _event(row)

    @property
    def _v1(self) -> "stripe.V1Services":
        return self._stripe.v1

    async def _pages(
        self, kind: type[O], page: Callable[..., Awaitable[Any]], params: dict[str, Any]
    ) -> AsyncIterator[O]:
        async for row in self._rows(page, params):
            yield msgspec.convert(row, kind)

    async def _rows(self, page: Callable[..., Awaitable[Any]], params: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        after: dict[str, str] = {}
        while True:
            answer = await self._answer(lambda after=after: page({**params, **after, "limit": PAGE}))  # type: ignore[misc]
            for row in answer["data"]:
                yield row
            if not answer["has_more"]:
                return
            after = {"starting_after": answer["data"][-1]["id"]}

    async def _one(self, kind: type[O], call: Callable[[], Awaitable[Any]]) -> O:
        return msgspec.convert(await self._answer(call), kind)

    async def _answer(self, call: Callable[[], Awaitable[Any]]) -> dict[str, Any]:
        """The answer as plain values; each way to fail as one of ours."""
        try:
            answer: dict[str, Any] = (await call()).to_dict()
            return answer
        except self._errors.StripeError as error:
            status, code = error.http_status or 0, error.code or ""
            message = f"{type(error).__name__} {status} {code}: {error.user_message or error}"[:500]
            if status >= 500:
                raise StripeFailed(message) from error
            if status == 402:
                raise StripeDeclined(message, code=code) from error
            # A wrong key is an operator's to set right: the work waits for it.
            if status in (0, 401, 403, 409, 429):
                raise StripeUnavailable(message) from error
            raise StripeRefused(message, code=code, is_missing=status == 404) from error


def _key(idempotency_key: str) -> Any:  # noqa: ANN401 - the client's own TypedDict
    return {"idempotency_key": idempotency_key}


def _event(row: dict[str, Any]) -> Event:
    subject = row["data"]["object"]
    return Event(
        id=row["id"],
        type=row["type"],
        created=row["created"],
        livemode=row["livemode"],
        object_id=subject.get("id", ""),
        object_kind=subject.get("object", ""),
        charge=subject.get("charge") if isinstance(subject.get("charge"), str) else None,
    )
