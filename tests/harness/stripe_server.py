"""The stand-in for Stripe on a socket: real HTTP, Stripe's contract both ways, idempotency keys as Stripe keeps them.

``with StripeServer() as stripe:`` runs it in a thread; ``stripe.world`` is its state. ``stripe.faults`` makes the next
requests to a path fail, before or after they acted. Whatever broke the contract is in ``stripe.broken``, and fails the
test at the end of the block.
"""

import contextlib
import json
import threading
from collections import deque
from dataclasses import dataclass
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from typing_extensions import override

from tests.harness.stripe_contract import Call, ContractBroken, find_call
from tests.harness.stripe_meters import MeterWorld
from tests.harness.stripe_world import Json, Refused

KEY = "sk_test_4eC39HqLyjWDarjtT1zdp7dc"
LISTS = {
    "/v1/events": "event",
    "/v1/balance_transactions": "balance_transaction",
    "/v1/refunds": "refund",
    "/v1/disputes": "dispute",
    "/v1/customers": "customer",
    "/v1/payouts": "payout",
    "/v1/invoice_payments": "invoice_payment",
    "/v1/invoices": "invoice",
    "/v1/billing/meters": "billing.meter",
}


@dataclass
class Fault:
    """What happens to the next ``times`` requests to ``path``: ``status``, or a reset; ``acted``: after it was done."""

    path: str
    status: int = 0
    acted: bool = False
    times: int = 1
    method: str = "POST"
    suffix: str = ""


