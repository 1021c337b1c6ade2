"""Translates reasons and outcomes into words for customers, the same in receipts and in errors. Pure.

A provider's charges, its own words and our judgement of it are for operators only.
"""

from typing import Final

# How an attempt ended, in words that reveal nothing of our dealings with a provider.
OUTCOMES: Final[dict[str, tuple[str, str]]] = {
    "answered": ("answered", ""),
    "canceled": ("canceled", "Another attempt was faster, or the call was over."),
    "TimedOut": ("timed_out", "It did not answer in time."),
    "ConnectFailed": ("unreachable", "It could not be reached."),
    "Broken": ("failed", "It failed, or gave an answer that cannot be read."),
    "BadAnswer": ("bad_answer", "Its answer failed our checks, so it was neither delivered nor charged."),
    "Misconfigured": ("unreachable", "It could not be reached."),
    "Throttled": ("throttled", "It takes no more calls for the moment."),
    "Overloaded": ("overloaded", "It has no capacity for the moment."),
    "Warming": ("warming", "The model is being loaded there."),
    "PassedOver": ("passed_over", "It takes no more calls for the moment, so nothing was sent there."),
    "BeyondQuota": (
        "passed_over",
        "It takes so much only over more time than the call has, so nothing was sent there.",
    ),
    "CallerFault": ("refused_input", "It does not take this input."),
    "TooLong": ("refused_input", "An input is longer than the model takes."),
    "CredentialRefused": ("out_of_service", "It is out of service until we have looked after it."),
    "ModelMissing": ("out_of_service", "It is out of service until we have looked after it."),
    "SpaceMismatch": ("out_of_service", "It is out of service until we have looked after it."),
}
FAILED: Final = ("failed", "It failed.")

# The facts of a ranking that a customer may see: how an endpoint performs. What it costs us is not among them.
PUBLIC_FACTS: Final = frozenset({"latency_ms", "success", "tokens_per_s", "wait_ms", "sticky"})


def public_outcome(outcome: str) -> tuple[str, str]:
    """How an attempt ended, and a sentence about it; ``outcome`` is ``answered``, ``canceled`` or a failure's class."""
    return OUTCOMES.get(outcome, FAILED)


def public_reason(reason: str) -> str:
    """The public part of why an endpoint was left out: all before the first colon, where a provider's words start."""
    return reason.partition(":")[0]
