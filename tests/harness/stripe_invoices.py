"""The stand-in's invoices, saved cards and portal: what recharges without a page of Checkout meet.

A card is of a ``behaviour``: it pays, declines, asks for authentication, or settles later, as Stripe's test cards do.
"""

import time
from typing import Any

from typing_extensions import override

from tests.harness.stripe_world import Json, Refused, World, fee_of

DECLINES = {"declined": "card_declined", "authentication": "authentication_required"}


class InvoiceWorld(World):
    """All of the stand-in."""

    def __init__(self) -> None:
        super().__init__()
        self.behaviours: dict[str, str] = {}
        # Whether customers have an address, without which no tax can be worked out.
        self.has_addresses = True

    # -- what the product calls ------------------------------------------------------------------------------------

    @override
    def create_customer(self, sent: Json) -> Json:
        made = super().create_customer(sent)
        settings = {"custom_fields": None, "default_payment_method": None, "footer": None, "rendering_options": None}
        made["invoice_settings"] = settings
        return made

    def create_portal_session(self, sent: Json) -> Json:
        self.find("customer", sent["customer"])
        return self.put(
            "bps", "billing_portal.session", customer=sent["customer"], livemode=False, configuration="bpc_1",
            return_url=sent.get("return_url"), url=f"https://billing.stripe.test/p/session/{sent['customer']}",
            flow=None, locale=None, on_behalf_of=None,
        )  # fmt: skip

    def create_invoice(self, sent: Json) -> Json:
        self.find("customer", sent["customer"])
        now = int(time.time())
        zeros = dict.fromkeys(
            (
                *("amount_due", "amount_overpaid", "amount_paid", "amount_paid_off_stripe", "amount_remaining"),
                *("amount_shipping", "attempt_count", "post_payment_credit_notes_amount", "subtotal", "total"),
                *("pre_payment_credit_notes_amount", "starting_balance"),
            ),
            0,
        )
        is_taxed = bool(sent.get("automatic_tax", {}).get("enabled"))
        made = self.put(
            "in",
            "invoice",
            **zeros,
            attempted=False,
            auto_advance=sent.get("auto_advance", True),
            automatic_tax={
                **dict.fromkeys(("disabled_reason", "liability", "provider", "status")),
                "enabled": is_taxed,
            },
            collection_method=sent["collection_method"],
            due_date=now + 86_400 * sent["days_until_due"] if "days_until_due" in sent else None,
            currency=sent["currency"],
            customer=sent["customer"],
            customer_address=None,
            default_tax_rates=[],
            discounts=[],
            hosted_invoice_url=None,
            issuer={"type": "self"},
            livemode=False,
            metadata=sent.get("metadata", {}),
            payment_settings=dict.fromkeys(("default_mandate", "payment_method_options", "payment_method_types")),
            period_end=now,
            period_start=now,
            status="draft",
            status_transitions=dict.fromkeys(("finalized_at", "marked_uncollectible_at", "paid_at", "voided_at")),
            total_taxes=[],
            total_discount_amounts=[],
        )
        made["lines"] = {"object": "list", "data": [], "has_more": False, "url": f"/v1/invoices/{made['id']}/lines"}
        return made

    def create_invoice_item(self, sent: Json) -> Json:
        invoice = self.find("invoice", sent["invoice"])
        if invoice["status"] != "draft":
            raise Refused(400, "Invoice items can only be added to a draft.", "invoice_not_editable")
        now = int(time.time())
        for name in ("subtotal", "total", "amount_due", "amount_remaining"):
            invoice[name] += sent["amount"]
        return self.put(
            "ii", "invoiceitem", amount=sent["amount"], currency=sent["currency"], customer=sent["customer"],
            date=now, discountable=True, invoice=invoice["id"], livemode=False, metadata=sent.get("metadata", {}),
            period={"start": now, "end": now}, proration=False, quantity=1, quantity_decimal="1",
            description=sent.get("description"), discounts=None, parent=None, pricing=None, tax_rates=None,
            test_clock=None,
        )  # fmt: skip

    def finalize(self, invoice_id: str) -> Json:
        invoice = self.find("invoice", invoice_id)
        if invoice["status"] != "draft":
            raise Refused(400, "This invoice is already finalized.", "invoice_not_editable")
        if invoice["automatic_tax"]["enabled"]:
            if not self.has_addresses:
                raise Refused(400, "The customer's location isn't recognized.", "customer_tax_location_invalid")
            tax = invoice["subtotal"] * self.tax_percent // 100
            if tax:
                one = {"amount": tax, "tax_behavior": "exclusive", "taxability_reason": "standard_rated"}
                more = {"type": "tax_rate_details", "tax_rate_details": None, "taxable_amount": invoice["subtotal"]}
                invoice["total_taxes"] = [{**one, **more}]
            invoice["total"] += tax
            address = {"country": "DE", **dict.fromkeys(("city", "line1", "line2", "postal_code", "state"))}
            invoice["customer_address"] = address
        total = invoice["total"]
        url = f"https://invoice.stripe.test/i/{invoice_id}"
        invoice |= {"status": "open", "amount_due": total, "amount_remaining": total, "hosted_invoice_url": url}
        invoice["number"] = invoice.get("number") or f"STAND-IN-{len(self.all('invoice')):04d}"
        intent = self.put(
            "pi", "payment_intent", livemode=False, amount=total, amount_received=0, currency=invoice["currency"],
            customer=invoice["customer"], status="requires_payment_method", metadata={}, latest_charge=None,
        )  # fmt: skip
        self.put(
            "inpay", "invoice_payment", amount_paid=None, amount_requested=total, currency=invoice["currency"],
            invoice=invoice_id, is_default=True, livemode=False, status="open",
            payment={"type": "payment_intent", "payment_intent": intent["id"]},
            status_transitions={"canceled_at": None, "paid_at": None},
        )  # fmt: skip
        return invoice

    def pay_invoice(self, invoice_id: str, sent: Json) -> Json:
        invoice = self.find("invoice", invoice_id)
        if invoice["status"] != "open":
            raise Refused(400, "Invoice is already paid, or cannot be paid.", "invoice_not_editable")
        method = self.find("payment_method", sent["payment_method"])
        if method["customer"] != invoice["customer"]:
            raise Refused(400, "The payment method belongs to another customer.", "payment_method_customer_mismatch")
        behaviour = self.behaviours[method["id"]]
        invoice["attempted"], invoice["attempt_count"] = True, invoice["attempt_count"] + 1
        if (code := DECLINES.get(behaviour)) is not None:
            kind = "payment_action_required" if behaviour == "authentication" else "payment_failed"
            self.event(f"invoice.{kind}", invoice)
            raise Refused(402, "Your card was declined.", code, kind="card_error")
        if behaviour == "later":
            self.intent_of(invoice)["status"] = "processing"
            return invoice
        return self._collect(invoice)

    def void(self, invoice_id: str) -> Json:
        invoice = self.find("invoice", invoice_id)
        if invoice["status"] != "open":
            raise Refused(400, "You can only void an open invoice.", "invoice_not_editable")
        invoice["status"] = "void"
        self.intent_of(invoice)["status"] = "canceled"
        self.event("invoice.voided", invoice)
        return invoice

    def delete_draft(self, invoice_id: str) -> Json:
        invoice = self.find("invoice", invoice_id)
        if invoice["status"] != "draft":
            raise Refused(400, "You can only delete a draft.", "invoice_not_editable")
        del self.objects[invoice_id]
        return {"id": invoice_id, "object": "invoice", "deleted": True}

    # -- what others do --------------------------------------------------------------------------------------------

    @override
    def pay(self, session_id: str, *, settles_later: bool = False) -> Json:
        session = super().pay(session_id, settles_later=settles_later)
        if self._sent[session_id].get("payment_intent_data", {}).get("setup_future_usage"):
            self.save_card(session["customer"])
        return session

    def save_card(self, customer: str, behaviour: str = "pays") -> Json:
        with self.lock:
            details = dict.fromkeys(("address", "email", "name", "phone", "tax_id"))
            card: dict[str, Any] = {"brand": "visa", "exp_month": 12, "exp_year": 2030, "funding": "credit"}
            made = self.put(
                "pm", "payment_method", billing_details=details, livemode=False, type="card", customer=customer,
                card={**card, "last4": "4242"}, metadata={},
            )  # fmt: skip
            self.behaviours[made["id"]] = behaviour
            return made

    def remove_cards(self, customer: str) -> None:
        with self.lock:
            for method in self.all("payment_method"):
                if method["customer"] == customer:
                    method["customer"] = None

    def choose_card(self, customer: str, method: str) -> None:
        """The customer makes it the one for invoices, in the portal."""
        with self.lock:
            self.find("customer", customer)["invoice_settings"]["default_payment_method"] = method

    def confirm(self, invoice_id: str) -> None:
        """The customer pays on the invoice's own page, confirmed by the bank."""
        with self.lock:
            invoice = self.find("invoice", invoice_id)
            assert invoice["status"] == "open", "the page says that it is void, or paid"
            self._collect(invoice)

    def settle_invoice(self, invoice_id: str, *, succeeds: bool = True) -> None:
        """The bank debit of an invoice settles, or fails."""
        with self.lock:
            invoice = self.find("invoice", invoice_id)
            if succeeds:
                self._collect(invoice)
            else:
                self.intent_of(invoice)["status"] = "requires_payment_method"
                self.event("invoice.payment_failed", invoice)

    def intent_of(self, invoice: Json) -> Json:
        (paid,) = [one for one in self.all("invoice_payment") if one["invoice"] == invoice["id"]]
        return self.find("payment_intent", paid["payment"]["payment_intent"])

    def _collect(self, invoice: Json) -> Json:
        total, intent = invoice["amount_remaining"], self.intent_of(invoice)
        charge = self.put(
            "ch", "charge", amount=total, amount_captured=total, amount_refunded=0, captured=True,
            billing_details=dict.fromkeys(("address", "email", "name", "phone", "tax_id")),
            currency=invoice["currency"], customer=invoice["customer"], disputed=False, livemode=False, metadata={},
            paid=True, refunded=False, status="succeeded", payment_intent=intent["id"],
        )  # fmt: skip
        charge["balance_transaction"] = self._transaction("charge", total, fee_of(total), charge["id"])["id"]
        intent |= {"status": "succeeded", "amount_received": total, "latest_charge": charge["id"]}
        (paid,) = [one for one in self.all("invoice_payment") if one["invoice"] == invoice["id"]]
        paid |= {"status": "paid", "amount_paid": total}
        invoice |= {"status": "paid", "amount_paid": total, "amount_remaining": 0}
        for kind, subject in (("charge", charge), ("payment_intent", intent)):
            self.event(f"{kind}.succeeded", subject)
        self.event("invoice.paid", invoice)
        return invoice
