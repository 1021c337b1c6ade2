"""The stand-in's invoices that are sent to be paid: lines, our number, credit notes, and what is paid elsewhere."""

import time
from decimal import ROUND_HALF_UP, Decimal

from typing_extensions import override

from tests.harness.stripe_invoices import InvoiceWorld
from tests.harness.stripe_world import Json, Refused

LINES_MAX = 250
NUMBER_LENGTH_MAX = 26


def round_half_up(net: int, percent: str) -> int:
    return int((Decimal(net) * Decimal(percent) / 100).to_integral_value(ROUND_HALF_UP))


class CollectionWorld(InvoiceWorld):
    """All of the stand-in."""

    def __init__(self) -> None:
        super().__init__()
        # What Stripe mailed: the invoice's id, once for each time.
        self.sent: list[str] = []
        # By how many cents a draft is off, as if somebody had added a line in the dashboard.
        self.off_by = 0
        # Taxes of a calculation, as decimal percentages; or why nothing is taxed.
        self.tax_rates = ["19.0"]
        self.tax_type = "vat"
        self.untaxed = ""

    # -- what the product calls ------------------------------------------------------------------------------------

    def calculate_tax(self, sent: Json) -> Json:
        who, net = sent["customer_details"], sum(line["amount"] for line in sent["line_items"])
        if not self.has_addresses:
            raise Refused(400, "The customer's location isn't recognized.", "customer_tax_location_invalid")
        rates = [] if self.untaxed else self.tax_rates
        amounts = [round_half_up(net, rate) for rate in rates]
        country, state = who["address"]["country"], who["address"].get("state") or None
        same = {"inclusive": False, "taxable_amount": net, "taxability_reason": self.untaxed or "standard_rated"}
        details = {"country": country, "state": state, "flat_amount": None, "rate_type": "percentage"}
        details |= {"tax_type": self.tax_type}
        rows = [
            {**same, "amount": amount, "tax_rate_details": {**details, "percentage_decimal": rate}}
            for rate, amount in zip(rates or ["0"], amounts or [0], strict=True)
        ]
        known = dict.fromkeys(("city", "line1", "line2", "postal_code", "state")) | who["address"]
        details_of = {"address": known, "address_source": "billing", "ip_address": None}
        details_of |= {"tax_ids": who.get("tax_ids", []), "taxability_override": who["taxability_override"]}
        made = dict.fromkeys(("customer", "expires_at", "ship_from_details", "shipping_cost"))
        made |= {"id": "taxcalc_1", "object": "tax.calculation", "livemode": False, "currency": sent["currency"]}
        made |= {"tax_amount_exclusive": sum(amounts), "tax_amount_inclusive": 0, "tax_breakdown": rows}
        made |= {"amount_total": net + sum(amounts) + self.off_by, "tax_date": sent["tax_date"]}
        return made | {"customer_details": details_of}

    def update_customer(self, customer_id: str, sent: Json) -> Json:
        customer = self.find("customer", customer_id)
        address = sent.get("address")
        fields = ("city", "country", "line1", "line2", "postal_code", "state")
        known = {name: sent[name] for name in ("name", "email", "preferred_locales") if name in sent}
        customer |= known | ({"address": {name: address.get(name) or None for name in fields}} if address else {})
        return customer

    @override
    def create_invoice(self, sent: Json) -> Json:
        if (sent["collection_method"] == "send_invoice") is not ("days_until_due" in sent or "due_date" in sent):
            raise Refused(400, "An invoice that is sent has a due date, and no other has.", "parameter_missing")
        made = super().create_invoice(sent)
        made["description"] = sent.get("description")
        return made

    def update_invoice(self, invoice_id: str, sent: Json) -> Json:
        invoice = self._draft(invoice_id)
        number = sent["number"]
        if len(number) > NUMBER_LENGTH_MAX:
            raise Refused(400, "The number is too long.", "parameter_invalid_string")
        if any(one.get("number") == number for one in self.all("invoice") if one is not invoice):
            raise Refused(400, "The number is that of another invoice.", "invoice_number_taken")
        invoice["number"] = number
        return invoice

    def add_lines(self, invoice_id: str, sent: Json) -> Json:
        invoice = self._draft(invoice_id)
        now = int(time.time())
        lines: list[Json] = invoice["lines"]["data"]
        same = {"currency": invoice["currency"], "discountable": False, "discounts": [], "livemode": False}
        same |= {"metadata": {}, "period": {"start": now, "end": now}, "quantity": 1}
        for line in sent["lines"]:
            what = {"amount": line["amount"], "subtotal": line["amount"], "description": line["description"]}
            lines += [self.put("il", "line_item", **same, **what)]
        if len(lines) > LINES_MAX:
            raise Refused(400, "An invoice has at most 250 lines.")
        total = sum(line["amount"] for line in lines) + self.off_by
        invoice |= dict.fromkeys(("subtotal", "total", "amount_due", "amount_remaining"), total)
        return invoice

    def send_invoice(self, invoice_id: str) -> Json:
        invoice = self._open(invoice_id)
        if invoice["collection_method"] != "send_invoice":
            raise Refused(400, "You can only manually send an invoice that is not charged automatically.")
        self.sent.append(invoice_id)
        return invoice

    @override
    def pay_invoice(self, invoice_id: str, sent: Json) -> Json:
        if not sent.get("paid_out_of_band"):
            return super().pay_invoice(invoice_id, sent)
        invoice = self._open(invoice_id)
        self.intent_of(invoice)["status"] = "canceled"
        remaining = invoice["amount_remaining"]
        invoice |= {"status": "paid", "amount_paid": invoice["amount_paid"] + remaining, "amount_remaining": 0}
        self.event("invoice.paid", invoice)
        return invoice

    def mark_uncollectible(self, invoice_id: str) -> Json:
        invoice = self._open(invoice_id)
        invoice["status"] = "uncollectible"
        self.event("invoice.marked_uncollectible", invoice)
        return invoice

    def create_credit_note(self, sent: Json) -> Json:
        invoice, amount = self._open(sent["invoice"]), sent["amount"]
        if not 0 < amount <= invoice["amount_remaining"]:
            raise Refused(400, "A credit note is of no more than remains.", "amount_too_large")
        notes = "pre_payment_credit_notes_amount"
        invoice |= {"amount_remaining": invoice["amount_remaining"] - amount, notes: invoice[notes] + amount}
        if invoice["amount_remaining"] == 0:
            invoice["status"] = "paid"
            self.event("invoice.paid", invoice)
        zeros = dict.fromkeys(("amount_shipping", "discount_amount", "post_payment_amount"), 0)
        made = self.put(
            "cn", "credit_note", **zeros, amount=amount, currency=invoice["currency"], customer=invoice["customer"],
            discount_amounts=[], invoice=invoice["id"], livemode=False, memo=sent.get("memo"), type="pre_payment",
            metadata=sent.get("metadata", {}), number="CN-1", pdf="https://invoice.stripe.test/cn", status="issued",
            pre_payment_amount=amount, pretax_credit_amounts=[], refunds=[], subtotal=amount, total=amount,
        )  # fmt: skip
        made["lines"] = {"object": "list", "data": [], "has_more": False, "url": f"/v1/credit_notes/{made['id']}/lines"}
        return made

    # -- what others do --------------------------------------------------------------------------------------------

    def pay_on_page(self, invoice_id: str) -> Json:
        """The customer pays on the invoice's page, also what was given up."""
        with self.lock:
            invoice = self.find("invoice", invoice_id)
            assert invoice["status"] in ("open", "uncollectible"), "the page says that it is void, or paid"
            return self._collect(invoice)

    def collected(self, document: str) -> list[Json]:
        """The invoices of a document of ours, by its id in the metadata, the newest first."""
        return [one for one in self.all("invoice") if one["metadata"].get("document") == document]

    def _draft(self, invoice_id: str) -> Json:
        invoice = self.find("invoice", invoice_id)
        if invoice["status"] != "draft":
            raise Refused(400, "Only a draft can be changed.", "invoice_not_editable")
        return invoice

    def _open(self, invoice_id: str) -> Json:
        invoice = self.find("invoice", invoice_id)
        if invoice["status"] != "open":
            raise Refused(400, f"The invoice is {invoice['status']}, not open.", "invoice_not_editable")
        return invoice
