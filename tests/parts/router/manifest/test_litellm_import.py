"""The embedding models of the installed litellm's price map, imported: nothing made up, nothing rounded down."""

import json
from collections import Counter
from datetime import UTC, date, datetime
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from billing.money import from_usd
from catalog import models
from catalog.seed import import_seed
from catalog.values import Status
from providers.litellm import price_map
from providers.litellm.price_map import MapEntry, PriceMap, nano_per_mtok
from router.admin.prices import set_price
from router.changes.audit import Actor, list_changes
from router.changes.transaction import UnitOfWork, transact
from router.errors import Conflict
from router.manifest import apply as manifest_apply
from router.manifest import current_state, report
from router.manifest.apply import ApplyRequest
from router.manifest.litellm_import import ImportResult, import_price_map
from router.manifest.values import CurrentState, Decisions, Entry, Kind, Plan
from router.registry.endpoints import edit_endpoint, list_endpoints
from router.registry.providers import edit_provider, find_provider, list_providers
from router.registry.specs import EndpointSpec
from router.values import Endpoint, EndpointState
from store.postgres import Database
from tests.builders.registry import move

pytestmark = pytest.mark.anyio
OPS = Actor("cli:ops")
TODAY = date(2026, 11, 24)
MAP = price_map.read()

# Read off the map's text by hand: key, what stands there, nano-USD per million tokens.
BY_HAND = [
    ("text-embedding-3-small", "2e-08", 20_000_000),
    ("azure/text-embedding-3-large", "1.43e-07", 143_000_000),
    ("azure/us-gov/text-embedding-3-small", "2.5e-08", 25_000_000),
    ("cohere/embed-v5.0-fast", "8e-08", 80_000_000),
    ("amazon.titan-embed-text-v2:0", "2e-08", 20_000_000),
    ("bedrock/us-gov-east-1/amazon.titan-embed-text-v2:0", "2e-07", 200_000_000),
    ("bedrock/us-gov-west-1/amazon.nova-2-multimodal-embeddings-v1:0", "1.62e-07", 162_000_000),
    ("databricks/databricks-bge-large-en", "1.0003e-07", 100_030_000),
    ("databricks/databricks-qwen3-embedding-0-6b", "2.002e-08", 20_020_000),
    ("databricks/databricks-gte-large-en", "1.2999000000000001e-07", 129_990_001),
    ("fireworks_ai/nomic-ai/nomic-embed-text-v1.5", "8e-09", 8_000_000),
    ("text-embedding-preview-0409", "6.25e-09", 6_250_000),
    ("perplexity/pplx-embed-v1-0.6b", "4e-09", 4_000_000),
    ("gemini/gemini-embedding-001", "1.5e-07", 150_000_000),
    ("voyage/voyage-3-lite", "2e-08", 20_000_000),
]


def raw_map() -> dict[str, Any]:
    """The same file by another reader: every number with decimals as its own text."""
    found = find_spec("litellm")
    assert found is not None
    assert found.submodule_search_locations
    file = Path(found.submodule_search_locations[0]) / price_map.FILE
    read: dict[str, Any] = json.loads(file.read_text(), parse_float=str)
    return {key: entry for key, entry in read.items() if entry.get("mode") == "embedding"}


@pytest.fixture
async def db(db: Database) -> Database:
    """The shipped catalogue is in it."""
    async with db.transaction() as connection:
        await import_seed(connection)
    return db


async def import_(db: Database, price_map: PriceMap = MAP, today: date = TODAY) -> tuple[Plan, ImportResult]:
    said: list[ImportResult] = []

    def wanted(there: CurrentState) -> tuple[Entry, ...]:
        said.append(import_price_map(price_map, there, today))
        return said[-1].entries

    order = ApplyRequest(wanted, Decisions(keep_drift=True, allow_loss_of_drafts=True), "litellm")
    return await manifest_apply.apply(db, OPS, order), said[-1]


async def endpoints_of(db: Database, model: str | None = None) -> list[Endpoint]:
    async with db.transaction() as connection:
        return [one.endpoint for one in await list_endpoints(connection) if model in (None, one.endpoint.model_id)]


async def changes(db: Database) -> Counter[str]:
    async with db.transaction() as connection:
        return Counter(row.change.action for row in await list_changes(connection, limit=1000))


def test_the_whole_map_is_read_and_every_amount_is_exact_or_a_nano_above() -> None:
    raw = raw_map()
    assert {entry.key for entry in MAP.entries} == set(raw)
    assert len(MAP.entries) == 151
    rounded = []
    for entry in MAP.entries:
        stated = raw[entry.key].get("input_cost_per_token")
        if stated is None:
            assert entry.input_cost_per_token is None
            continue
        assert entry.input_cost_per_token is not None
        nano, exact = nano_per_mtok(entry.input_cost_per_token)
        truth = Fraction(stated) * 10**15
        assert 0 <= nano - truth < 1
        assert exact == (nano == truth)
        if not exact:
            rounded.append(entry.key)
    assert rounded == ["databricks/databricks-gte-large-en"]


