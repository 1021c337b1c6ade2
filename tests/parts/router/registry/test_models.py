"""Models are added and edited by one pair of commands; none leaves an endpoint in another space than its model."""

import asyncio

import msgspec
import pytest
from sqlalchemy import text

from catalog import models
from catalog.model_edits import BARE, faults
from catalog.seed import SeedModel, shipped
from catalog.values import Model, ModelFacts
from router.changes.audit import Actor
from router.changes.transaction import UnitOfWork, transact
from router.errors import Conflict
from router.registry.endpoints import register_endpoint
from router.registry.models import add_model, edit_model, lock_model_for_edit
from router.registry.providers import register_provider
from router.registry.specs import EndpointSpec, ProviderSpec
from router.values import Endpoint
from store.postgres import Database

pytestmark = pytest.mark.anyio
OPS = Actor("cli:ops")
NEW = msgspec.structs.replace(BARE, id="acme/new", owned_by="acme", summary="S", dimensions=8)


async def edited(work: UnitOfWork, **facts: object) -> Model:
    return await edit_model(work, msgspec.structs.replace(await lock_model_for_edit(work, NEW.id), **facts))


async def registered(work: UnitOfWork, model: Model, name: str = "alpha") -> Endpoint:
    spec = ProviderSpec("https://api.alpha.example/v1")
    provider = await register_provider(work, None, name=name, kind="openai", spec=spec)
    return await register_endpoint(work, model, provider.id, EndpointSpec("new"))


async def test_an_endpoint_registered_while_the_space_changes_is_refused(db: Database) -> None:
    model = await transact(db, OPS, lambda work: add_model(work, NEW))

    async def edit_and_register(work: UnitOfWork) -> "asyncio.Task[Endpoint]":
        await edited(work, pooling="mean")
        late = asyncio.ensure_future(transact(db, OPS, lambda other: registered(other, model)))
        await until_someone_waits(db)
        return late

    late = await transact(db, OPS, edit_and_register)
    with pytest.raises(Conflict, match="was changed meanwhile"):
        await late


async def test_a_space_changed_while_an_endpoint_is_registered_is_refused(db: Database) -> None:
    model = await transact(db, OPS, lambda work: add_model(work, NEW))

    async def register_and_edit(work: UnitOfWork) -> "asyncio.Task[Model]":
        await registered(work, model)
        late = asyncio.ensure_future(transact(db, OPS, lambda other: edited(other, pooling="mean")))
        await until_someone_waits(db)
        return late

    late = await transact(db, OPS, register_and_edit)
    with pytest.raises(Conflict, match="registered for its vector space"):
        await late
    async with db.transaction() as connection:
        assert (await models.get(connection, NEW.id)).space == model.space


async def until_someone_waits(db: Database) -> None:
    """Until a transaction waits for another one's lock."""
    async with db.transaction() as connection:
        while not await connection.scalar(text("SELECT count(*) FROM pg_locks, pg_sleep(0.01) WHERE NOT granted")):
            pass


async def test_of_two_who_take_one_name_at_once_one_gets_it(db: Database) -> None:
    twins = [msgspec.structs.replace(NEW, id=f"acme/{name}", aliases=("one",)) for name in ("a", "b")]

    async def add(entry: ModelFacts) -> Model:
        return await transact(db, OPS, lambda work: add_model(work, entry))

    done = await asyncio.gather(*(add(entry) for entry in (*twins, NEW, NEW)), return_exceptions=True)
    assert [isinstance(one, Conflict) for one in sorted(done, key=repr)].count(True) == 2
    assert {one.param for one in done if isinstance(one, Conflict)} == {"aliases", "id"}


@pytest.mark.parametrize("entry", shipped(), ids=lambda entry: entry.id)
async def test_every_shipped_model_could_have_been_added_by_hand(entry: SeedModel) -> None:
    assert list(faults(entry)) == []
