"""Pure. Reads what Stripe tells: which object an event is about, and so which work it makes.

A subject is ``<kind>:<id>``. An event is only a hint that its object changed: jobs read the object again, so the order,
the number and the content of events do not matter. A classic body has the object, a thin one only names it.
"""

import re
from typing import Literal

import msgspec

from billing.stripe.values import Event

# The largest event that Stripe sends is some 100 KB; more is not read.
BODY_BYTES_MAX = 512 * 1024
_ID = re.compile(r"[A-Za-z0-9_]{3,120}")

# The kinds of objects that something is done about, and the noun of their subjects.
NOUNS = {
    "checkout.session": "session",
    "payment_intent": "intent",
    "invoice": "invoice",
    "charge": "charge",
    "refund": "refund",
    "dispute": "dispute",
    "payout": "payout",
}
# What a sweep reads again, and what the endpoint at Stripe is to be subscribed to.
TYPES = (
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.expired",
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "invoice.paid",
    "invoice.payment_failed",
    "invoice.payment_action_required",
    "invoice.voided",
    "invoice.marked_uncollectible",
    "charge.refunded",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "radar.early_fraud_warning.created",
    "payout.paid",
    "payout.failed",
)


class Notice(msgspec.Struct, frozen=True):
    """An event without what it says of its object; ``subject`` is empty where nothing is to be done."""

    id: str
    type: str
    subject: str
    livemode: bool


class _Named(msgspec.Struct):
    id: str
    object: str = ""
    type: str = ""


class _Data(msgspec.Struct):
    object: _Named


class _Classic(msgspec.Struct, tag_field="object", tag="event"):
    id: str
    type: str
    livemode: bool
    data: _Data


class _Thin(msgspec.Struct, tag_field="object", tag="v2.core.event"):
    id: str
    type: str
    livemode: bool
    related_object: _Named | None = None


def read_notice(body: bytes) -> Notice:
    """Read a webhook's body. Raises ``ValueError`` for what is no event."""
    if len(body) > BODY_BYTES_MAX:
        raise ValueError("too large")
    try:
        event: _Classic | _Thin = msgspec.json.decode(body, type=_Classic | _Thin)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise ValueError("not an event of Stripe's") from fault
    if isinstance(event, _Classic):
        kind, object_id = event.data.object.object, event.data.object.id
    else:
        related = event.related_object
        kind, object_id = (related.type, related.id) if related else ("", "")
    kind_of_event = event.type.removeprefix("v1.")
    for text in (event.id, kind_of_event.replace(".", "_")):
        if not _ID.fullmatch(text):
            raise ValueError("not an id")
    return Notice(event.id, kind_of_event, subject_of(kind_of_event, kind, object_id, event.id), event.livemode)


def notice_of(event: Event) -> Notice:
    """The same from Stripe's list of events."""
    return Notice(
        event.id, event.type, subject_of(event.type, event.object_kind, event.object_id, event.id), event.livemode
    )


def subject_of(event_type: str, kind: str, object_id: str, event_id: str) -> str:
    """What is to be read again; empty for events that change nothing here.

    Stripe's API has no retrieval of an early fraud warning in our contract: the event itself is read again.
    """
    if event_type.startswith("radar.early_fraud_warning."):
        return f"warning:{event_id}"
    noun = NOUNS.get(kind)
    return f"{noun}:{object_id}" if noun is not None and _ID.fullmatch(object_id) else ""


Source = Literal["webhook", "list"]
