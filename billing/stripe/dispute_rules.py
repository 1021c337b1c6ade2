"""Pure. What a dispute is by Stripe's status, and what is done about it."""

from enum import StrEnum


class DisputeStatus(StrEnum):
    """The life of a dispute."""

    INQUIRY = "inquiry"
    """A bank asks; no money has moved."""
    CLOSED = "closed"
    """An inquiry that came to nothing."""
    OPEN = "open"
    """The money is withdrawn, and so the credit is taken; what is spent of it is debt."""
    WON = "won"
    """The money is back, and so is the credit."""
    LOST = "lost"
    """It stays with the card's owner."""


_BY_STRIPE = {
    "warning_needs_response": DisputeStatus.INQUIRY,
    "warning_under_review": DisputeStatus.INQUIRY,
    "warning_closed": DisputeStatus.CLOSED,
    "prevented": DisputeStatus.CLOSED,
    "needs_response": DisputeStatus.OPEN,
    "under_review": DisputeStatus.OPEN,
    "won": DisputeStatus.WON,
    "lost": DisputeStatus.LOST,
}
TAKES_CREDIT = frozenset({DisputeStatus.OPEN, DisputeStatus.LOST})


def status_of(stripe_status: str) -> DisputeStatus | None:
    """What a status of Stripe's is; None for one that we do not know."""
    return _BY_STRIPE.get(stripe_status)
