"""What a new release changes about a shipped model is among its changes, and a second import changes nothing."""

import msgspec
import pytest

from catalog.seed import import_seed, shipped
from router.admin.launch import bring_shipped, import_catalog
from router.changes.transaction import UnitOfWork, transact
from router.registry.model_changes import list_model_changes
from store.ids import ModelId
from store.postgres import Database
from tests.builders.registry import OPS

pytestmark = pytest.mark.anyio
F2LLM = ModelId("codefuse-ai/F2LLM-v2-4B")


async def test_what_a_release_changes_is_listed(db: Database) -> None:
    older = tuple(
        msgspec.structs.replace(one, summary="Older.", texts=()) if one.id == F2LLM else one for one in shipped()
    )
    async with db.transaction() as connection:
        await import_seed(connection, older)
    summary = await transact(db, OPS, import_catalog)
    assert summary.updated == (F2LLM,)
    async with db.transaction() as connection:
        changes = await list_model_changes(connection, model_id=F2LLM)
        assert changes[0].sentence == "Changed: summary, texts."
        again = UnitOfWork(connection, OPS, db.clock.now())
        await bring_shipped(again)
        assert not again.changes
