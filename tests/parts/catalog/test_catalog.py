import random
import time
from typing import Any

import pytest

from catalog import Catalog, ModelUnknown
from catalog.model_columns import columns_of
from catalog.models import get
from catalog.seed import shipped
from catalog.spaces import space_of
from store.ids import ModelId
from store.postgres import Database
from tests.builders.values import a_model

SHIPPED = Catalog([a_model(model.id, aliases=model.aliases) for model in shipped()])


def test_an_openai_customer_changes_nothing() -> None:
    for name in ("text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002"):
        model = SHIPPED.get(name)
        assert model is not None
        assert model.id == f"openai/{name}"


def test_names_are_exact_and_an_id_goes_before_an_alias() -> None:
    catalog = Catalog([a_model("a/b"), a_model("c/d", aliases=("a/b", "d"))])
    assert catalog.get("A/B") is None
    assert (catalog.get("a/b") or a_model("x/x")).id == "a/b"
    assert (catalog.get("d") or a_model("x/x")).id == "c/d"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("text-embeding-3-small", "openai/text-embedding-3-small"),
        ("F2LLM-v2-4b", "codefuse-ai/F2LLM-v2-4B"),
        ("codefuse-ai/F2LLM-4B", "codefuse-ai/F2LLM-v2-4B"),
        ("all-minilm-l6", "sentence-transformers/all-MiniLM-L6-v2"),
        ("voyage/voyage-4", "voyageai/voyage-4"),
    ],
)
def test_a_near_miss_names_the_model_that_was_meant_first(typed: str, meant: str) -> None:
    nearest = SHIPPED.nearest(typed)
    assert nearest[0] == meant
    assert len(nearest) <= 3


def test_only_models_that_a_key_may_use_are_named_and_nothing_for_nonsense() -> None:
    allowed = frozenset({ModelId("openai/text-embedding-3-large")})
    assert SHIPPED.nearest("text-embedding-3-small", allowed) == ["openai/text-embedding-3-large"]
    assert SHIPPED.nearest("%%%%") == []


def test_a_hostile_name_does_not_hold_the_event_loop() -> None:
    rng = random.Random(7)
    letters = "".join(rng.choice("text-embding/f2lmv") for _ in range(1_000_000))
    # The thread's own time: others may have the machine meanwhile.
    begun = time.thread_time()
    SHIPPED.nearest(letters)
    assert time.thread_time() - begun < 0.05


@pytest.mark.anyio
async def test_a_model_that_is_not_there_is_answered_with_its_neighbors(seeded: Database) -> None:
    with pytest.raises(ModelUnknown, match="codefuse-ai/F2LLM-v2-4B"):
        async with seeded.transaction() as db:
            await get(db, "codefuse-ai/F2LLM-v2-4b")


def test_a_space_changes_with_everything_that_makes_vectors_incomparable() -> None:
    facts: dict[str, Any] = {
        "revision": "e04d1a04f4a0e154bf43969d3dcc596bbd92b1f8",
        "owned_by": "codefuse-ai",
        "pooling": "last-token",
        "normalized": True,
        "prompts": {"query": "Query: ", "document": ""},
        "numerics": "bf16",
    }
    name = space_of("codefuse-ai/F2LLM-v2-4B", **facts)
    changes: list[dict[str, object]] = [
        {"revision": "ffffffff"},
        {"pooling": "mean"},
        {"normalized": False},
        {"prompts": {"query": "query: "}},
        {"prompts": {}},
        {"numerics": "int8"},
    ]
    spaces = {space_of("codefuse-ai/F2LLM-v2-4B", **(facts | change)) for change in changes}
    assert len(spaces | {name}) == 1 + len(changes)
    assert name.startswith("f2llm-v2-4b@e04d1a04/last-token/l2/prompts-")
    reordered = facts | {"prompts": {"document": "", "query": "Query: "}}
    assert space_of("codefuse-ai/F2LLM-v2-4B", **reordered) == name


def test_every_shipped_model_has_a_space_of_its_own_that_fits_a_header() -> None:
    spaces = [columns_of(model)["space"] for model in shipped()]
    assert len(set(spaces)) == len(spaces)
    assert all(space.isascii() and space.isprintable() and " " not in space and len(space) <= 200 for space in spaces)