@pytest.mark.parametrize(("key", "stands_there", "nano"), BY_HAND)
def test_prices_read_by_hand(key: str, stands_there: str, nano: int) -> None:
    assert raw_map()[key]["input_cost_per_token"] == stands_there
    (entry,) = (entry for entry in MAP.entries if entry.key == key)
    assert entry.input_cost_per_token is not None
    assert nano_per_mtok(entry.input_cost_per_token)[0] == nano


async def test_every_key_becomes_an_endpoint_or_is_named_with_the_reason(db: Database) -> None:
    plan, imported = await import_(db)
    endpoints = {entry.path for entry in imported.entries if entry.kind is Kind.ENDPOINT}
    without = {note.key for note in imported.notes if note.outcome in ("left out", "no endpoint")}
    assert endpoints | without == {entry.key for entry in MAP.entries}
    assert not endpoints & without
    assert (len(endpoints), len(without)) == (121, 30)
    assert len(plan.diff.steps) == len(imported.entries)
    assert (await changes(db))["endpoint.register"] == 121

    raw = raw_map()
    for entry in imported.entries:
        if entry.kind is Kind.ENDPOINT:
            truth = Fraction(raw[entry.path]["input_cost_per_token"]) * 10**15
            assert 0 <= from_usd(str(entry.fields["cost_usd_per_mtok"])) - truth < 1
    assert {one.state for one in await endpoints_of(db)} == {EndpointState.DRAFT}
    async with db.transaction() as connection:
        assert all(not view.spec.enabled and view.kind == "litellm" for view in await list_providers(connection))
        assert (await connection.execute(text("SELECT count(*) FROM prices"))).scalar() == 0


async def test_a_shipped_model_is_matched_and_keeps_its_facts(db: Database) -> None:
    async with db.transaction() as connection:
        before = {str(model.id): model for model in await models.load_models(connection)}
    await import_(db)
    sold = {
        (one.provider_name, one.cost_nano_per_mtok) for one in await endpoints_of(db, "openai/text-embedding-3-small")
    }
    assert sold == {
        ("openai", 20_000_000),
        ("azure", 22_000_000),
        ("azure-eu", 22_000_000),
        ("azure-us", 22_000_000),
        ("azure-us-gov", 25_000_000),
        ("vercel-ai-gateway", 20_000_000),
    }
    async with db.transaction() as connection:
        after = {str(model.id): model for model in await models.load_models(connection)}
    assert {name: after[name] for name in before} == before
    assert not [name for name in after if name != "openai/text-embedding-3-small" and "text-embedding-3-small" in name]


async def test_what_is_not_known_to_be_the_same_keeps_a_space_of_its_own(db: Database) -> None:
    await import_(db)
    async with db.transaction() as connection:
        catalogue = {str(model.id): model for model in await models.load_models(connection)}
    spaces = Counter(model.space for model in catalogue.values())
    assert max(spaces.values()) == 1
    hosts = [name for name in catalogue if "qwen3-embedding-8b" in name.lower()]
    assert {name.partition("/")[0] for name in hosts} == {"fireworks_ai", "llamagate", "nebius", "novita"}
    # The map contradicts itself about this one, so it is not taken for Cohere's.
    assert catalogue["azure_ai/embed-v-4-0"].dimensions == 3072
    imported = catalogue["voyageai/voyage-3-lite"]
    assert (imported.status, imported.published_on, imported.normalized, imported.claims) == (
        Status.COMING_SOON,
        None,
        False,
        (),
    )
    assert imported.estimate is not None
    assert (imported.estimate.nano_per_mtok, imported.estimate.stated_on) == (20_000_000, TODAY)
    assert imported.estimate.is_list_price
    assert f"LiteLLM {MAP.release}" in imported.estimate.source
    assert catalogue["cohere/embed-multilingual-light-v3.0"].estimate is None  # 100 USD, says the map


async def test_a_second_import_has_nothing_to_do_also_on_another_day(db: Database) -> None:
    await import_(db)
    before = await changes(db)
    plan, _ = await import_(db, today=date(2026, 12, 24))
    assert not plan.diff.steps
    assert await changes(db) == before


