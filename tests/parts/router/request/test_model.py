"""A name in a request: exactly a model, or an answer that helps."""

import time
from datetime import UTC, datetime

import pytest

from catalog.models import Catalog
from catalog.values import Status
from router.errors import ModelNotAllowed, ModelNotFound, ModelNotLive
from router.registry.indexes import SANDBOX_ENDPOINT, EndpointIndex, PriceIndex
from router.request.model import resolve
from router.values import EndpointState, Key
from store.ids import ModelId
from tests.builders.values import a_key, a_model, a_price, an_endpoint


def a_key_for(*models: str) -> Key:
    return a_key(models=frozenset(map(ModelId, models)))


BGE = ModelId("BAAI/bge-m3")
CATALOG = Catalog(
    [
        a_model("openai/text-embedding-3-small", aliases=("text-embedding-3-small",)),
        a_model("openai/text-embedding-3-large"),
        a_model("openai/text-embedding-ada-002", status=Status.RETIRED),
        a_model("codefuse-ai/F2LLM-v2-4B", status=Status.COMING_SOON),
        a_model("codefuse-ai/F2LLM-v2-8B", status=Status.COMING_SOON),
        a_model("BAAI/bge-m3", status=Status.DEPRECATED),
    ]
)


def test_a_live_or_deprecated_model_is_found_by_its_exact_name_or_alias() -> None:
    assert resolve("BAAI/bge-m3", a_key(), CATALOG).id == "BAAI/bge-m3"
    assert resolve("text-embedding-3-small", a_key(), CATALOG).id == "openai/text-embedding-3-small"


def test_an_unknown_name_gets_openais_sentence_and_the_nearest_ids() -> None:
    with pytest.raises(ModelNotFound) as refusal:
        resolve("openai/text-embeding-3-smal", a_key(), CATALOG)
    assert refusal.value.message.startswith(
        "The model `openai/text-embeding-3-smal` does not exist or you do not have access to it."
    )
    nearest = refusal.value.details["nearest"]
    assert isinstance(nearest, list)
    assert (nearest[0], len(nearest), refusal.value.param) == ("openai/text-embedding-3-small", 3, "model")
    assert "`openai/text-embedding-3-small`" in refusal.value.message


def test_a_key_with_a_list_of_models_is_shown_nothing_else() -> None:
    with pytest.raises(ModelNotFound) as refusal:
        resolve("openai/text-embedding-3-smal", a_key_for("BAAI/bge-m3", "openai/text-embedding-3-large"), CATALOG)
    assert refusal.value.details["nearest"] == ["openai/text-embedding-3-large"]


def test_a_model_outside_the_keys_list_is_named_with_what_is_inside() -> None:
    with pytest.raises(ModelNotAllowed, match=r"It may use: openai/text-embedding-3-large"):
        resolve("BAAI/bge-m3", a_key_for("openai/text-embedding-3-large"), CATALOG)


def test_an_announced_model_asks_for_a_vote_and_a_retired_one_does_not() -> None:
    with pytest.raises(ModelNotLive, match="Vote for it") as soon:
        resolve("codefuse-ai/F2LLM-v2-4B", a_key(), CATALOG)
    assert soon.value.details == {"status": "coming_soon"}
    with pytest.raises(ModelNotLive, match="retired"):
        resolve("openai/text-embedding-ada-002", a_key(), CATALOG)


def test_a_hostile_name_costs_the_event_loop_little_and_is_not_echoed_whole() -> None:
    many = Catalog([a_model(f"org{i}/model-{i}") for i in range(500)])
    began = time.thread_time()
    with pytest.raises(ModelNotFound) as refusal:
        resolve("org1/" * 200_000, a_key(), many)
    assert time.thread_time() - began < 0.05
    assert len(refusal.value.message) < 500


def at(day: int) -> datetime:
    return datetime(2026, 11, day, tzinfo=UTC)


def test_the_price_in_force_is_the_latest_whose_instant_has_come() -> None:
    prices = PriceIndex(
        [a_price(nano, model_id=BGE, effective_at=at(day)) for nano, day in ((20, 10), (10, 1), (30, 20))]
    )
    found = [prices.current(BGE, at(day)) for day in (1, 9, 10, 25)]
    assert [price.nano_per_mtok for price in found if price] == [10, 10, 20, 30]
    assert prices.current(BGE, datetime(2026, 10, 31, tzinfo=UTC)) is None
    assert prices.current(ModelId("openai/x"), at(25)) is None


def test_drafts_and_endpoints_that_are_off_are_no_candidates_and_the_smallest_priority_goes_first() -> None:
    model = a_model("BAAI/bge-m3")
    states = {state: an_endpoint(model_id=model.id, state=state, priority=1) for state in EndpointState}
    first = an_endpoint(model_id=model.id, priority=0)
    index = EndpointIndex([*states.values(), first])
    candidates = index.candidates(model, a_key())
    assert candidates[0] == first
    assert {e.state for e in candidates} == set(EndpointState) - {EndpointState.DRAFT, EndpointState.OFF}


def test_a_test_key_is_answered_by_the_sandbox_even_where_nothing_serves() -> None:
    model = a_model("BAAI/bge-m3")
    (endpoint,) = EndpointIndex().candidates(model, a_key(is_test=True))
    assert (endpoint.id, endpoint.space, endpoint.cost_nano_per_mtok) == (SANDBOX_ENDPOINT, model.space, 0)
    assert EndpointIndex().candidates(model, a_key()) == []
