"""Limits how often a key may read what Postgres answers, in this process's memory: the calls have limits of their own.

It is the generic cell rate algorithm: per key one moment, until which its reads last at the permitted rate. A key may
be up to a minute ahead of it, so a minute's reads may come at once.
"""

from math import ceil
from uuid import UUID

from router.errors import RequestLimit

READS_PER_MINUTE = 600
WINDOW_S = 60.0
# Keys whose time has passed are forgotten when there are so many: each is as if it had never read.
KEYS_MAX = 10_000


class ReadLimit:
    """The reads of all keys."""

    def __init__(self, per_minute: int = READS_PER_MINUTE) -> None:
        self._per_minute = per_minute
        self._interval_s = WINDOW_S / per_minute
        self._until_s: dict[UUID, float] = {}

    def count(self, key_id: UUID, now_s: float) -> None:
        """Counts a read. Raises ``RequestLimit`` with the time until there is room for it, and then counts nothing."""
        until_s = max(self._until_s.get(key_id, now_s), now_s) + self._interval_s
        wait_s = until_s - now_s - WINDOW_S
        if wait_s > 1e-6:
            raise RequestLimit(
                f"Rate limit reached: this key may read {self._per_minute} times a minute beside its calls. "
                f"Please try again in {ceil(wait_s * 1000)}ms.",
                retry_after_s=wait_s,
            )
        if len(self._until_s) >= KEYS_MAX:
            self._until_s = {key: until for key, until in self._until_s.items() if until > now_s}
        self._until_s[key_id] = until_s
