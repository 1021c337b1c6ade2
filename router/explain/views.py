"""Shows an explanation to the call's customer and to operators, each with what they may see. Pure.

A customer sees which endpoints were called, when, how that ended and what it cost them. What a provider charges us, the
name that a model has there, our weights and a provider's own words are for operators only. Money is read from the usage
event.
"""

from datetime import UTC, datetime
from typing import Any

import msgspec

from billing.money import Agreement, femto_to_usd, to_usd
from billing.shares import ChargeDetail, GrantShare, charge_detail
from billing.values import UsageEvent
from router.explain.explanation import (
    Candidate,
    CostBound,
    ExplainedAttempt,
    Explanation,
    Fault,
    LicenseDecision,
    Timings,
)
from router.explain.price_view import PriceInForceOut, price_out
from router.routing.public_reasons import PUBLIC_FACTS, public_outcome, public_reason
from router.values import Preferences
from store.ids import AccountId, EndpointId, EntryId, GrantId, KeyId, RequestId, wire


class CandidateOut(msgspec.Struct, frozen=True):
    """An endpoint of the model. ``place`` is its turn, null where it was left out, and ``left_out`` says why.

    ``code`` is the short and stable name of that reason.
    """

    provider: str
    endpoint: str
    state: str
    place: int | None
    chosen: bool
    left_out: str | None
    code: str
    facts: dict[str, float | None]


class AttemptOut(msgspec.Struct, frozen=True):
    """One attempt, in milliseconds since the call began."""

    provider: str
    endpoint: str
    why: str
    began_ms: float
    took_ms: float
    outcome: str
    reason: str


class LicenseOut(msgspec.Struct, frozen=True):
    """What the model's license said to this key's use."""

    license: str
    allowed: bool
    reasons: tuple[str, ...]
    attribution: str | None


class HoldOut(msgspec.Struct, frozen=True):
    """The most that the call could cost, in USD; ``held`` says that credit was set aside for it."""

    amount: str
    tokens_max: int
    exact: bool
    held: bool


class GrantShareOut(msgspec.Struct, frozen=True):
    """How much one grant paid, in USD."""

    grant: str
    kind: str
    amount: str


class ChargeOut(msgspec.Struct, frozen=True):
    """What was charged, in USD, the ledger's entry of it, which grants paid, and what it was made from.

    ``exact`` is tokens times price, ``rounding`` what was added to reach a billionth of a dollar, ``forgiven`` what was
    left out because the call held less. ``debt`` is what the credit did not reach: exact + rounding - forgiven is
    amount + debt. ``grants`` is null where that is not known.
    """

    amount: str
    tokens: int
    entry: str | None
    debt: str
    exact: str
    rounding: str
    forgiven: str
    grants: tuple[GrantShareOut, ...] | None


class ErrorOut(msgspec.Struct, frozen=True):
    """The error that the call was answered with."""

    code: str
    message: str


class PreferencesOut(msgspec.Struct, frozen=True):
    """The ``provider`` object of the call; ``max_price`` in USD per million tokens."""

    order: tuple[str, ...]
    only: tuple[str, ...]
    ignore: tuple[str, ...]
    sort: str | None
    max_price: str | None
    allow_fallbacks: bool
    data_collection: str
    zero_retention: bool
    quantizations: tuple[str, ...]
    regions: tuple[str, ...]
    space: str | None
    hedge: bool


class TimingsOut(msgspec.Struct, frozen=True):
    """Milliseconds since the call began; null for what it did not reach."""

    admitted_ms: float | None
    delivered_ms: float | None
    charged_ms: float | None
    total_ms: float


