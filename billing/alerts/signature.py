"""Pure. Signs what is sent to webhooks as Standard Webhooks does: HMAC-SHA256 of ``<id>.<timestamp>.<body>``.

Source: https://github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md. Each secret signs, so that a
receiver may take its time to learn a new one. Only ``jobs`` signs.
"""

from collections.abc import Sequence
from datetime import datetime

from standardwebhooks import Webhook


def signed_headers(delivery_id: str, at: datetime, body: str, secrets: Sequence[str]) -> dict[str, str]:
    """The three headers by which a receiver knows the sender, the bytes and the time; ``at`` in UTC."""
    signatures = [Webhook(secret).sign(delivery_id, at, body) for secret in secrets]
    return {
        "webhook-id": delivery_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
