"""Reads the settings of Stripe as one value, and refuses those with which payments would not be safe."""

import re

from billing.stripe.config import API_URL, StripeConfig
from billing.stripe.values import Cents
from gigarouter.settings import Settings, SettingsError

_KEY = re.compile(r"(sk|rk)_(test|live)_[A-Za-z0-9_]+")
_WEBHOOK_SECRET = re.compile(r"whsec_[!-~]{8,}")


def stripe_config(settings: Settings) -> StripeConfig | None:
    """The settings of Stripe; None where no key is set. Raises :class:`SettingsError`."""
    secrets = [secret.get_secret_value() for secret in settings.stripe_webhook_secrets]
    if settings.stripe_secret_key is None:
        if secrets:
            raise SettingsError("GIGAROUTER_STRIPE_WEBHOOK_SECRETS is set, and GIGAROUTER_STRIPE_SECRET_KEY is not.")
        return None
    key = settings.stripe_secret_key.get_secret_value()
    if not _KEY.fullmatch(key):
        raise SettingsError("GIGAROUTER_STRIPE_SECRET_KEY is not a key such as sk_test_… or rk_live_….")
    if not 1 <= len(secrets) <= 2 or not all(_WEBHOOK_SECRET.fullmatch(secret) for secret in secrets):
        raise SettingsError(
            "GIGAROUTER_STRIPE_WEBHOOK_SECRETS has to be the signing secret of the endpoint at Stripe, whsec_…, or two "
            "of them with a comma while one replaces the other: without it anybody could claim a payment."
        )
    if settings.topup_min_usd > settings.topup_max_usd:
        raise SettingsError("GIGAROUTER_TOPUP_MIN_USD is more than GIGAROUTER_TOPUP_MAX_USD.")
    config = StripeConfig(
        secret_key=key,
        webhook_secrets=tuple(secrets),
        base_url=settings.stripe_base_url.rstrip("/"),
        return_url=settings.stripe_return_url or f"http://{settings.host}:{settings.port}/",
        automatic_tax=settings.stripe_automatic_tax,
        topup_min=Cents(settings.topup_min_usd * 100),
        topup_max=Cents(settings.topup_max_usd * 100),
    )
    if config.livemode and config.base_url != API_URL:
        raise SettingsError(f"GIGAROUTER_STRIPE_BASE_URL is {config.base_url}: a live key goes to {API_URL} alone.")
    return config
