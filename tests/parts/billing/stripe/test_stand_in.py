"""The stand-in for Stripe is a judge of money only where it does what Stripe does: keys, limits, fees, its contract."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.harness.stripe_server import KEY, Fault, StripeServer


@pytest.fixture
def stripe() -> Iterator[StripeServer]:
    with StripeServer() as running:
        yield running


def call(stripe: StripeServer, method: str, path: str, key: str = "", **sent: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {KEY}"} | ({"idempotency-key": key} if key else {})
    return httpx.request(method, stripe.url + path, data=sent or None, headers=headers)


def a_paid_session(stripe: StripeServer, cents: int) -> dict[str, Any]:
    customer = call(stripe, "POST", "/v1/customers", name="Ann").json()["id"]
    price: dict[str, Any] = {"[currency]": "usd", "[unit_amount]": cents, "[product_data][name]": "credit"}
    line = {f"line_items[0][price_data]{name}": value for name, value in price.items()}
    session = call(stripe, "POST", "/v1/checkout/sessions", mode="payment", customer=customer, **line).json()
    return stripe.world.pay(session["id"])


def test_a_key_is_one_effect_until_it_is_pruned(stripe: StripeServer) -> None:
    first = call(stripe, "POST", "/v1/customers", "k", name="Ann")
    again = call(stripe, "POST", "/v1/customers", "k", name="Ann")
    assert (again.json(), again.headers["idempotent-replayed"]) == (first.json(), "true")
    assert call(stripe, "POST", "/v1/customers", "k", name="Bob").json()["error"]["type"] == "idempotency_error"
    stripe.prune_keys()
    assert call(stripe, "POST", "/v1/customers", "k", name="Ann").json()["id"] != first.json()["id"]


def test_a_failure_after_the_act_is_stored_and_a_limit_before_it_is_not(stripe: StripeServer) -> None:
    stripe.faults += [Fault("/v1/customers", 429), Fault("/v1/customers", 500, acted=True)]
    assert [call(stripe, "POST", "/v1/customers", "k").status_code for _ in range(3)] == [429, 500, 500]
    assert len(stripe.world.all("customer")) == 1
    stripe.faults.append(Fault("/v1/customers", acted=True))
    with pytest.raises(httpx.RemoteProtocolError):
        call(stripe, "POST", "/v1/customers", "other")
    assert call(stripe, "POST", "/v1/customers", "other").status_code == 200
    assert len(stripe.world.all("customer")) == 2


def test_no_more_is_refunded_than_was_paid_and_each_act_has_its_transaction(stripe: StripeServer) -> None:
    session = a_paid_session(stripe, 1_000)
    refund: dict[str, Any] = {"payment_intent": session["payment_intent"], "amount": 600}
    assert [call(stripe, "POST", "/v1/refunds", **refund).status_code for _ in range(2)] == [200, 400]
    charge = stripe.world.all("charge")[0]["id"]
    won = stripe.world.dispute(charge)["id"]
    assert call(stripe, "POST", "/v1/refunds", payment_intent=session["payment_intent"]).status_code == 400
    stripe.world.close_dispute(won, won=True)
    listed = call(stripe, "GET", "/v1/balance_transactions?limit=100").json()["data"]
    nets = [(one["type"], one["net"]) for one in reversed(listed)]
    assert nets == [("charge", 941), ("refund", -600), ("adjustment", -1_900), ("adjustment", 1_900)]
    assert call(stripe, "GET", "/v1/balance").json()["pending"] == [{"amount": 341, "currency": "usd"}]


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/v1/checkout/sessions", {"mode": "payment", "payment_method_types[0]": "card"}),
        ("/v1/checkout/sessions", {"mode": "payment", "line_items[0][price_data][amnt]": "5"}),
        ("/v1/coupons", {"percent_off": "5"}),
    ],
)
def test_what_the_contract_lacks_fails_the_test(path: str, sent: dict[str, str]) -> None:
    with pytest.raises(AssertionError), StripeServer() as stripe:
        assert call(stripe, "POST", path, **sent).status_code == 400
