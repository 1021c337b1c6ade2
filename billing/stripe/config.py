"""Pure. What an operator sets for payments by Stripe."""

from urllib.parse import quote

import msgspec
from typing_extensions import override

from billing.stripe.values import Cents

API_URL = "https://api.stripe.com"
MISSING = (
    "This installation takes no payments yet: its operator has not set GIGAROUTER_STRIPE_SECRET_KEY "
    "(docs/stripe.md says what else belongs to it)."
)


class StripeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The secrets, limits and addresses; ``livemode`` is the key's: a test key meets test payments alone."""

    secret_key: str
    webhook_secrets: tuple[str, ...]
    base_url: str
    return_url: str
    automatic_tax: bool
    topup_min: Cents
    topup_max: Cents

    @override
    def __repr__(self) -> str:
        """Without the secrets, wherever it is logged."""
        return f"StripeConfig(base_url={self.base_url!r}, livemode={self.livemode})"

    @property
    def livemode(self) -> bool:
        """Whether real money moves."""
        return "_live_" in self.secret_key

    def return_address(self, outcome: str, topup: str) -> str:
        """The page that a customer comes back to."""
        mark = "&" if "?" in self.return_url else "?"
        return f"{self.return_url}{mark}topup={quote(topup)}&outcome={outcome}"
