"""Delivers Stripe's events as Stripe does: signed, and as often, as late and in whatever order a test wants."""

import hashlib
import hmac
import json
import time
from collections.abc import Iterable

import httpx

from tests.harness.stripe_world import Json

SECRET = "whsec_" + "a" * 32


def sign(body: bytes, secret: str = SECRET, *, at: int | None = None, scheme: str = "v1") -> str:
    """The value of ``Stripe-Signature``."""
    moment = int(time.time()) if at is None else at
    digest = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={moment},{scheme}={digest}"


def classic(event: Json) -> bytes:
    """An event with its object, as webhooks have sent it since ever."""
    return json.dumps(event, indent=2).encode()


def thin(event: Json) -> bytes:
    """An event that only names its object."""
    subject = event["data"]["object"]
    body = {
        "id": event["id"],
        "object": "v2.core.event",
        "type": f"v1.{event['type']}",
        "livemode": event["livemode"],
        "created": "2026-11-27T22:00:00.000Z",
        "related_object": {"id": subject["id"], "type": subject["object"], "url": f"/v1/{subject['id']}"},
    }
    return json.dumps(body).encode()


def post(url: str, body: bytes, signature: str | None = None) -> httpx.Response:
    headers = {"stripe-signature": sign(body) if signature is None else signature}
    return httpx.post(f"{url}/v1/stripe/webhook", content=body, headers=headers, timeout=30)


def deliver(url: str, events: Iterable[Json]) -> None:
    """One after another; each is answered 200."""
    for event in events:
        answer = post(url, classic(event))
        assert answer.status_code == 200, answer.text
