"""Stripe's settings are refused where payments would not be safe, and one database never has both modes."""

import asyncio

import pytest

from billing.stripe.mode import require_one_mode
from gigarouter.settings import SettingsError, load
from gigarouter.stripe_settings import stripe_config
from gigarouter.topup_documents import rate_of
from store.faults import CannotStart
from store.postgres import Database

TEST_KEY, LIVE_KEY = "sk_test_abc", "rk_live_abc"
SECRET, OTHER, THIRD = "whsec_aaaaaaaa", "whsec_bbbbbbbb", "whsec_cccccccc"

# Key, webhook secrets, further settings, and what the refusal names; none: it is taken.
CASES: list[tuple[str | None, str, dict[str, object], str]] = [
    (None, "", {}, ""),
    (TEST_KEY, SECRET, {}, ""),
    (LIVE_KEY, f"{SECRET},{OTHER}", {}, ""),
    ("", SECRET, {}, "GIGAROUTER_STRIPE_SECRET_KEY"),
    ("pk_test_abc", SECRET, {}, "GIGAROUTER_STRIPE_SECRET_KEY"),
    (TEST_KEY, "", {}, "GIGAROUTER_STRIPE_WEBHOOK_SECRETS"),
    (TEST_KEY, "whsec_", {}, "GIGAROUTER_STRIPE_WEBHOOK_SECRETS"),
    (TEST_KEY, f"{SECRET},{OTHER},{THIRD}", {}, "GIGAROUTER_STRIPE_WEBHOOK_SECRETS"),
    (None, SECRET, {}, "GIGAROUTER_STRIPE_SECRET_KEY"),
    (LIVE_KEY, SECRET, {"stripe_base_url": "http://127.0.0.1:1"}, "GIGAROUTER_STRIPE_BASE_URL"),
    (TEST_KEY, SECRET, {"topup_min_usd": 10, "topup_max_usd": 5}, "GIGAROUTER_TOPUP_MIN_USD"),
]


@pytest.mark.parametrize(("key", "secrets", "further", "names"), CASES)
def test_what_would_not_be_safe_is_refused(
    key: str | None, secrets: str, further: dict[str, object], names: str
) -> None:
    settings = load(stripe_secret_key=key, stripe_webhook_secrets=secrets, **further)
    if not names:
        config = stripe_config(settings)
        assert (config is not None) == (key is not None)
        assert key is None or key not in repr(config)
        return
    with pytest.raises(SettingsError, match=names) as refused:
        stripe_config(settings)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("net", "tax", "rate"), [(1_000, 190, 1900), (1_999, 380, 1900), (507, 28, 550), (500, 41, 820), (10_000, 888, 888)]
)
def test_the_rate_of_a_tax_is_the_roundest_that_gives_it(net: int, tax: int, rate: int) -> None:
    assert rate_of(net, tax) == rate


def test_a_database_has_the_payments_of_one_mode(database_url: str) -> None:
    async def story() -> None:
        db = Database(database_url)
        try:
            for _ in range(2):
                await require_one_mode(db, livemode=False)
            with pytest.raises(CannotStart, match="live key"):
                await require_one_mode(db, livemode=True)
        finally:
            await db.close()

    asyncio.run(story())
