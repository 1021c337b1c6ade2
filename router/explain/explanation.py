"""Builds the explanation of one call from its trace: one value that is stored as JSON. Pure.

Everything is in it, ours and the provider's too; who may see what of it is :mod:`router.explain.views`'s to decide.
Ids and amounts stay what they are (UUIDs, nano-USD): text for people is made when somebody asks.
"""

from collections.abc import Iterable
from datetime import datetime

import msgspec

from catalog.permit import decide, may_charge
from catalog.values import Decision
from router.errors import LicenseRestricted
from router.values import NO_PREFERENCES, AttemptRecord, Choice, Endpoint, Lane, Preferences, Trace
from store.ids import AccountId, EndpointId, KeyId, PriceId, RequestId

# How much of a provider's or an error's text is stored.
TEXT_MAX = 1_000


class CompletedCall(msgspec.Struct, frozen=True):
    """A call that is over, as the HTTP server saw it end. ``code``, ``message`` and ``detail`` are its refusal's.

    It holds neither the body nor the exception, whose traceback would keep the body alive.
    """

    request_id: RequestId
    at: datetime
    status: int
    took_ms: float
    trace: Trace
    code: str = ""
    message: str = ""
    detail: str = ""
    left_out: tuple[Choice, ...] = ()


class Candidate(msgspec.Struct, frozen=True, omit_defaults=True):
    """An endpoint that was considered. ``place`` is its turn, from 1; 0 where it was left out, and ``left_out`` why.

    ``code`` is the short name of that reason. ``chosen``: it answered; where nobody did, it was the first choice.
    ``facts`` are what it was ranked by.
    """

    endpoint: EndpointId
    provider: str
    state: str
    upstream_model: str
    place: int = 0
    chosen: bool = False
    left_out: str = ""
    code: str = ""
    facts: dict[str, float | None] = {}
    cost_nano_per_mtok: int = 0
    priority: int = 0
    weight: int = 0


class ExplainedAttempt(msgspec.Struct, frozen=True, omit_defaults=True):
    """One attempt; microseconds since the call began. ``outcome`` and ``reason`` are the provider kind's words."""

    endpoint: EndpointId
    provider: str
    why: str
    began_us: int
    took_us: int
    outcome: str
    reason: str = ""


