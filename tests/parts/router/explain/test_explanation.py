"""What is told of a call, and what of it a customer never sees."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import pytest

from billing.money import NanoUSD
from catalog.models import Catalog
from catalog.permit import decide
from catalog.values import Claim, Use
from providers.outcomes import Failure
from router.dispatch.state import DispatchState
from router.dry_run import AllEndpoints, PlanningSnapshot
from router.errors import LicenseRestricted, ModelWarming, NoEndpoint, Refusal
from router.explain.explanation import CompletedCall, Explanation, decode_explanation, encode_explanation, explain
from router.explain.views import CallRecord, customer_view, ops_view
from router.pipeline import PlannedCall, choose_route, deliver
from router.registry.indexes import PriceIndex
from router.request.model import permit
from router.response.wait import waiting_route
from router.routing.health import Health
from router.routing.public_reasons import OUTCOMES
from router.values import AttemptRecord, Choice, Endpoint, Lane, Preferences, RawCall, Route, Trace
from store.ids import ClaimId, RequestId, new_id
from tests.builders.routing import MODEL
from tests.builders.values import NOW, a_hold, a_key, a_model, a_request, a_usage, an_endpoint

# Nothing of these may be in a customer's view.
UPSTREAM_NAME, UPSTREAM_WORDS, LOGGED = "canary-upstream-name", "canary-upstream-words", "canary-detail"
OUR_COST = 123_456_789


def a_secretive_endpoint(provider_name: str) -> Endpoint:
    return an_endpoint(
        provider_name, upstream_model=UPSTREAM_NAME, cost_nano_per_mtok=OUR_COST, weight=4711, priority=4712
    )


ALPHA, BETA, GAMMA = (a_secretive_endpoint(name) for name in ("alpha", "beta", "gamma"))
FACTS = {"latency_ms": 12.5, "cost_nano_per_mtok": OUR_COST, "score": 4713.0}


def a_failover() -> CompletedCall:
    """Gamma is left out, alpha fails, beta answers."""
    key = a_key()
    hold = a_hold()
    route = Route(
        order=(ALPHA, BETA),
        left_out=(Choice(GAMMA, f"its breaker is open: {UPSTREAM_WORDS}", code="breaker"),),
        ranked=(Choice(ALPHA, None, FACTS), Choice(BETA, None, FACTS)),
        policy="balanced",
    )
    trace = Trace(
        key=key,
        model=a_model(),
        preferences=Preferences(sort="price"),
        inputs=1,
        quote=hold.quote,
        route=route,
        hold=hold,
        attempts=[
            AttemptRecord(ALPHA, "first", 1.0, 30.0, "Broken", UPSTREAM_WORDS),
            AttemptRecord(BETA, "next", 31.0, 8.0, "answered"),
        ],
        usage=a_usage(endpoint_id=BETA.id, cost=NanoUSD(80), provider_cost=NanoUSD(77)),
        admitted_ms=0.9,
        delivered_ms=39.5,
        charged_ms=41.0,
    )
    return CompletedCall(RequestId(new_id()), NOW, 200, 41.6, trace, detail=LOGGED)


def kept(ended: CompletedCall) -> Explanation:
    """As it is read back."""
    return decode_explanation(encode_explanation(explain(ended)))


def test_an_explanation_is_read_back_as_it_was_written() -> None:
    explanation = explain(a_failover())
    assert decode_explanation(encode_explanation(explanation)) == explanation


def test_every_candidate_is_told_with_its_place_or_why_it_was_left_out() -> None:
    view = customer_view(CallRecord(kept(a_failover()), None))
    assert [(c.provider, c.place, c.chosen, c.left_out, c.code) for c in view.candidates] == [
        ("alpha", 1, False, None, ""),
        ("beta", 2, True, None, ""),
        ("gamma", None, False, "its breaker is open", "breaker"),
    ]
    assert [(a.provider, a.why, a.outcome, a.took_ms) for a in view.attempts] == [
        ("alpha", "first", "failed", 30.0),
        ("beta", "next", "answered", 8.0),
    ]
    assert (view.policy, view.preferences.sort, view.candidates[0].facts) == ("balanced", "price", {"latency_ms": 12.5})


def test_what_is_ours_and_what_is_a_providers_is_told_to_operators_alone() -> None:
    failed = msgspec.structs.replace(a_failover(), status=503, code="provider_unavailable", message="All failed.")
    customer = msgspec.json.encode(customer_view(CallRecord(kept(failed), None))).decode()
    ops = msgspec.json.encode(ops_view(CallRecord(kept(failed), None))).decode()
    for canary in (UPSTREAM_NAME, UPSTREAM_WORDS, LOGGED, "0.123456789", str(OUR_COST), "4711", "4712", "4713"):
        assert canary not in customer
        assert canary in ops
    view = ops_view(CallRecord(kept(failed), None))
    assert (view.cost, view.provider_cost, view.margin) == ("0.00000008", "0.000000077", "0.000000003")


def test_an_answered_call_that_is_not_charged_yet_does_not_say_that_it_cost_nothing() -> None:
    answered = customer_view(CallRecord(kept(a_failover()), None))
    assert (answered.cost, answered.charge, answered.charge_pending) == ("0.00000008", None, True)
    failed = a_failover()
    failed.trace.usage = None
    assert not customer_view(CallRecord(kept(failed), None)).charge_pending


def leaves(kind: type[Failure]) -> Iterator[str]:
    children = kind.__subclasses__()
    if not children or kind.__name__ == "CallerFault":
        yield kind.__name__
    for child in children:
        yield from leaves(child)


@pytest.mark.parametrize("outcome", sorted({*leaves(Failure)} | {"answered", "canceled"}))
def test_every_way_in_which_an_attempt_ends_has_words_for_a_customer(outcome: str) -> None:
    assert outcome in OUTCOMES


def test_a_license_that_says_no_is_told_with_its_reasons() -> None:
    claim = Claim(ClaimId(new_id()), "CC-BY-NC-4.0", "tests", "tests", NOW.date())
    model, key = a_model(claims=(claim,)), a_key(use=Use.COMMERCIAL)
    with pytest.raises(LicenseRestricted) as refused:
        permit(model, key, NOW)
    trace = Trace(key=key, model=model)
    ended = CompletedCall(RequestId(new_id()), NOW, 403, 1.0, trace, refused.value.code, refused.value.message)
    decision = kept(ended).license
    assert decision is not None
    assert (decision.allowed, decision.license) == (False, "CC-BY-NC-4.0")
    assert decision.reasons


def test_where_nobody_can_take_a_call_each_is_told_with_its_reason() -> None:
    nobody = NoEndpoint("Nobody.")
    nobody.left_out = (Choice(ALPHA, "it is draining"), Choice(BETA, "it asked for patience"))
    ended = CompletedCall(RequestId(new_id()), NOW, 503, 1.0, Trace(key=a_key()), nobody.code, "", "", nobody.left_out)
    assert [c.left_out for c in kept(ended).candidates] == ["it is draining", "it asked for patience"]


@pytest.mark.parametrize("gone", [False, True])
def test_a_call_that_waited_in_vain_is_told_whom_it_waited_for(gone: bool) -> None:
    async def scenario() -> CompletedCall:
        loop, cold = asyncio.get_running_loop(), an_endpoint(space=MODEL.space)
        health, trace = Health(), Trace(began=loop.time(), key=a_key())
        health.record_warming(cold.id, loop.time(), 60.0)
        call = RawCall(
            RequestId(new_id()), b"", None, None, NOW, loop.time() + 5, lambda: gone, wait_s=0.05, trace=trace
        )

        key, hold = a_key(), a_hold()
        decision = decide(MODEL, key.use, key.accepted, NOW)
        planned = PlannedCall(a_request("x"), key, MODEL, decision, hold.quote, Lane.INTERACTIVE)
        context = PlanningSnapshot(Catalog([MODEL]), PriceIndex(), AllEndpoints([cold]), health, float)
        # Without a provider nothing can be sent to a model that is not there.
        state = DispatchState(providers={}, health=health, quota=None)  # type: ignore[arg-type]
        with pytest.raises(ModelWarming) as warming:
            choose_route(planned, context, loop.time())
        trace.route = route = waiting_route(call, warming.value)
        with pytest.raises(Refusal) as refused:
            await deliver(call, planned, route, hold, context, state)
        left_out = getattr(refused.value, "left_out", ())
        return CompletedCall(call.request_id, NOW, 503, 50.0, trace, refused.value.code, "", "", left_out)

    told = kept(asyncio.run(scenario()))
    assert [(c.code, c.left_out, c.chosen) for c in told.candidates] == [
        ("warming", "its model is being loaded", False)
    ]


def test_a_choice_that_was_made_anew_and_left_nobody_replaces_the_first_one() -> None:
    nobody = (Choice(ALPHA, "it is quarantined", code="quarantined"),)
    first = Route((ALPHA,), (), (Choice(ALPHA),), "only")
    trace = Trace(key=a_key(), route=first, attempts=[AttemptRecord(ALPHA, "first", 1.0, 2.0, "Warming")])
    told = kept(CompletedCall(RequestId(new_id()), NOW, 503, 9.0, trace, "no_provider_available", "", "", nobody))
    assert [(c.place, c.chosen, c.left_out) for c in told.candidates] == [(0, False, "it is quarantined")]
    assert told.policy == ""
    assert [one.outcome for one in told.attempts] == ["Warming"]


def test_words_that_postgres_would_not_take_are_made_fit() -> None:
    ended = CompletedCall(
        RequestId(new_id()), NOW, 500, 1.0, Trace(key=a_key()), "internal_error", "a\0b", "\ud800" + "x" * 9999
    )
    error = kept(ended).error
    assert error is not None
    assert error.message == "ab"
    assert len(error.detail) == 1000


def test_an_answer_that_was_stored_says_that_nothing_was_done_anew() -> None:
    assert kept(CompletedCall(RequestId(new_id()), datetime.now(UTC), 200, 1.0, Trace(key=a_key()))).replayed