class StripeServer:
    """One Stripe, with one secret key, in test mode."""

    def __init__(self) -> None:
        self.world = MeterWorld()
        self.faults: deque[Fault] = deque()
        self.broken: list[str] = []
        self.requests: list[tuple[str, str]] = []
        # Set while a request that was done waits to be answered (:meth:`hang_after`).
        self.hanging = threading.Event()
        self._hang_path = ""
        self._released = threading.Event()
        self._outcomes: dict[str, tuple[tuple[str, str, str], int, Json]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def hang_after(self, path: str) -> None:
        """Do the next POST to this path, which may have a ``*``, and do not answer it before :meth:`go_on`."""
        self.hanging.clear()
        self._released.clear()
        self._hang_path = path

    def go_on(self) -> None:
        self._released.set()

    def prune_keys(self) -> None:
        """A day has passed: what was stored under idempotency keys is gone."""
        self._outcomes.clear()

    def count(self, method: str, path: str) -> int:
        return self.requests.count((method, path))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        assert not self.broken or error is not None, self.broken

    def answer(
        self, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, Json, dict[str, str]]:
        """One request; a status of 0 resets the connection."""
        split = urlsplit(target)
        self.requests.append((method, split.path))
        if headers.get("authorization") != f"Bearer {KEY}":
            return 401, {"error": {"type": "invalid_request_error", "message": "Invalid API Key provided"}}, {}
        try:
            call = find_call(method, split.path)
            sent = call.read(split.query, body)
        except ContractBroken as broken:
            self.broken.append(str(broken))
            return 400, {"error": {"type": "invalid_request_error", "message": str(broken)}}, {}
        fault = self._fault(method, split.path)
        if fault is not None and not fault.acted:
            # Refused before anything ran: nothing is stored under the key.
            kind = "invalid_request_error" if fault.status == 429 else "api_error"
            return fault.status, {"error": {"type": kind, "message": "injected"}}, {}
        key = headers.get("idempotency-key", "") if method == "POST" else ""
        status, answer, more = self._once(
            key, (method, split.path, json.dumps(sent, sort_keys=True)), call, sent, fault
        )
        if method == "POST" and self._hang_path and fnmatch(split.path, self._hang_path):
            self._hang_path = ""
            self.hanging.set()
            self._released.wait(60)
        if fault is not None and not fault.status:
            return 0, {}, {}
        return status, answer, more

    def _once(
        self, key: str, asked: tuple[str, str, str], call: Call, sent: Json, fault: Fault | None
    ) -> tuple[int, Json, dict[str, str]]:
        with self.world.lock:
            if key in self._outcomes:
                first, status, answer = self._outcomes[key]
                if first != asked:
                    message = "Keys for idempotent requests can only be used with the same parameters."
                    return 400, {"error": {"type": "idempotency_error", "message": message}}, {}
                return status, answer, {"idempotent-replayed": "true"}
            try:
                status, answer = 200, json.loads(json.dumps(self._do(call, asked[0], sent)))
            except Refused as refused:
                status, answer = refused.status, refused.body
            try:
                call.check_answer(status, answer)
            except ContractBroken as broken:
                self.broken.append(str(broken))
            if fault is not None and fault.status:
                # Stripe's own failure is stored under the key, and what it did stays done.
                status, answer = fault.status, {"error": {"type": "api_error", "message": "injected"}}
            if key:
                self._outcomes[key] = asked, status, answer
            return status, answer, {}

    def _do(self, call: Call, method: str, sent: Json) -> Json:
        done = self.world.act_on_meter(method, call.template, call.parts, sent)
        return self._act(call, method, sent) if done is None else done

    def _act(self, call: Call, method: str, sent: Json) -> Json:
        world, parts = self.world, call.parts
        match method, call.template:
            case "POST", "/v1/customers":
                return world.create_customer(sent)
            case "POST", "/v1/checkout/sessions":
                return world.create_session(sent)
            case "POST", "/v1/checkout/sessions/{session}/expire":
                return world.expire(parts["session"])
            case "POST", "/v1/refunds":
                return world.create_refund(sent)
            case "POST", "/v1/billing_portal/sessions":
                return world.create_portal_session(sent)
            case "POST", "/v1/invoices":
                return world.create_invoice(sent)
            case "POST", "/v1/invoiceitems":
                return world.create_invoice_item(sent)
            case "POST", "/v1/invoices/{invoice}/finalize":
                return world.finalize(parts["invoice"])
            case "POST", "/v1/invoices/{invoice}/pay":
                return world.pay_invoice(parts["invoice"], sent)
            case "POST", "/v1/invoices/{invoice}":
                return world.update_invoice(parts["invoice"], sent)
            case "POST", "/v1/invoices/{invoice}/add_lines":
                return world.add_lines(parts["invoice"], sent)
            case "POST", "/v1/invoices/{invoice}/send":
                return world.send_invoice(parts["invoice"])
            case "POST", "/v1/invoices/{invoice}/mark_uncollectible":
                return world.mark_uncollectible(parts["invoice"])
            case "POST", "/v1/tax/calculations":
                return world.calculate_tax(sent)
            case "POST", "/v1/credit_notes":
                return world.create_credit_note(sent)
            case "POST", "/v1/customers/{customer}":
                return world.update_customer(parts["customer"], sent)
            case "POST", "/v1/invoices/{invoice}/void":
                return world.void(parts["invoice"])
            case "DELETE", "/v1/invoices/{invoice}":
                return world.delete_draft(parts["invoice"])
            case "GET", "/v1/customers/{customer}/payment_methods":
                saved = [one for one in world.all("payment_method") if one["customer"] == parts["customer"]]
                return {"object": "list", "url": f"/v1/customers/{parts['customer']}", "data": saved, "has_more": False}
            case "GET", "/v1/balance":
                return world.balance()
            case "GET", template if template in LISTS:
                return self._page(template, sent)
            case "GET", template:
                kinds = {"session": "checkout.session", "intent": "payment_intent"}
                nouns = {"/v1/balance_transactions/{id}": "balance_transaction", "/v1/events/{id}": "event"}
                ((name, object_id),) = parts.items()
                return world.find(nouns.get(template, kinds.get(name, name)), object_id)
            case _:
                pass
        raise Refused(500, f"the stand-in does not have {method} {call.template}", kind="api_error")

    def _page(self, path: str, sent: Json) -> Json:
        rows = self.world.all(LISTS[path])
        created = sent.get("created", {})
        rows = [row for row in rows if row["created"] >= created.get("gte", 0)]
        for name in ("payment_intent", "charge", "source", "type", "payout", "email", "invoice", "customer"):
            rows = [row for row in rows if name not in sent or row.get(name) == sent[name]]
        if "payment" in sent:
            wanted = sent["payment"]["payment_intent"]
            rows = [row for row in rows if row["payment"]["payment_intent"] == wanted]
        if "types" in sent:
            rows = [row for row in rows if row["type"] in sent["types"]]
        if after := sent.get("starting_after"):
            rows = rows[[row["id"] for row in rows].index(after) + 1 :]
        limit = sent.get("limit", 10)
        return {"object": "list", "url": path, "data": rows[:limit], "has_more": len(rows) > limit}

    def _fault(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            is_meant = path.startswith(fault.path) and path.endswith(fault.suffix)
            if fault.method == method and is_meant and fault.times > 0:
                fault.times -= 1
                return fault
        return None


def _handler(server: StripeServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body in one packet: two would wait for each other, 40 ms an answer.
        wbufsize = 64 * 1024

        def _respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, answer, more = server.answer(self.command, self.path, headers, body)
            if not status:
                self.close_connection = True
                return
            content = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {"content-type": "application/json", "request-id": "req_test", **more}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            # Whoever asked may have been killed meanwhile.
            with contextlib.suppress(OSError):
                self.wfile.write(content)
                self.wfile.flush()

        do_GET = do_POST = do_DELETE = _respond  # noqa: N815 - the names that the base class calls

        @override
        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    return Handler