async def test_a_new_map_updates_what_is_untouched_and_an_operators_edits_stay(db: Database) -> None:
    await import_(db)
    by_key = {(one.provider_name, one.upstream_model): one for one in await endpoints_of(db)}
    negotiated = by_key["voyage", "voyage-3"]

    async def edit(work: UnitOfWork) -> None:
        spec = msgspec.convert(negotiated, EndpointSpec, from_attributes=True)
        await edit_endpoint(work, negotiated.id, msgspec.structs.replace(spec, cost_nano_per_mtok=50_000_000))
        provider = await find_provider(work.connection, "voyage")
        assert provider is not None
        spec_now = msgspec.structs.replace(provider.spec, enabled=True)
        await edit_provider(work, None, provider.id, spec_now)

    await transact(db, OPS, edit)
    cheaper = [
        msgspec.structs.replace(entry, input_cost_per_token=(entry.input_cost_per_token or 0) / 2)
        if entry.key in ("voyage/voyage-3", "voyage/voyage-3-large")
        else entry
        for entry in MAP.entries
    ]
    plan, _ = await import_(db, PriceMap("1.200.0", tuple(cheaper)))
    assert "voyageai/voyage-3-large at voyage as voyage-3-large" in {step.subject for step in plan.diff.steps}
    costs = {
        one.upstream_model: one.cost_nano_per_mtok for one in await endpoints_of(db) if one.provider_name == "voyage"
    }
    assert costs["voyage-3-large"] == 90_000_000
    assert costs["voyage-3"] == 50_000_000
    async with db.transaction() as connection:
        provider = await find_provider(connection, "voyage")
        large = await models.get(connection, "voyageai/voyage-3-large")
        there = await current_state.load(connection, "litellm", datetime.now(UTC))
    assert provider is not None
    assert provider.spec.enabled
    assert large.estimate is not None
    assert (large.estimate.nano_per_mtok, "1.200.0" in large.estimate.source) == (90_000_000, True)
    # Where a cost comes from is kept beside what was imported.
    assert there.last_applied[Kind.ENDPOINT, "voyageai/voyage-3-large at voyage as voyage-3-large"].origin.startswith(
        "LiteLLM"
    )


def a_map(cost: str) -> PriceMap:
    text_ = f"""{{"newcomer/embed": {{"mode": "embedding", "litellm_provider": "newcomer", "output_vector_size": 64,
        "input_cost_per_token": {cost}, "max_input_tokens": 512}}}}"""
    return PriceMap("9", price_map.parse(text_.encode()))


async def test_a_second_import_puts_no_endpoint_that_serves_below_its_cost(db: Database) -> None:
    await import_(db, a_map("1e-08"))
    (endpoint,) = await endpoints_of(db, "newcomer/embed")
    await transact(db, OPS, lambda work: set_price(work, endpoint.model_id, 20_000_000))
    await import_(db, a_map("3e-08"))  # A draft gets no traffic.
    await import_(db, a_map("1e-08"))
    await move(db, endpoint.id, EndpointState.PROBING, EndpointState.LIVE)
    with pytest.raises(Conflict, match="below its cost"):
        await import_(db, a_map("3e-08"))
    (endpoint,) = await endpoints_of(db, "newcomer/embed")
    assert endpoint.cost_nano_per_mtok == 10_000_000
    plan, _ = await import_(db, a_map("2e-08"))
    assert not list(report.loss_lines(plan))


def test_a_key_that_nobody_knows_is_left_out_or_a_model_of_its_own() -> None:
    empty = CurrentState({}, current_state.defaults(), {}, {}, {}, {}, {})
    text_ = b"""{
        "sample_spec": {"mode": "one of: chat, embedding", "max_tokens": "LEGACY"},
        "newcomer/embed": {"mode": "embedding", "litellm_provider": "newcomer", "input_cost_per_token": 1e-09,
                           "output_vector_size": 64.0, "max_input_tokens": 512},
        "newcomer/blind": {"mode": "embedding", "litellm_provider": "newcomer", "input_cost_per_token": 1e-09},
        "newcomer/old": {"mode": "embedding", "litellm_provider": "newcomer", "input_cost_per_token": 1e-09,
                         "output_vector_size": 64, "max_input_tokens": 512, "deprecation_date": "2026-11-01"}
    }"""
    entries: tuple[MapEntry, ...] = price_map.parse(text_)
    imported = import_price_map(PriceMap("9", entries), empty, TODAY)
    assert [(entry.kind.value, entry.subject) for entry in imported.entries] == [
        ("provider", "newcomer"),
        ("model", "newcomer/embed"),
        ("endpoint", "newcomer/embed at newcomer as embed"),
    ]
    assert [(note.key, note.outcome) for note in imported.notes] == [
        ("newcomer/blind", "left out"),
        ("newcomer/old", "left out"),
    ]
