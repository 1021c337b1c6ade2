"""Plans a trial call before it is made: what it costs at most, by the steps that the call itself and its quote run.

Nothing is sent, held or written. What needs Redis (credit, caps, limits) is refused by the call alone.
"""

import asyncio
from datetime import datetime
from hashlib import sha256

import msgspec

from billing.values import Quote
from router.context import PlanningContext
from router.pipeline import choose_route, plan_call
from router.request.body import parse
from router.values import Key, RawCall, Trace
from store.ids import AccountId, KeyId, ModelId, RequestId, new_id

TEXTS_MAX = 5


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One call that a member wants: up to five texts, at the model's full width. ``once`` names the form it is of."""

    account_id: AccountId
    key_id: KeyId
    model_id: ModelId
    texts: tuple[str, ...]
    once: str

    @property
    def body(self) -> bytes:
        """The body of ``POST /v1/embeddings``. In base64 the numbers come exactly."""
        fields = {"model": self.model_id, "input": list(self.texts), "encoding_format": "base64"}
        return msgspec.json.encode(fields)

    @property
    def idempotency_key(self) -> str:
        """The same for the same texts of the same form by the same key: that call is charged once, however often sent.

        Another text, key or model is another call, and no mistake: its author has seen what it costs.
        """
        identity = [self.once.encode(), self.account_id.bytes, self.key_id.bytes, self.body]
        return f"trial-{sha256(b''.join(sha256(part).digest() for part in identity)).hexdigest()}"


def quote_trial(trial: Trial, key: Key, context: PlanningContext, now: datetime) -> Quote:
    """The most that the call costs. Raises the refusal that the call would get, as far as memory knows it."""
    clock = asyncio.get_running_loop().time
    call = RawCall(
        request_id=RequestId(new_id()),
        body=trial.body,
        authorization=None,
        idempotency_key=None,
        now=now,
        deadline_at=clock(),
        trace=Trace(began=clock(), key=key),
    )
    planned = plan_call(parse(call.body), call, key, context)
    choose_route(planned, context, clock())
    return planned.quote
