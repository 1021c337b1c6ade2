"""Pure. Verifies the signature of a webhook: HMAC-SHA256 over ``<timestamp>.<raw body>``, scheme ``v1`` alone.

Stripe's own client takes timestamps from the future; here a body is refused that is older or newer than
:data:`TOLERANCE_S`. Two secrets are valid while one is replaced by another. Source: Stripe, "Verify webhook signatures
manually".
"""

import hmac
import re
from collections.abc import Sequence
from enum import StrEnum

TOLERANCE_S = 300
# Stripe sends one signature per valid secret; more is nobody's.
SIGNATURES_MAX = 8
HEADER_CHARACTERS_MAX = 4_096
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Fault(StrEnum):
    """Why a body is not Stripe's, as the answer says it."""

    MISSING = "The Stripe-Signature header is missing, or has no timestamp and v1 signature."
    WRONG = "No v1 signature in Stripe-Signature is that of this body with a secret of this endpoint."
    TOO_OLD = "The signature is older than five minutes."
    TOO_NEW = "The signature is of a time that has not come yet."


def find_fault(header: str, body: bytes, secrets: Sequence[str], now_s: float) -> Fault | None:
    """Why a body is refused; None where it is signed with one of ``secrets`` at about ``now_s`` (Unix time)."""
    timestamp, signatures = _read(header)
    if timestamp is None or not signatures:
        return Fault.MISSING
    message = f"{timestamp}.".encode() + body
    expected = [hmac.digest(secret.encode(), message, "sha256").hex() for secret in secrets if secret]
    # Every pair is compared, so that the time says nothing of which one it was.
    matches = [hmac.compare_digest(one, other) for one in expected for other in signatures]
    if not any(matches):
        return Fault.WRONG
    if timestamp < now_s - TOLERANCE_S:
        return Fault.TOO_OLD
    return Fault.TOO_NEW if timestamp > now_s + TOLERANCE_S else None


def _read(header: str) -> tuple[int | None, list[str]]:
    timestamp: int | None = None
    signatures: list[str] = []
    if len(header) > HEADER_CHARACTERS_MAX:
        return None, []
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        if name == "t" and value.isascii() and value.isdigit() and len(value) <= 12:
            timestamp = int(value)
        elif name == "v1" and _DIGEST.fullmatch(value):
            signatures.append(value)
    return timestamp, signatures[:SIGNATURES_MAX]
