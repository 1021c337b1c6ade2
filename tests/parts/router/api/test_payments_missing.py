"""Where no key of Stripe's is set, everything that needs one says so, and what only reads works."""

import pytest

from tests.harness.served_api import ServedApi

pytestmark = pytest.mark.anyio

RECHARGE = {
    "threshold_usd": "5.00",
    "amount_usd": "25.00",
    "month_max_usd": "50.00",
    "consented_by": "Ann",
    "wording": "1",
}
NEEDS_STRIPE = [
    ("/topups", {"amount_usd": "25.00"}),
    ("/refunds", {}),
    ("/recharge", RECHARGE),
    ("/portal", None),
]


async def test_what_needs_stripe_names_the_setting_that_is_missing(api: ServedApi) -> None:
    headers = {"authorization": f"Bearer {api.key}"}
    for path, body in NEEDS_STRIPE:
        once = {"idempotency-key": path}
        answer = await api.client.post(f"/v1/account{path}", json=body, headers=headers | once)
        assert answer.status_code == 503, answer.text
        error = answer.json()["error"]
        assert (error["code"], "GIGAROUTER_STRIPE_SECRET_KEY" in error["message"]) == ("payments_not_configured", True)
        assert answer.headers["x-should-retry"] == "false"
    shown = await api.client.get("/v1/account/recharge", headers=headers)
    assert (shown.status_code, shown.json()["is_on"]) == (200, False)
    off = await api.client.post("/v1/account/recharge/off", headers=headers)
    assert (off.status_code, off.json()["off_reason"]) == (200, None)
