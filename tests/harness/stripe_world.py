"""The state of the stand-in for Stripe: what its operations keep, and what happens outside of our calls.

Payments, declines, bank debits that settle days later, disputes, refunds that fail and payouts are methods that a test
calls as a customer, a bank or Stripe would. Each leaves balance transactions with their fees, and events.
"""

import itertools
import threading
import time
from typing import Any

Json = dict[str, Any]

DISPUTE_FEE_CENTS = 1_500


class Refused(Exception):
    """An error as Stripe answers it."""

    def __init__(self, status: int, message: str, code: str = "", kind: str = "invalid_request_error") -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"type": kind, "message": message, **({"code": code} if code else {})}}


def fee_of(amount: int) -> int:
    """What Stripe keeps of a card's payment: 2.9 % and 30 cents."""
    return (amount * 29 + 500) // 1000 + 30


class World:
    """All objects, by id. Reentrant lock: one request or one act at a time."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.objects: dict[str, Json] = {}
        self.events: list[Json] = []
        self._numbers = itertools.count(1)
        self.page_url = "https://checkout.stripe.test"
        self.tax_percent = 0
        self.discount_percent = 0

    # -- keeping -------------------------------------------------------------------------------------------------

    def put(self, prefix: str, kind: str, **fields: Any) -> Json:
        made = {"id": f"{prefix}_{next(self._numbers):024d}", "object": kind, "created": int(time.time()), **fields}
        self.objects[made["id"]] = made
        return made

    def find(self, kind: str, object_id: str) -> Json:
        found = self.objects.get(object_id)
        if found is None or found["object"] != kind:
            raise Refused(404, f"No such {kind}: '{object_id}'", "resource_missing")
        return found

    def all(self, kind: str) -> list[Json]:
        """The newest first, as Stripe lists."""
        return [one for one in reversed(self.objects.values()) if one["object"] == kind]

    def event(self, kind: str, subject: Json) -> Json:
        copy = {**subject}
        made = self.put(
            "evt",
            "event",
            type=kind,
            livemode=False,
            pending_webhooks=1,
            api_version="2026-10-28.endive",
            data={"object": copy},
            request={"id": None, "idempotency_key": None},
        )
        self.events.append(made)
        return made

    # -- what the product calls ------------------------------------------------------------------------------------

    def create_customer(self, sent: Json) -> Json:
        return self.put("cus", "customer", livemode=False, metadata=sent.get("metadata") or {}, **_named(sent))

    def create_session(self, sent: Json) -> Json:
        self.find("customer", sent["customer"])
        amount = sum(line["price_data"]["unit_amount"] * line.get("quantity", 1) for line in sent["line_items"])
        if amount < 50:
            raise Refused(400, "The total must be at least $0.50.", "amount_too_small")
        if sent.get("allow_promotion_codes") and "discounts" in sent:
            raise Refused(400, "You may only specify one of these parameters: allow_promotion_codes, discounts.")
        now = int(time.time())
        if not now + 1_800 <= sent.get("expires_at", now + 86_400) <= now + 86_400 + 60:
            raise Refused(
                400, "The `expires_at` must be between 30 minutes and 24 hours from Checkout Session creation."
            )
        made = self.put(
            "cs",
            "checkout.session",
            livemode=False,
            mode=sent["mode"],
            status="open",
            payment_status="unpaid",
            currency=sent["line_items"][0]["price_data"]["currency"],
            amount_subtotal=amount,
            amount_total=amount,
            total_details={"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
            customer=sent["customer"],
            client_reference_id=sent.get("client_reference_id"),
            metadata=sent.get("metadata", {}),
            payment_intent=None,
            automatic_tax={"enabled": bool(sent.get("automatic_tax", {}).get("enabled")), "status": None},
            custom_fields=[],
            custom_text={},
            shipping_options=[],
            payment_method_types=["card"],
            expires_at=sent.get("expires_at", now + 86_400),
            success_url=sent.get("success_url"),
        )
        made["url"] = f"{self.page_url}/c/pay/{made['id']}"
        self._sent = getattr(self, "_sent", {}) | {made["id"]: sent}
        return made

    def create_refund(self, sent: Json) -> Json:
        intent = self.find("payment_intent", sent["payment_intent"])
        charge = self.find("charge", intent["latest_charge"])
        left = charge["amount"] - charge["amount_refunded"]
        amount = sent.get("amount", left)
        if charge["disputed"]:
            raise Refused(400, "This charge has been charged back.", "charge_disputed")
        if left == 0:
            raise Refused(400, "Charge has already been refunded.", "charge_already_refunded")
        if amount > left:
            raise Refused(400, f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left}).")
        return self._refund(charge, amount, sent.get("metadata") or {})

    def _refund(self, charge: Json, amount: int, metadata: Json) -> Json:
        made = self.put(
            "re",
            "refund",
            amount=amount,
            currency=charge["currency"],
            charge=charge["id"],
            payment_intent=charge["payment_intent"],
            metadata=metadata,
            status="succeeded",
        )
        made["balance_transaction"] = self._transaction("refund", -amount, 0, made["id"])["id"]
        charge["amount_refunded"] += amount
        charge["refunded"] = charge["amount_refunded"] == charge["amount"]
        self.event("refund.created", made)
        self.event("charge.refunded", charge)
        return made

    def balance(self) -> Json:
        net = sum(one["net"] for one in self.all("balance_transaction"))
        amounts = [{"amount": net, "currency": "usd"}]
        return {
            "object": "balance",
            "livemode": False,
            "available": [{"amount": 0, "currency": "usd"}],
            "pending": amounts,
        }

    # -- what others do --------------------------------------------------------------------------------------------

    def pay(self, session_id: str, *, settles_later: bool = False) -> Json:
        """The customer pays on the page: at once, or by a bank debit that settles days later."""
        with self.lock:
            session = self.find("checkout.session", session_id)
            assert session["status"] == "open", "the page says that it has expired, or was paid"
            self._total(session)
            session["status"] = "complete"
            if session["amount_total"] == 0:
                session["payment_status"] = "no_payment_required"
                self.event("checkout.session.completed", session)
                return session
            sent = self._sent[session_id].get("payment_intent_data", {})
            intent = self.put(
                "pi",
                "payment_intent",
                livemode=False,
                amount=session["amount_total"],
                amount_received=0,
                currency=session["currency"],
                customer=session["customer"],
                status="processing",
                metadata=sent.get("metadata", {}),
                latest_charge=None,
                setup_future_usage=sent.get("setup_future_usage"),
            )
            session["payment_intent"] = intent["id"]
            if settles_later:
                self.event("checkout.session.completed", session)
                self.event("payment_intent.processing", intent)
            else:
                self._capture(session, intent)
                self.event("checkout.session.completed", session)
            return session

    def settle(self, session_id: str, *, succeeds: bool = True) -> None:
        """The bank debit of a session settles, or fails."""
        with self.lock:
            session = self.find("checkout.session", session_id)
            intent = self.find("payment_intent", session["payment_intent"])
            if succeeds:
                self._capture(session, intent)
                self.event("checkout.session.async_payment_succeeded", session)
            else:
                intent["status"] = "requires_payment_method"
                self.event("payment_intent.payment_failed", intent)
                self.event("checkout.session.async_payment_failed", session)

    def decline(self, session_id: str) -> None:
        """The card is declined: the page stays open."""
        with self.lock:
            session = self.find("checkout.session", session_id)
            intent = self.put(
                "pi", "payment_intent", livemode=False, amount=session["amount_total"], currency="usd",
                customer=session["customer"], status="requires_payment_method", metadata={}, latest_charge=None,
            )  # fmt: skip
            session["payment_intent"] = intent["id"]
            self.event("payment_intent.payment_failed", intent)

    def expire(self, session_id: str) -> Json:
        with self.lock:
            session = self.find("checkout.session", session_id)
            if session["status"] != "open":
                raise Refused(400, 'Only Checkout Sessions with a status in ["open"] can be expired.')
            session["status"] = "expired"
            session["url"] = None
            self.event("checkout.session.expired", session)
            return session

    def dispute(self, charge_id: str, *, status: str = "needs_response") -> Json:
        """The card's owner disputes a payment; an inquiry (``warning_…``) takes no money."""
        with self.lock:
            charge = self.find("charge", charge_id)
            made = self.put(
                "dp",
                "dispute",
                amount=charge["amount"] - charge["amount_refunded"],
                currency=charge["currency"],
                charge=charge_id,
                payment_intent=charge["payment_intent"],
                balance_transactions=[],
                enhanced_eligibility_types=[],
                evidence={"enhanced_evidence": {}},
                evidence_details={"due_by": None, "enhanced_eligibility": {}, "has_evidence": False,
                                  "past_due": False, "submission_count": 0},
                is_charge_refundable=False,
                livemode=False,
                metadata={},
                reason="fraudulent",
                status=status,
            )  # fmt: skip
            if not status.startswith("warning_"):
                charge["disputed"] = True
                withdrawn = self._transaction("adjustment", -made["amount"], DISPUTE_FEE_CENTS, made["id"], "dispute")
                made["balance_transactions"].append(withdrawn)
            self.event("charge.dispute.created", made)
            return made

    def escalate(self, dispute_id: str) -> None:
        """The bank no longer only asks: what is not refunded yet is withdrawn."""
        with self.lock:
            found = self.find("dispute", dispute_id)
            charge = self.find("charge", found["charge"])
            found["status"], charge["disputed"] = "needs_response", True
            found["amount"] = charge["amount"] - charge["amount_refunded"]
            withdrawn = self._transaction("adjustment", -found["amount"], DISPUTE_FEE_CENTS, dispute_id, "dispute")
            found["balance_transactions"].append(withdrawn)
            self.event("charge.dispute.updated", found)

    def close_dispute(self, dispute_id: str, *, won: bool) -> None:
        with self.lock:
            found = self.find("dispute", dispute_id)
            found["status"] = "won" if won else "lost"
            if won:
                back = self._transaction(
                    "adjustment", found["amount"], -DISPUTE_FEE_CENTS, dispute_id, "dispute_reversal"
                )
                found["balance_transactions"].append(back)
                self.event("charge.dispute.funds_reinstated", found)
            self.event("charge.dispute.closed", found)

    def fail_refund(self, refund_id: str) -> None:
        """The card is closed: the money comes back to us."""
        with self.lock:
            found = self.find("refund", refund_id)
            found["status"], found["failure_reason"] = "failed", "expired_or_canceled_card"
            charge = self.find("charge", found["charge"])
            charge["amount_refunded"] -= found["amount"]
            charge["refunded"] = False
            failure = self._transaction("refund_failure", found["amount"], 0, refund_id)
            found["failure_balance_transaction"] = failure["id"]
            self.event("refund.failed", found)

    def refund_by_hand(self, charge_id: str, amount: int) -> Json:
        """Somebody refunds in Stripe's dashboard."""
        with self.lock:
            return self._refund(self.find("charge", charge_id), amount, {})

    def pay_out(self, amount: int) -> Json:
        with self.lock:
            made = self.put(
                "po",
                "payout",
                amount=amount,
                currency="usd",
                status="paid",
                livemode=False,
                arrival_date=int(time.time()),
                automatic=True,
                method="standard",
                type="bank_account",
                source_type="card",
                reconciliation_status="completed",
            )
            self._transaction("payout", -amount, 0, made["id"])
            return made

    def warn_of_fraud(self, charge_id: str) -> Json:
        with self.lock:
            warning = self.put("issfr", "radar.early_fraud_warning", charge=charge_id, actionable=True, livemode=False)
            return self.event("radar.early_fraud_warning.created", warning)

    def transaction_of_unknown_kind(self, amount: int) -> Json:
        with self.lock:
            return self._transaction("reserve_transaction", amount, 0, None)

    # -- steps -----------------------------------------------------------------------------------------------------

    def _total(self, session: Json) -> None:
        """What the page adds: a promotion code that was typed, and tax."""
        subtotal = session["amount_subtotal"]
        discount = subtotal * self.discount_percent // 100
        tax = (subtotal - discount) * self.tax_percent // 100 if session["automatic_tax"]["enabled"] else 0
        session["total_details"] = {"amount_discount": discount, "amount_shipping": 0, "amount_tax": tax}
        session["amount_total"] = subtotal - discount + tax
        address = {"country": "DE", **dict.fromkeys(("city", "line1", "line2", "postal_code", "state"))}
        details = dict.fromkeys(("business_name", "email", "individual_name", "name", "phone", "tax_exempt", "tax_ids"))
        session["customer_details"] = {**details, "address": address}

    def _capture(self, session: Json, intent: Json) -> None:
        amount = intent["amount"]
        charge = self.put(
            "ch",
            "charge",
            amount=amount,
            amount_captured=amount,
            amount_refunded=0,
            billing_details={"address": None, "email": None, "name": None, "phone": None, "tax_id": None},
            captured=True,
            currency=intent["currency"],
            customer=intent["customer"],
            disputed=False,
            livemode=False,
            metadata={},
            paid=True,
            refunded=False,
            status="succeeded",
            payment_intent=intent["id"],
        )
        charge["balance_transaction"] = self._transaction("charge", amount, fee_of(amount), charge["id"])["id"]
        intent |= {"status": "succeeded", "amount_received": amount, "latest_charge": charge["id"]}
        session["payment_status"] = "paid"
        self.event("charge.succeeded", charge)
        self.event("payment_intent.succeeded", intent)

    def _transaction(self, kind: str, amount: int, fee: int, source: str | None, category: str = "") -> Json:
        return self.put(
            "txn",
            "balance_transaction",
            type=kind,
            amount=amount,
            fee=fee,
            fee_details=[],
            net=amount - fee,
            currency="usd",
            source=source,
            available_on=int(time.time()) + 172_800,
            balance_type="payments",
            reporting_category=category or kind,
            status="pending",
            exchange_rate=None,
            description=None,
        )


def _named(sent: Json) -> Json:
    return {name: sent.get(name) for name in ("name", "email", "description")}
