"""Counts attempts and calls by how they ended and by whose fault, and latencies in buckets with fixed bounds. Pure."""

from bisect import bisect_left
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

from router import errors

# Upper bounds of latency in milliseconds, each the one before times the root of two; the last bucket has no bound.
LATENCY_BOUNDS_MS: Final = (
    *(5, 7, 10, 14, 20, 28, 40, 57, 80, 113, 160, 226, 320, 453, 640, 905),
    *(1_280, 1_810, 2_560, 3_620, 5_120, 10_240, 20_480),
)
BUCKETS: Final = len(LATENCY_BOUNDS_MS) + 1
# Fewer answered attempts say nothing of a percentile, and fewer attempts nothing of availability.
CALLS_MIN: Final = 20


class Fault(StrEnum):
    """Who made an attempt, or a call, end other than well."""

    OURS = "ours"
    PROVIDERS = "providers"
    CUSTOMERS = "customers"


class Size(StrEnum):
    """How many tokens a call has: small up to 256, medium up to 4,096, large beyond."""

    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


SMALL_TOKENS_MAX, MEDIUM_TOKENS_MAX = 256, 4_096

# Whose fault an attempt's outcome is, by the class of its failure; others are the provider's. None: nothing was sent,
# or another attempt was faster, so that it says nothing of the endpoint.
_ATTEMPT_FAULTS: Final[dict[str, Fault | None]] = {
    "canceled": None,
    "PassedOver": None,
    "BeyondQuota": None,
    "CallerFault": Fault.CUSTOMERS,
    "TooLong": Fault.CUSTOMERS,
    "Misconfigured": Fault.OURS,
    "CredentialRefused": Fault.OURS,
    "ModelMissing": Fault.OURS,
}
# Errors of a call that are the providers' fault. Other failures are ours, and what the caller can mend is the caller's.
_PROVIDERS_CODES: Final = frozenset(
    kind.code
    for kind in (
        errors.AllAttemptsFailed,
        errors.UpstreamInvalid,
        errors.DeadlinePassed,
        errors.NoEndpoint,
        errors.ProvidersBusy,
        errors.ModelWarming,
    )
)


class Counts(msgspec.Struct):
    """Attempts or calls by how they ended. ``latency`` has :data:`BUCKETS` counts of answered ones, or none."""

    answered: int = 0
    ours: int = 0
    providers: int = 0
    customers: int = 0
    latency: list[int] = msgspec.field(default_factory=lambda: [0] * BUCKETS)

    @property
    def judged(self) -> int:
        """How many say something of who served: all but those that failed by a customer's fault."""
        return self.answered + self.ours + self.providers

    @property
    def availability(self) -> float | None:
        """The share of attempts that ended well, customers' faults left out; None: too few to say."""
        return self.answered / self.judged if self.judged >= CALLS_MIN else None

    def count(self, fault: Fault | None) -> None:
        """Count one that ended well, or by whose fault it did not."""
        match fault:
            case None:
                self.answered += 1
            case Fault.OURS:
                self.ours += 1
            case Fault.PROVIDERS:
                self.providers += 1
            case Fault.CUSTOMERS:
                self.customers += 1

    def add(self, other: "Counts") -> None:
        """Add another's counts to these."""
        self.answered += other.answered
        self.ours += other.ours
        self.providers += other.providers
        self.customers += other.customers
        self.latency = [a + b for a, b in zip(self.latency, other.latency, strict=True)]


def size_of(tokens: int) -> Size:
    """The class of a call with so many tokens."""
    if tokens <= SMALL_TOKENS_MAX:
        return Size.SMALL
    return Size.MEDIUM if tokens <= MEDIUM_TOKENS_MAX else Size.LARGE


def bucket_of(took_ms: float) -> int:
    """The bucket of a latency."""
    return bisect_left(LATENCY_BOUNDS_MS, took_ms)


def says_nothing(outcome: str) -> bool:
    """Whether an attempt's outcome says nothing of its endpoint."""
    return _ATTEMPT_FAULTS.get(outcome, Fault.PROVIDERS) is None


def attempt_fault(outcome: str) -> Fault | None:
    """Whose fault an attempt's outcome is; None: it was answered."""
    return None if outcome == "answered" else _ATTEMPT_FAULTS.get(outcome, Fault.PROVIDERS)


def call_fault(status: int, code: str) -> Fault | None:
    """Whose fault the end of a call is; None: it was answered."""
    if not code and status < 400:
        return None
    if code in _PROVIDERS_CODES:
        return Fault.PROVIDERS
    return Fault.OURS if status >= 500 else Fault.CUSTOMERS


def percentile(
    latency: Sequence[int], share: float, bounds: Sequence[int] = LATENCY_BOUNDS_MS, *, least: int = CALLS_MIN
) -> float | None:
    """The latency in milliseconds that ``share`` of the counted took at most, within a bucket by proportion.

    None where fewer than ``least`` were counted. In the last bucket, which has no bound, it is its lower one.
    """
    total = sum(latency)
    if total < max(1, least):
        return None
    wanted, below = share * total, 0
    for place, count in enumerate(latency[: len(bounds)]):
        if count and below + count >= wanted:
            lower = bounds[place - 1] if place else 0
            return lower + (bounds[place] - lower) * (wanted - below) / count
        below += count
    return float(bounds[-1])