class LicenseDecision(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whether the key may use the model, or money may be asked for it, and why (not)."""

    license: str
    allowed: bool
    reasons: tuple[str, ...] = ()
    attribution: str | None = None


class PriceUsed(msgspec.Struct, frozen=True):
    """The price in force for the call."""

    id: PriceId
    nano_per_mtok: int


class CostBound(msgspec.Struct, frozen=True):
    """What the call could cost at most: what is held for it, if ``held``. ``exact``: the tokens were counted."""

    tokens_max: int
    amount_nano: int
    exact: bool
    held: bool


class Timings(msgspec.Struct, frozen=True, omit_defaults=True):
    """Microseconds since the call began, as whole numbers; None for what it did not reach."""

    total_us: int
    admitted_us: int | None = None
    delivered_us: int | None = None
    charged_us: int | None = None


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why the call was refused or failed. ``detail`` was for the log only."""

    code: str
    message: str
    detail: str = ""


class Explanation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything about one call. ``cost_nano`` is what the customer owes for it, ``provider_cost_nano`` what we do.

    ``replayed``: an Idempotency-Key gave the stored answer of an earlier call, and nothing was done anew.
    """

    request_id: RequestId
    at: datetime
    status: int
    account: AccountId | None = None
    key: KeyId | None = None
    model: str = ""
    lane: Lane = Lane.INTERACTIVE
    inputs: int = 0
    preferences: Preferences = NO_PREFERENCES
    policy: str = ""
    space: str = ""
    candidates: tuple[Candidate, ...] = ()
    attempts: tuple[ExplainedAttempt, ...] = ()
    license: LicenseDecision | None = None
    price: PriceUsed | None = None
    bound: CostBound | None = None
    tokens: int | None = None
    provider_tokens: int | None = None
    cost_nano: int | None = None
    provider_cost_nano: int | None = None
    replayed: bool = False
    timings: Timings
    error: Fault | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Explanation).decode


def encode_explanation(explanation: Explanation) -> str:
    """Encode an explanation as the JSON that is stored."""
    return _encode(explanation).decode()


def decode_explanation(text: str | bytes) -> Explanation:
    """Decode a stored explanation; fields that a later release added are ignored."""
    return _decode(text)


def explain(call: CompletedCall) -> Explanation:
    """Build the explanation of a call that is over, or of a dry run."""
    trace = call.trace
    key, model, quote, used, route = trace.key, trace.model, trace.quote, trace.usage, trace.route
    price = quote.price if quote is not None else None
    answered = used.endpoint_id if used is not None else _answered(trace.attempts)
    return Explanation(
        request_id=call.request_id,
        at=call.at,
        status=call.status,
        account=key.account_id if key is not None else None,
        key=key.id if key is not None else None,
        model=model.id if model is not None else "",
        lane=trace.lane,
        inputs=trace.inputs,
        preferences=trace.preferences or NO_PREFERENCES,
        policy=route.policy if route is not None and not call.left_out else "",
        space=model.space if model is not None else "",
        candidates=_candidates(call, answered),
        attempts=tuple(map(_attempt, trace.attempts)),
        license=_license(_decision(call)),
        price=PriceUsed(price.id, price.nano_per_mtok) if price is not None else None,
        bound=_bound(trace),
        tokens=used.tokens if used is not None else None,
        provider_tokens=used.provider_tokens if used is not None else None,
        cost_nano=used.cost if used is not None else None,
        provider_cost_nano=used.provider_cost if used is not None else None,
        replayed=call.status == 200 and model is None,
        timings=_timings(call),
        error=Fault(call.code, _storable(call.message), _storable(call.detail)) if call.code else None,
    )


def _candidates(call: CompletedCall, answered: EndpointId | None) -> tuple[Candidate, ...]:
    """List candidates in the order of their turns, then the ones left out; only these where nobody was left at last."""
    route = call.trace.route
    if call.left_out or route is None:
        return tuple(map(_left_out, call.left_out))
    facts = {choice.endpoint.id: choice.facts for choice in route.ranked}
    found = [
        _candidate(
            endpoint,
            place=place,
            chosen=endpoint.id == answered if answered is not None else place == 1,
            facts=facts.get(endpoint.id) or {},
        )
        for place, endpoint in enumerate(route.order, start=1)
    ]
    return (*found, *map(_left_out, route.left_out))


def _left_out(choice: Choice) -> Candidate:
    return _candidate(choice.endpoint, left_out=_storable(choice.left_out or ""), code=choice.code, facts=choice.facts)


def _candidate(
    endpoint: Endpoint,
    *,
    facts: dict[str, float],
    place: int = 0,
    chosen: bool = False,
    left_out: str = "",
    code: str = "",
) -> Candidate:
    return Candidate(
        endpoint=endpoint.id,
        provider=endpoint.provider_name,
        state=endpoint.state.value,
        upstream_model=endpoint.upstream_model,
        place=place,
        chosen=chosen,
        left_out=left_out,
        code=code,
        facts=dict(facts),
        cost_nano_per_mtok=endpoint.cost_nano_per_mtok,
        priority=endpoint.priority,
        weight=endpoint.weight,
    )


def _answered(attempts: Iterable[AttemptRecord]) -> EndpointId | None:
    return next((one.endpoint.id for one in attempts if one.outcome == "answered"), None)


def _attempt(record: AttemptRecord) -> ExplainedAttempt:
    return ExplainedAttempt(
        endpoint=record.endpoint.id,
        provider=record.endpoint.provider_name,
        why=record.why,
        began_us=int(record.began_ms * 1000),
        took_us=int(record.took_ms * 1000),
        outcome=record.outcome,
        reason=_storable(record.reason),
    )


def _decision(call: CompletedCall) -> Decision | None:
    """The license decision; a "no" left the pipeline as an error, so it is made again here: the rule is pure."""
    trace = call.trace
    decision = trace.decision
    if trace.model is None or trace.key is None:
        return decision
    if decision is None:
        return decide(trace.model, trace.key.use, trace.key.accepted, call.at)
    return may_charge(trace.model, call.at) if call.code == LicenseRestricted.code else decision


def _license(decision: Decision | None) -> LicenseDecision | None:
    if decision is None:
        return None
    return LicenseDecision(decision.license, decision.allowed, decision.reasons, decision.attribution)


def _bound(trace: Trace) -> CostBound | None:
    """The bound by the hold's own quote where there is one: its tokens may have been counted exactly meanwhile."""
    quote = trace.hold.quote if trace.hold is not None else trace.quote
    if quote is None:
        return None
    return CostBound(quote.tokens_max, quote.amount_max, quote.exact, trace.hold is not None)


def _timings(call: CompletedCall) -> Timings:
    trace = call.trace
    # The event loop reads its clock once a turn, so that a step's time may begin before the request was seen: the whole
    # is never shown shorter than what it took until the charge.
    total_ms = max(call.took_ms, trace.charged_ms or 0.0)
    return Timings(
        total_us=int(total_ms * 1000),
        admitted_us=_us(trace.admitted_ms),
        delivered_us=_us(trace.delivered_ms),
        charged_us=_us(trace.charged_ms),
    )


def _us(value_ms: float | None) -> int | None:
    return None if value_ms is None else int(value_ms * 1000)


def _storable(text: str) -> str:
    """Make text fit for Postgres' JSON: no NUL, no half of a character, at most :data:`TEXT_MAX` characters."""
    if not text:
        return text
    return text[:TEXT_MAX].replace("\0", "").encode(errors="replace").decode()
