import itertools
from datetime import datetime
from functools import partial

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from catalog import LaunchRefused, ModelUnknown, MoveRefused, Signer, Status, Term, launch, move
from catalog.licenses import resolve, sign_waiver
from catalog.lifecycle import MOVES
from catalog.models import get
from catalog.tables import ModelEventRow
from store.ids import ModelId
from store.postgres import Database
from tests.builders.database import insert_model

MINILM = ModelId("sentence-transformers/all-MiniLM-L6-v2")
F2LLM_4B = ModelId("codefuse-ai/F2LLM-v2-4B")

pytestmark = pytest.mark.anyio


async def test_a_model_with_price_endpoint_and_license_goes_live_and_the_record_says_by_whom(
    seeded: Database, now: datetime
) -> None:
    async with seeded.transaction() as db:
        await launch(db, MINILM, "ops@example.org", has_price=True, has_live_endpoint=True, now=now, reason="demo")
        assert (await get(db, MINILM)).status is Status.LIVE
        (event,) = (await db.execute(select(ModelEventRow.__table__))).mappings().all()
    assert (event["model_id"], event["from_status"], event["to_status"]) == (MINILM, "coming_soon", "live")
    assert (event["actor"], event["reason"], event["occurred_at"]) == ("ops@example.org", "demo", now)


@pytest.mark.parametrize(
    ("model_id", "has_price", "has_live_endpoint", "says"),
    [
        (MINILM, False, True, ["no price in force"]),
        (MINILM, True, False, ["no live endpoint"]),
        (F2LLM_4B, True, True, ["license is not resolved", "CC-BY-NC-ND-4.0", "price must be zero"]),
        (F2LLM_4B, False, False, ["no price in force", "no live endpoint", "license is not resolved"]),
    ],
)
async def test_a_launch_is_refused_with_a_sentence_for_each_thing_it_lacks(
    seeded: Database, now: datetime, model_id: ModelId, has_price: bool, has_live_endpoint: bool, says: list[str]
) -> None:
    with pytest.raises(LaunchRefused) as refused:
        async with seeded.transaction() as db:
            await launch(db, model_id, "ops", has_price=has_price, has_live_endpoint=has_live_endpoint, now=now)
    assert len(refused.value.missing) == (2 if model_id == F2LLM_4B and has_price else len(says))
    for words in says:
        assert words in refused.value.message
    async with seeded.transaction() as db:
        assert (await get(db, model_id)).status is Status.COMING_SOON


async def test_noncommercial_weights_go_live_free_or_with_a_waiver_of_charging(seeded: Database, now: datetime) -> None:
    ready = partial(launch, actor="ops", has_price=True, has_live_endpoint=True, now=now)
    async with seeded.transaction() as db:
        await resolve(db, F2LLM_4B, license="CC-BY-NC-ND-4.0", reason="r", evidence="e", decided_by="ops", now=now)
    with pytest.raises(LaunchRefused, match="forbids asking money"):
        async with seeded.transaction() as db:
            await ready(db, F2LLM_4B)
    async with seeded.transaction() as db:
        await ready(db, F2LLM_4B, is_free=True)
        await move(db, F2LLM_4B, Status.DEPRECATED, "ops", reason="a price is wanted", now=now)
        await sign_waiver(
            db, F2LLM_4B, term=Term.CHARGING, signer=Signer.LICENSOR, signed_by="CodeFuse", evidence="mail", now=now
        )
        await ready(db, F2LLM_4B)
        assert (await get(db, F2LLM_4B)).status is Status.LIVE


async def test_launching_twice_and_launching_nothing_are_refused(seeded: Database, now: datetime) -> None:
    async with seeded.transaction() as db:
        await launch(db, MINILM, "ops", has_price=True, has_live_endpoint=True, now=now)
    with pytest.raises(MoveRefused, match="is live and cannot become live"):
        async with seeded.transaction() as db:
            await launch(db, MINILM, "ops", has_price=True, has_live_endpoint=True, now=now)
    with pytest.raises(ModelUnknown):
        async with seeded.transaction() as db:
            await launch(db, ModelId("no/such"), "ops", has_price=True, has_live_endpoint=True, now=now)
    with pytest.raises(MoveRefused, match="launched"):
        async with seeded.transaction() as db:
            await move(db, MINILM, Status.LIVE, "ops", reason="", now=now)


async def test_the_database_knows_the_same_moves(seeded: Database, now: datetime) -> None:
    """Every pair of states, written past the code: Postgres takes exactly those of the table."""
    to_reach = {
        Status.COMING_SOON: (),
        Status.LIVE: (Status.LIVE,),
        Status.DEPRECATED: (Status.LIVE, Status.DEPRECATED),
        Status.RETIRED: (Status.RETIRED,),
    }
    write = text(f"UPDATE models SET status = :to WHERE id = '{MINILM}'")
    taken = set()
    for was, to in itertools.permutations(Status, 2):
        try:
            async with seeded.transaction() as db:
                for status in (*to_reach[was], to):
                    await db.execute(write, {"to": status})
                taken.add((was, to))
                await db.rollback()
        except DBAPIError as refused:
            assert f"cannot move from {was} to {to}" in str(refused)  # noqa: PT017
    assert taken == {(was, to) for was in Status for to in MOVES[was]}


async def test_no_model_is_born_live_and_no_live_model_changes_its_space(seeded: Database, now: datetime) -> None:
    with pytest.raises(DBAPIError, match="must begin as coming_soon"):
        async with seeded.transaction() as db:
            await insert_model(db, "a/b", status="live")
    async with seeded.transaction() as db:
        await launch(db, MINILM, "ops", has_price=True, has_live_endpoint=True, now=now)
    with pytest.raises(DBAPIError, match="its vector space cannot change"):
        async with seeded.transaction() as db:
            await db.execute(text("UPDATE models SET space = 'other' WHERE id = :id"), {"id": MINILM})
