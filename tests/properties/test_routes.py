"""Whatever the endpoints, their health and the preferences: the hard rules hold, and nobody is lost on the way."""

import json
from collections.abc import Sequence
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from router.errors import InvalidRequest, Refusal, UnknownParameter
from router.request.preferences import parse_preferences
from router.routing.choose import choose
from router.routing.filters import capability_exclusion, preference_exclusion
from router.routing.health import Health
from router.values import NO_PREFERENCES, Endpoint, EndpointState, Preferences, QuarantineCause, Route
from store.ids import AccountId, new_id
from tests.builders.values import a_model, an_endpoint

MODEL = a_model("org/m", space="a", numerics="bf16")
NAMES = ("alpha", "beta", "gamma")
REGIONS = ("eu", "us", "asia")


def subset(of: Sequence[str]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(of), max_size=3, unique=True).map(tuple)


_ENDPOINTS = st.builds(
    an_endpoint,
    st.sampled_from(NAMES),
    space=st.sampled_from(["a", "a", "a", "b"]),
    state=st.sampled_from([*[EndpointState.LIVE] * 6, *EndpointState]),
    priority=st.sampled_from([1, 100]),
    cost_nano_per_mtok=st.sampled_from([0, 10, 12, 30]),
    numerics=st.sampled_from([None, "int8", "fp16"]),
    regions=subset(REGIONS),
    collects_data=st.booleans(),
    retention_days=st.sampled_from([None, 0, 30]),
    weight=st.integers(1, 1000),
)
_PREFERENCES = st.builds(
    Preferences,
    order=subset(NAMES),
    only=subset(NAMES),
    ignore=st.lists(st.sampled_from(NAMES), max_size=1).map(tuple),
    sort=st.sampled_from([None, "price", "latency", "throughput"]),
    max_price=st.sampled_from([None, 5, 100]),
    allow_fallbacks=st.booleans(),
    data_collection=st.sampled_from(["allow", "deny"]),
    zero_retention=st.booleans(),
    quantizations=subset(["bf16", "int8", "fp16"]),
    regions=subset(REGIONS),
)
_EVENTS = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(["good", "bad", "liar", "429", "cold", "out", "queue"])), max_size=30
)
PRICE = 50


def a_health(endpoints: list[Endpoint], events: list[tuple[int, str]]) -> tuple[Health, float]:
    health, now = Health(), 0.0
    for number, event in events:
        if number >= len(endpoints):
            continue
        now += 0.7
        endpoint = endpoints[number].id
        health.start(endpoint, now)
        match event:
            case "good":
                health.record_success(endpoint, now, 0.1 * (number + 1), 1, 10)
            case "bad":
                health.record_failure(endpoint, now, "it broke")
            case "liar":
                health.record_failure(endpoint, now, "a bad answer", 3)
            case "429":
                health.record_pause(endpoint, now)
            case "cold":
                health.record_warming(endpoint, now, 2.0)
            case "out":
                health.quarantine(endpoint, QuarantineCause.SPACE_MISMATCH, "another space")
            case _:
                health.record_load(endpoint, 4.0, 1000, now)
                health.release(endpoint)
    return health, now


@settings(max_examples=600, deadline=None)
@given(
    st.lists(_ENDPOINTS, max_size=6), _PREFERENCES | st.just(NO_PREFERENCES), _EVENTS, st.integers(0, 99), st.booleans()
)
def test_no_hard_rule_is_ever_broken_and_every_candidate_is_accounted_for(
    endpoints: list[Endpoint], preferences: Preferences, events: list[tuple[int, str]], seed: int, with_account: bool
) -> None:
    health, now = a_health(endpoints, events)
    account = AccountId(new_id()) if with_account else None

    def pick() -> Route | Refusal:
        try:
            return choose(endpoints, MODEL, preferences, health, now, Random(seed).random, price=PRICE, account=account)
        except Refusal as refusal:
            return refusal

    route = pick()
    if isinstance(route, Refusal):
        out = route.left_out
        assert [choice.endpoint for choice in out] == endpoints
        assert all(choice.code and choice.left_out for choice in out)
        return
    assert route.order
    for endpoint in route.order:
        assert endpoint.space == MODEL.space
        assert capability_exclusion(endpoint, MODEL) is None
        assert preference_exclusion(endpoint, MODEL, preferences, PRICE) is None
        verdict = health.exclusion(endpoint.id, now)
        assert verdict is None or (verdict[0] == "breaker" and route.policy == "trial")
    ranked = [choice.endpoint for choice in route.ranked]
    left_out = [choice.endpoint for choice in route.left_out]
    assert sorted(e.id for e in (*ranked, *left_out)) == sorted(e.id for e in endpoints)
    assert list(route.order) == ranked
    assert route == pick(), "the same inputs and draws give the same plan"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=6,
)
KNOWN_FIELDS = (*Preferences.__struct_fields__,)
_FIELDS = st.sampled_from(KNOWN_FIELDS) | st.text(max_size=8)


def read(raw: bytes) -> Preferences | InvalidRequest:
    """What became of a provider object; anything else that is raised is a crash."""
    try:
        return parse_preferences(raw)
    except InvalidRequest as refusal:
        return refusal


def assert_is_a_good_refusal(refusal: InvalidRequest) -> None:
    assert len(refusal.message) < 600
    assert refusal.message.isprintable()
    assert (refusal.param or "").startswith("provider")


@settings(max_examples=1_000, deadline=None)
@given(st.dictionaries(_FIELDS, _JSON, max_size=4))
def test_any_provider_object_is_preferences_or_an_invalid_request(fields: dict[str, object]) -> None:
    preferences = read(json.dumps(fields).encode())
    if isinstance(preferences, InvalidRequest):
        assert_is_a_good_refusal(preferences)
        return
    # An unknown field whose value is null asks for nothing.
    assert {name for name, value in fields.items() if value is not None} <= set(KNOWN_FIELDS), (
        "an unknown field was taken"
    )
    assert preferences.max_price is None or 0 <= preferences.max_price < 2**63


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_preferences_or_an_invalid_request(raw: bytes) -> None:
    preferences = read(raw)
    if isinstance(preferences, InvalidRequest):
        assert_is_a_good_refusal(preferences)


@settings(max_examples=300, deadline=None)
@given(st.text(min_size=1, max_size=20).filter(lambda name: name not in KNOWN_FIELDS))
def test_an_unknown_preference_is_always_refused_by_name(name: str) -> None:
    refusal = read(json.dumps({"sort": "price", name: 1}).encode())
    assert isinstance(refusal, UnknownParameter)
    assert (refusal.param or "").startswith("provider.")


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 2**53), st.integers(0, 9))
def test_a_price_limit_is_exact_as_text_as_a_number_and_as_an_object(nano: int, decimals: int) -> None:
    text = f"{nano // 10**decimals}.{nano % 10**decimals:0{decimals}d}" if decimals else str(nano)
    expected = nano * 10 ** (9 - decimals)
    for value in (f'"{text}"', text, f'{{"prompt":"{text}"}}', f"{nano}e-{decimals}", f"{nano}E-0{decimals}"):
        assert parse_preferences(b'{"max_price":%s}' % value.encode()).max_price == min(expected, 2**63 - 1)
