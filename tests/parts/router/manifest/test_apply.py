"""A catalogue file is planned and applied on a real database, and never takes back what an operator did elsewhere."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from functools import partial

import msgspec
import pytest
from cryptography.fernet import Fernet

from catalog import models
from catalog.errors import MoveRefused
from catalog.values import Status
from router.admin.launch import move_model
from router.admin.prices import set_price
from router.changes.audit import list_changes
from router.changes.transaction import UnitOfWork, transact
from router.errors import Conflict, InvalidRequest
from router.manifest import apply as manifest_apply
from router.manifest import current_state, export
from router.manifest.values import FileRefused, Verb
from router.registry.encryption import CredentialCipher
from router.registry.endpoints import edit_endpoint, move_endpoint
from router.registry.providers import edit_provider, find_provider
from router.registry.specs import EndpointSpec
from router.values import EndpointState, QuarantineCause
from store.postgres import Database
from tests.builders.manifest import EXAMPLE, FILES, MODEL, apply, make_live, order, plan, the_endpoint, told
from tests.builders.registry import OPS

pytestmark = pytest.mark.anyio
SEAL = CredentialCipher([Fernet.generate_key().decode()])


async def changes(db: Database) -> list[str]:
    """What was audited, the newest first."""
    async with db.transaction() as connection:
        return [row.change.action for row in await list_changes(connection)]


async def edit(db: Database, **fields: object) -> None:
    """An operator edits the endpoint by hand."""
    endpoint = (await the_endpoint(db)).endpoint
    spec = msgspec.structs.replace(msgspec.convert(endpoint, EndpointSpec, from_attributes=True), **fields)
    await transact(db, OPS, lambda work: edit_endpoint(work, endpoint.id, spec))


async def test_the_example_of_the_docs_makes_everything_and_a_second_apply_nothing(db: Database) -> None:
    planned = await plan(db)
    assert planned.needs_action
    assert await changes(db) == []  # a plan changes nothing
    await apply(db)
    made = ["catalogue.apply", "price.set", "license.claim", "endpoint.register", "model.add", "provider.register"]
    assert sorted(await changes(db)) == sorted(made)
    view = await the_endpoint(db)
    assert (view.endpoint.state, view.endpoint.cost_nano_per_mtok) == (EndpointState.DRAFT, 4_000_000)

    again = await plan(db)
    assert not again.needs_action
    assert "It has no live endpoint" in " ".join(again.waiting)
    await apply(db)
    await apply(db)
    assert sorted(await changes(db)) == sorted(made)


async def test_status_live_launches_once_the_endpoint_has_passed_its_test(db: Database) -> None:
    await apply(db)
    await make_live(db)
    assert "> model acme/embed-1: goes live" in told(await plan(db))
    await apply(db)
    async with db.transaction() as connection:
        assert (await models.get(connection, MODEL)).status is Status.LIVE
    assert told(await plan(db)) == "Nothing to do."
    await transact(db, OPS, lambda work: move_model(work, MODEL, Status.DEPRECATED, reason="a better one is out"))
    with pytest.raises(Conflict, match=r"models\[0\]\.status .* now deprecated"):
        await apply(db)
    await apply(db, take_theirs=["models[0]"])
    assert not (await plan(db)).needs_action
    await transact(db, OPS, lambda work: move_model(work, MODEL, Status.RETIRED, reason="over"))
    with pytest.raises(MoveRefused):
        await apply(db, take_file=["models[0].status"])


async def test_a_model_does_not_launch_with_its_only_live_endpoint_at_a_provider_that_is_switched_off(
    db: Database,
) -> None:
    await apply(db)
    await make_live(db)
    async with db.transaction() as connection:
        alpha = await find_provider(connection, "alpha")
    assert alpha is not None
    for enabled, waits in ((False, True), (True, False)):
        spec = msgspec.structs.replace(alpha.spec, enabled=enabled)
        await transact(db, OPS, partial(edit_provider, cipher=None, provider_id=alpha.id, spec=spec))
        done = await apply(db)
        assert any("endpoint" in one for one in done.waiting) is waits


async def test_a_field_that_an_operator_changed_is_a_conflict_until_someone_decides(db: Database) -> None:
    await apply(db)
    await edit(db, max_batch=64)
    planned = await plan(db)
    assert (
        "CONFLICT endpoints[0].max_batch of acme/embed-1 at alpha as embed-1: applied last 256, now 64, the file 256"
        in (told(planned))
    )
    with pytest.raises(Conflict, match=r"endpoints\[0\]\.max_batch"):
        await apply(db, EXAMPLE.replace("eu]", "eu, us]"))
    async with db.transaction() as connection:
        provider = await find_provider(connection, "alpha")
        assert provider is not None
        assert provider.spec.regions == ("eu",)  # all or nothing

    await apply(db, take_theirs=["endpoints[0].max_batch"])
    assert (await the_endpoint(db)).endpoint.max_batch == 64
    assert not (await plan(db)).needs_action
    await edit(db, max_batch=32)
    with pytest.raises(Conflict, match="now 32"):
        await apply(db)
    await apply(db, take_file=["endpoints"])
    assert (await the_endpoint(db)).endpoint.max_batch == 256
    assert told(await plan(db)).startswith("WAITS")


async def test_what_the_file_does_not_state_is_left_as_it_is(db: Database) -> None:
    await apply(db)
    await edit(db, priority=7)
    await apply(db)
    assert (await the_endpoint(db)).endpoint.priority == 7
    # Stated for the first time, after an operator set it.
    with pytest.raises(Conflict, match=r"endpoints\[0\]\.priority .*applied last 100, now 7, the file 9"):
        await apply(db, EXAMPLE.replace("max_batch: 256", "max_batch: 256\n    priority: 9"))


async def test_a_price_below_cost_is_shouted_and_needs_a_word(db: Database) -> None:
    await apply(db)
    loss = EXAMPLE.replace("usd_per_mtok: 0.010\n    batch_usd_per_mtok: 0.006", "usd_per_mtok: 0.003")
    planned = await plan(db, loss)
    row, batch = planned.impact.margins
    assert (batch.lane, batch.before, batch.after) == ("batch", 2_000_000, -1_000_000)
    assert (row.price, row.cost, row.before, row.after, row.percent) == (
        3_000_000,
        4_000_000,
        6_000_000,
        -1_000_000,
        "-33.3%",
    )
    assert "margin 0.006 -> -0.001 (-33.3%)  LOSS" in told(planned)
    with pytest.raises(Conflict, match="below its cost"):
        await apply(db, loss)
    await apply(db, loss, allow_loss=True)
    assert not (await plan(db, loss)).needs_action


async def test_a_cost_above_the_price_of_the_batch_lane_is_a_loss_too(db: Database) -> None:
    await apply(db)
    dear = EXAMPLE.replace("cost_usd_per_mtok: 0.004", "cost_usd_per_mtok: 0.008")
    rows = {row.lane: row.after for row in (await plan(db, dear)).impact.margins}
    assert rows == {"interactive": 2_000_000, "batch": -2_000_000}
    with pytest.raises(Conflict, match=r"\(batch\)"):
        await apply(db, dear)


async def test_prices_are_only_added_and_never_in_the_past(db: Database) -> None:
    await apply(db)
    soon = (datetime.now(UTC) + timedelta(days=3)).replace(microsecond=0)
    dated = EXAMPLE.replace("    batch_usd_per_mtok: 0.006", f"    from: {soon.isoformat()}")
    planned = await plan(db, dated)
    # The price in force has a discount for the batch lane, the one to come has none.
    assert [(row.since, row.lane, row.before, row.after) for row in planned.impact.margins] == [
        (soon, "batch", 2_000_000, 6_000_000)
    ]
    await apply(db, dated)
    assert not (await plan(db, dated)).needs_action
    with pytest.raises(FileRefused, match="A price is never edited"):
        await apply(db, dated.replace("usd_per_mtok: 0.010", "usd_per_mtok: 0.011"))
    with pytest.raises(FileRefused, match=r"line \d+, prices\[0\]\.from: It starts in the past"):
        await apply(db, dated.replace(soon.isoformat(), "2026-01-01"))


async def test_a_price_that_an_operator_set_meanwhile_stays(db: Database) -> None:
    await apply(db)
    await transact(db, OPS, lambda work: set_price(work, MODEL, 20_000_000))
    with pytest.raises(Conflict, match=r"prices\[0\]\.usd_per_mtok .*applied last 0\.01, now 0\.02"):
        await apply(db)
    await apply(db, take_file=["prices[0]"])
    assert not (await plan(db)).needs_action


async def test_what_vanished_from_the_file_is_ended_only_when_asked(db: Database) -> None:
    await apply(db)
    await make_live(db)
    less = EXAMPLE[: EXAMPLE.index("endpoints:")] + EXAMPLE[EXAMPLE.index("prices:") :]
    planned = await plan(db, less)
    assert "no longer in the file; with prune it is drained" in told(planned)
    await apply(db, less)
    assert (await the_endpoint(db)).endpoint.state is EndpointState.LIVE
    pruned = await plan(db, less, prune=True)
    assert "STOPS acme/embed-1 at alpha as embed-1" in told(pruned)
    assert pruned.impact.without_live_endpoint == (MODEL,)
    assert [step.verb for step in pruned.diff.steps] == [Verb.DRAIN]
    await apply(db, less, prune=True)
    assert (await the_endpoint(db)).endpoint.state is EndpointState.DRAINING
    assert not (await plan(db, less)).needs_action


async def test_a_disabled_provider_stops_its_endpoints_and_the_plan_says_so(db: Database) -> None:
    await apply(db)
    await make_live(db)
    off = EXAMPLE.replace("kind: openai ", "enabled: false\n    kind: openai ")
    planned = await plan(db, off)
    assert planned.impact.stopping == ("acme/embed-1 at alpha as embed-1",)
    assert planned.impact.without_live_endpoint == (MODEL,)
    # It comes back by a switch, so a price below its cost is no less a loss.
    with pytest.raises(Conflict, match="below its cost"):
        await apply(db, off.replace("usd_per_mtok: 0.010\n    batch_usd_per_mtok: 0.006", "usd_per_mtok: 0.001"))


async def test_another_host_is_refused_while_a_credential_of_the_old_one_is_kept(db: Database) -> None:
    await apply(db)

    async def give(work: UnitOfWork) -> None:
        provider = await find_provider(work.connection, "alpha")
        assert provider is not None
        await edit_provider(work, SEAL, provider.id, provider.spec, credential="sk-of-the-old-host")

    await transact(db, OPS, give)
    moved = EXAMPLE.replace("api.alpha.example", "evil.example")
    assert "Give the one for the new address" in " ".join((await plan(db, moved)).refusals)
    with pytest.raises(InvalidRequest, match="Give the one for the new address"):
        await apply(db, moved)


@pytest.mark.parametrize(
    ("written", "instead", "path"),
    [
        ("provider: alpha\n", "provider: beta\n", r"endpoints\[0\]\.provider: There is no provider beta"),
        ("- id: acme/embed-1", "- id: acme/embed-2", r"endpoints\[0\]\.model: There is no model acme/embed-1"),
        ("    dimensions: 384\n", "", r"models\[0\]: .*needs dimensions too"),
        ("    cost_usd_per_mtok: 0.004\n", "", r"endpoints\[0\]\.cost_usd_per_mtok: A new endpoint says"),
    ],
)
async def test_what_cannot_be_is_told_with_its_place(db: Database, written: str, instead: str, path: str) -> None:
    with pytest.raises(FileRefused, match=rf"line \d+, {path}"):
        await apply(db, EXAMPLE.replace(written, instead))
    assert await changes(db) == []


async def test_facts_of_a_served_model_stay(db: Database) -> None:
    await apply(db)
    await make_live(db)
    await apply(db)
    with pytest.raises(FileRefused, match=r"models\[0\]\.max_input_tokens: .*customers rely on"):
        await apply(db, EXAMPLE.replace("8192", "512"))
    await apply(db, EXAMPLE.replace("384 dimensions.", "384 dimensions, loved by many."))
    async with db.transaction() as connection:
        assert (await models.get(connection, MODEL)).summary.endswith("loved by many.")


async def test_an_export_reads_back_as_nothing_to_do(db: Database, database_url: str) -> None:
    await apply(db)
    await make_live(db)
    await apply(db)
    async with db.transaction() as connection:
        text = export.manifest_text(await current_state.load(connection, "file", datetime.now(UTC)))
    assert told(await plan(db, text)) == "Nothing to do."
    before = await changes(db)
    await apply(db, text)
    assert await changes(db) == before
    assert "sk-" not in text


async def test_two_applies_at_once_make_everything_once(db: Database) -> None:
    await asyncio.gather(apply(db), apply(db), apply(db))
    assert (await changes(db)).count("provider.register") == 1
    assert (await changes(db)).count("catalogue.apply") == 1


async def test_an_operator_who_is_in_the_middle_of_a_change_is_waited_for(db: Database) -> None:
    await apply(db)
    endpoint = (await the_endpoint(db)).endpoint
    written, may_end = asyncio.Event(), asyncio.Event()

    async def slow(work: UnitOfWork) -> None:
        spec = msgspec.convert(endpoint, EndpointSpec, from_attributes=True)
        await edit_endpoint(work, endpoint.id, msgspec.structs.replace(spec, max_batch=64))
        await set_price(work, MODEL, 30_000_000)
        written.set()
        await may_end.wait()

    async with asyncio.TaskGroup() as group:
        group.create_task(transact(db, OPS, slow))
        await written.wait()
        applied = group.create_task(outcome(db, EXAMPLE.replace("256", "128").replace("0.010", "0.011")))
        await asyncio.sleep(0.2)
        assert not applied.done()
        may_end.set()
    assert "endpoints[0].max_batch" in applied.result()
    assert "prices[0].usd_per_mtok" in applied.result()
    assert (await the_endpoint(db)).endpoint.max_batch == 64


async def test_nobody_waits_for_a_plan_and_a_plan_is_of_one_instant(db: Database) -> None:
    await apply(db)
    await make_live(db)
    await apply(db)  # launches it
    endpoint = (await the_endpoint(db)).endpoint

    async def meanwhile(_: object) -> None:
        """While the plan rehearses, ops set a price and a process puts the endpoint out of service."""
        async with asyncio.timeout(20):
            await transact(db, OPS, lambda work: set_price(work, MODEL, 30_000_000))
            out, cause = EndpointState.QUARANTINED, QuarantineCause.SPACE_MISMATCH
            await transact(db, OPS, lambda work: move_endpoint(work, endpoint.id, out, "it lies", cause=cause))

    text = EXAMPLE.replace("name: alpha", "name: beta", 1).replace("provider: alpha", "provider: beta")
    asked = msgspec.structs.replace(order(text), check_provider=meanwhile)
    planned = await manifest_apply.plan(db, FILES, asked)
    assert not planned.refusals
    assert (await the_endpoint(db)).endpoint.state is EndpointState.QUARANTINED


async def outcome(db: Database, text: str, **decisions: object) -> str:
    """What an apply refuses with; empty where it went through."""
    try:
        await apply(db, text, **decisions)
    except Conflict as refused:
        return refused.message
    return ""


@pytest.mark.parametrize("seed", range(3))
async def test_random_edits_by_operators_survive_random_files(db: Database, seed: int) -> None:
    """The rule of tests/properties/test_manifest.py on the real commands."""
    chance = random.Random(seed)
    await apply(db)
    agreed = {"max_batch": 256, "priority": 100}
    for _ in range(8):
        now = (await the_endpoint(db)).endpoint
        theirs = {name: chance.choice([1, 2, getattr(now, name)]) for name in agreed if chance.random() < 0.5}
        if theirs:
            await edit(db, **theirs)
        stated = {"max_batch": chance.choice([1, 2, 256])}
        if chance.random() < 0.5:
            stated["priority"] = chance.choice([1, 2, 100])
        text = EXAMPLE.replace("max_batch: 256", "\n    ".join(f"{name}: {value}" for name, value in stated.items()))
        there = (await the_endpoint(db)).endpoint
        drifted = {name for name, value in stated.items() if getattr(there, name) not in (value, agreed[name])}
        refused = await outcome(db, text)
        assert {name for name in stated if f"endpoints[0].{name} " in refused} == drifted
        if drifted:
            assert (await the_endpoint(db)).endpoint == there
            assert await outcome(db, text, take_file=["endpoints"]) == ""
        before = await changes(db)
        assert await outcome(db, text) == ""
        assert await changes(db) == before
        after = (await the_endpoint(db)).endpoint
        assert {name: getattr(after, name) for name in stated} == stated
        agreed |= stated
