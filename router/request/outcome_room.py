"""Pure. Decides whether an account may store one more outcome under an Idempotency-Key, and if not, from when on.

An outcome is stored for a day. What calls cost nothing (a test key's, at price zero) has a bound of its own, because
nobody pays for its storage. Calls that run at the same time may go beyond the bound by their own outcomes.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from router.errors import OutcomesFull

MIB = 1024 * 1024


class OutcomeBounds(msgspec.Struct, frozen=True):
    """The most bytes that an account may have stored; each outcome counts as at least a kibibyte."""

    paid_bytes: int = 1024 * MIB
    free_bytes: int = 16 * MIB


class StoredHour(msgspec.Struct, frozen=True):
    """What of an account's is stored until ``gone_at``."""

    gone_at: datetime
    free: bool
    bytes: int


class OutcomeRoom(msgspec.Struct, frozen=True):
    """What an account has stored, and how much it may."""

    hours: Sequence[StoredHour]
    bounds: OutcomeBounds

    def check(self, *, free: bool, now: datetime) -> None:
        """Raise ``OutcomesFull`` where the outcome of a call that is ``free`` has no room."""
        bound = self.bounds.free_bytes if free else self.bounds.paid_bytes
        hours = sorted((hour for hour in self.hours if hour.free is free), key=lambda hour: hour.gone_at)
        left = sum(hour.bytes for hour in hours)
        if left < bound:
            return
        for hour in hours:
            left -= hour.bytes
            if left < bound:
                what = "answers to free calls" if free else "answers"
                raise OutcomesFull(
                    f"This account has {bound} bytes of {what} stored under Idempotency-Keys, which is the most; there "
                    f"is room again at {hour.gone_at:%Y-%m-%dT%H:%M:%SZ}. Without an Idempotency-Key the call can be "
                    "made now.",
                    param="Idempotency-Key",
                    retry_after_s=max(1.0, (hour.gone_at - now).total_seconds()),
                )
