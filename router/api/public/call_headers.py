"""Parses the headers by which a call asks for a lane (``X-Tier``) or for patience (``Prefer: wait=N``).

And makes the headers of the answer, or of the error, that say what was applied.
"""

import re
from collections.abc import Sequence
from typing import Final

from router.errors import InvalidRequest, NotRecorded, Refusal, Unexpected
from router.request.admission import rate_limit_headers
from router.values import Lane, Trace

_LANES: Final = {
    b"batch": Lane.BATCH,
    b"interactive": Lane.INTERACTIVE,
    b"default": Lane.INTERACTIVE,
}
_WAIT: Final = re.compile(r"wait[ \t]*=[ \t]*([0-9]{1,9})", re.I)
# RFC 7240: preferences between commas, commas in quotes do not count.
_PREFERENCES: Final = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')
PREFER_MAX: Final = 256


def parse_call_headers(headers: Sequence[tuple[bytes, bytes]], most_s: float) -> tuple[Lane, float]:
    """The lane, and how many seconds to wait for a warm model. Raises InvalidRequest for an ``X-Tier`` that is none."""
    if not headers:
        return Lane.INTERACTIVE, 0.0
    tiers = [value for name, value in headers if name == b"x-tier"]
    prefer = b",".join(value for name, value in headers if name == b"prefer")
    return lane_of(b",".join(tiers)) if tiers else Lane.INTERACTIVE, wait_of(prefer, most_s)


def lane_of(tier: bytes) -> Lane:
    """The lane that ``X-Tier`` names. Raises InvalidRequest for a name that is none."""
    lane = _LANES.get(tier.strip(b" \t").lower())
    if lane is None:
        raise InvalidRequest(
            "'X-Tier' is invalid: it is 'interactive' (or 'default'), or 'batch' for the discounted price and the "
            "low-priority queue.",
            param="X-Tier",
        )
    return lane


def wait_of(prefer: bytes, most_s: float) -> float:
    """Seconds of ``Prefer: wait=N`` (RFC 7240), at most ``most_s``; 0 without it, and where it cannot be understood."""
    for preference in _PREFERENCES.findall(prefer[:PREFER_MAX].decode("latin-1")):
        name = preference.partition(";")[0].strip()
        if name.partition("=")[0].strip().lower() == "wait":
            # The first of several holds.
            wait = _WAIT.fullmatch(name)
            return min(float(wait[1]), most_s) if wait else 0.0
    return 0.0


def applied_headers(lane: Lane, wait_s: float) -> list[tuple[bytes, bytes]]:
    """Headers that tell which lane and which wait were applied; none for a plain call."""
    headers = []
    if lane is Lane.BATCH:
        headers.append((b"x-gigarouter-lane", b"batch"))
    if wait_s:
        headers.append((b"preference-applied", b"wait=%d" % wait_s))
    return headers


def failure_headers(trace: Trace, refusal: Refusal) -> list[tuple[bytes, bytes]]:
    """Headers of a call's error: attempts, the last provider, the remaining limits where the call was admitted.

    And that it cost nothing, where that is certain.
    """
    headers = [(b"x-gigarouter-attempts", b"%d" % trace.attempts_sent)]
    if trace.attempts:
        name = trace.attempts[-1].endpoint.provider_name
        headers.append((b"x-gigarouter-provider", "".join(c if " " <= c <= "~" else "?" for c in name).encode()))
    if not isinstance(refusal, NotRecorded | Unexpected):
        headers.append((b"x-gigarouter-cost", b"0.00"))
    if trace.hold is not None:
        headers += rate_limit_headers(trace.hold.limits)
    return headers
