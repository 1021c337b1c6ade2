"""Pure. How a request to Stripe can fail.

StripeFault
├── StripeUnavailable    no answer, too many requests, or Stripe's own failure: the same may succeed later
│   └── StripeFailed     Stripe answered 5xx, and will answer the same under this idempotency key for a day
└── StripeRefused        Stripe refuses the request as it is; ``is_missing``: there is no such object
    └── StripeDeclined   the bank does not pay: ``code`` says why, such as ``authentication_required``
"""


class StripeFault(Exception):
    """Base; the text is for the log and for operators."""


class StripeUnavailable(StripeFault):
    """No answer, or none yet; whether Stripe acted is unknown."""


class StripeFailed(StripeUnavailable):
    """Stripe failed itself: whether it acted is unknown, and its idempotency key gives this failure again."""


class StripeRefused(StripeFault):
    """Stripe will not do it, however often it is asked."""

    def __init__(self, message: str, *, code: str = "", is_missing: bool = False) -> None:
        super().__init__(message)
        self.code, self.is_missing = code, is_missing


class StripeDeclined(StripeRefused):
    """The bank declined the payment (402), or wants its customer to confirm it."""

    @property
    def wants_confirmation(self) -> bool:
        """Whether the customer has to confirm it, which only the customer can."""
        return self.code == "authentication_required"