class RequestOut(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one call. ``explained`` false: only the charge is left of it, and ``lane`` is null.

    ``cost`` is what the call comes to and ``charge`` what was booked. Null means that nothing was charged, unless
    ``charge_pending``: the call was answered before its charge was written down, which is about to happen.
    """

    id: str
    object: str = "request"
    created_at: str
    status: int | None
    account: str | None
    key: str | None
    model: str
    space: str
    lane: str | None
    inputs: int
    preferences: PreferencesOut
    policy: str
    candidates: tuple[CandidateOut, ...]
    attempts: tuple[AttemptOut, ...]
    license: LicenseOut | None
    price: PriceInForceOut | None
    hold: HoldOut | None
    cost: str | None
    charge: ChargeOut | None
    charge_pending: bool
    timings: TimingsOut | None
    error: ErrorOut | None
    replayed: bool
    explained: bool
    currency: str = "USD"


class OpsCandidateOut(CandidateOut, frozen=True):
    """With what it costs us and what it is ranked by."""

    upstream_model: str
    cost_usd_per_mtok: str
    priority: int
    weight: int


class OpsRequestOut(RequestOut, frozen=True, kw_only=True):
    """With our cost, the margin, the provider's own count, and what the log was told."""

    candidates: tuple[OpsCandidateOut, ...]
    provider_cost: str | None
    margin: str | None
    provider_tokens: int | None
    overdraft: str | None
    detail: str


class CallRecord(msgspec.Struct, frozen=True):
    """The records of a call: its explanation, its usage event, or both; with the event how it came to its charge.

    ``agreement`` is what made its price, where that is a contract's.
    """

    explanation: Explanation | None
    usage: UsageEvent | None
    charge: ChargeDetail | None = None
    agreement: Agreement | None = None

    @property
    def account_id(self) -> AccountId | None:
        """Whose call it was."""
        if self.usage is not None:
            return self.usage.account_id
        return self.explanation.account if self.explanation is not None else None


def customer_view(record: CallRecord) -> RequestOut:
    """Build what the call's account may see."""
    explanation = _explanation(record)
    return RequestOut(
        **_shared(record, explanation),
        candidates=tuple(map(_candidate_for_customer, explanation.candidates)),
        attempts=tuple(map(_attempt_for_customer, explanation.attempts)),
    )


def ops_view(record: CallRecord) -> OpsRequestOut:
    """Build what operators see: everything."""
    explanation, usage = _explanation(record), record.usage
    cost = usage.provider_cost_nano if usage is not None else explanation.provider_cost_nano
    income = usage.charged_nano if usage is not None else explanation.cost_nano
    return OpsRequestOut(
        **_shared(record, explanation),
        candidates=tuple(map(_candidate_for_ops, explanation.candidates)),
        attempts=tuple(_attempt(one, one.outcome, one.reason) for one in explanation.attempts),
        provider_cost=_usd(cost),
        margin=None if cost is None or income is None else to_usd(income - cost),
        provider_tokens=usage.provider_tokens if usage is not None else explanation.provider_tokens,
        overdraft=None if usage is None else to_usd(usage.overdraft_nano),
        detail=explanation.error.detail if explanation.error is not None else "",
    )


def _explanation(record: CallRecord) -> Explanation:
    """The explanation, or as much of one as the usage event has."""
    if record.explanation is not None:
        return record.explanation
    usage = record.usage
    assert usage is not None, "a call without any record was shown; this is a bug"
    return Explanation(
        request_id=usage.request_id,
        at=usage.occurred_at,
        status=200,
        account=usage.account_id,
        key=usage.key_id,
        model=usage.model_id,
        space=usage.space,
        inputs=usage.inputs,
        timings=Timings(total_us=0),
    )


def _shared(record: CallRecord, explanation: Explanation) -> dict[str, Any]:
    usage, explained = record.usage, record.explanation is not None
    return {
        "id": wire(RequestId, explanation.request_id),
        "created_at": _instant(explanation.at),
        "status": explanation.status or None,
        "account": None if explanation.account is None else wire(AccountId, explanation.account),
        "key": None if explanation.key is None else wire(KeyId, explanation.key),
        "model": explanation.model,
        "space": explanation.space,
        "lane": explanation.lane.value if explained else None,
        "inputs": explanation.inputs,
        "preferences": _preferences(explanation.preferences),
        "policy": explanation.policy,
        "license": None if explanation.license is None else license_out(explanation.license),
        "price": _price(explanation, usage, record.agreement),
        "hold": _hold(explanation.bound),
        "cost": _usd(usage.cost_nano if usage is not None else explanation.cost_nano),
        "charge": None if usage is None else _charge(usage, record.charge),
        "charge_pending": usage is None and explanation.cost_nano is not None,
        "timings": _timings(explanation.timings) if explained else None,
        "error": _error(explanation.error),
        "replayed": explanation.replayed,
        "explained": explained,
    }


def license_out(decision: LicenseDecision) -> LicenseOut:
    """Convert a license decision to its form in the API."""
    return LicenseOut(decision.license, decision.allowed, decision.reasons, decision.attribution)


def _price(explanation: Explanation, usage: UsageEvent | None, agreement: Agreement | None) -> PriceInForceOut | None:
    if usage is not None:
        return price_out(usage.price_id, usage.nano_per_mtok, agreement)
    if explanation.price is not None:
        return price_out(explanation.price.id, explanation.price.nano_per_mtok, agreement)
    return None


def _hold(bound: CostBound | None) -> HoldOut | None:
    return None if bound is None else HoldOut(to_usd(bound.amount_nano), bound.tokens_max, bound.exact, bound.held)


def _charge(usage: UsageEvent, known: ChargeDetail | None) -> ChargeOut:
    detail = known or charge_detail(usage.tokens, usage.nano_per_mtok, usage.cost_nano, None)
    return ChargeOut(
        amount=to_usd(usage.charged_nano),
        tokens=usage.tokens,
        entry=None if usage.entry_id is None else wire(EntryId, usage.entry_id),
        debt=to_usd(usage.overdraft_nano),
        exact=femto_to_usd(detail.exact_femto),
        rounding=femto_to_usd(detail.rounded_up_femto),
        forgiven=to_usd(detail.forgiven),
        grants=None if detail.grants is None else tuple(map(grant_share_out, detail.grants)),
    )


def grant_share_out(share: GrantShare) -> GrantShareOut:
    """Convert a grant's share to its form in the API."""
    return GrantShareOut(wire(GrantId, share.grant), share.kind, to_usd(share.amount))


def _error(fault: Fault | None) -> ErrorOut | None:
    return None if fault is None else ErrorOut(fault.code, fault.message)


def _candidate_for_customer(candidate: Candidate) -> CandidateOut:
    return CandidateOut(
        provider=candidate.provider,
        endpoint=wire(EndpointId, candidate.endpoint),
        state=candidate.state,
        place=candidate.place or None,
        chosen=candidate.chosen,
        left_out=public_reason(candidate.left_out) or None,
        code=candidate.code,
        facts={name: value for name, value in candidate.facts.items() if name in PUBLIC_FACTS},
    )


def _candidate_for_ops(candidate: Candidate) -> OpsCandidateOut:
    return OpsCandidateOut(
        provider=candidate.provider,
        endpoint=wire(EndpointId, candidate.endpoint),
        state=candidate.state,
        place=candidate.place or None,
        chosen=candidate.chosen,
        left_out=candidate.left_out or None,
        code=candidate.code,
        facts=candidate.facts,
        upstream_model=candidate.upstream_model,
        cost_usd_per_mtok=to_usd(candidate.cost_nano_per_mtok),
        priority=candidate.priority,
        weight=candidate.weight,
    )


def _attempt_for_customer(attempt: ExplainedAttempt) -> AttemptOut:
    return _attempt(attempt, *public_outcome(attempt.outcome))


def _attempt(attempt: ExplainedAttempt, outcome: str, reason: str) -> AttemptOut:
    return AttemptOut(
        provider=attempt.provider,
        endpoint=wire(EndpointId, attempt.endpoint),
        why=attempt.why,
        began_ms=attempt.began_us / 1000,
        took_ms=attempt.took_us / 1000,
        outcome=outcome,
        reason=reason,
    )


def _preferences(wanted: Preferences) -> PreferencesOut:
    fields = {name: getattr(wanted, name) for name in PreferencesOut.__struct_fields__}
    return PreferencesOut(**(fields | {"max_price": _usd(wanted.max_price)}))


def _timings(timings: Timings) -> TimingsOut:
    return TimingsOut(
        _ms(timings.admitted_us), _ms(timings.delivered_us), _ms(timings.charged_us), timings.total_us / 1000
    )


def _ms(value_us: int | None) -> float | None:
    return None if value_us is None else value_us / 1000


def _usd(amount: int | None) -> str | None:
    return None if amount is None else to_usd(amount)


def _instant(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
