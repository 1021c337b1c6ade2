import asyncio
from datetime import datetime
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text

from catalog import launch
from catalog.seed import import_seed
from gigarouter.schema import migrate
from store.base import Base
from store.embedded import Embedded
from store.ids import ModelId
from store.postgres import Database
from tests.builders.database import add_claim

MINILM = ModelId("sentence-transformers/all-MiniLM-L6-v2")

pytestmark = pytest.mark.anyio


async def test_the_product_runs_as_a_role_that_cannot_log_in(database: Database) -> None:
    async with database.transaction() as db:
        assert (await db.execute(text("SELECT current_user"))).scalar_one() == "gigarouter_app"
        may_log_in = text("SELECT rolcanlogin FROM pg_roles WHERE rolname = current_user")
        assert not (await db.execute(may_log_in)).scalar_one()


async def test_every_change_of_the_catalogue_is_told_by_table_and_id_when_it_commits(
    seeded: Database, now: datetime
) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    listener = await seeded.connect()
    await listener.add_listener("gigarouter_changed", lambda _c, _pid, _channel, told: heard.put_nowait(told))
    try:
        async with seeded.transaction() as db:
            await launch(db, MINILM, "ops", has_price=True, has_live_endpoint=True, now=now)
            assert heard.empty()
        assert await asyncio.wait_for(heard.get(), 5) == f"models:{MINILM}"
        async with seeded.transaction() as db:
            await db.execute(text("DELETE FROM model_aliases WHERE alias = 'all-MiniLM-L6-v2'"))
        assert await asyncio.wait_for(heard.get(), 5) == f"model_aliases:{MINILM}"
        async with seeded.transaction() as db:
            await add_claim(db, MINILM, "MIT")
        assert await asyncio.wait_for(heard.get(), 5) == f"license_claims:{MINILM}"
        async with seeded.transaction() as db:
            await import_seed(db)
        await asyncio.sleep(0.05)
        assert heard.empty()
    finally:
        await listener.close()


async def test_the_tables_in_the_code_are_those_of_the_migrations(database: Database) -> None:
    async with database.transaction() as db:
        found = await db.execute(
            text(
                "SELECT table_name, column_name, is_nullable = 'YES' FROM information_schema.columns"
                " WHERE table_schema = 'public'"
            )
        )
        migrated: dict[str, dict[str, bool]] = {}
        for table, column, nullable in found:
            migrated.setdefault(table, {})[column] = nullable
    ours = ("models", "model_", "license_")
    # The router's, which sums them in SQL alone.
    for name in ("model_days", "model_statistics"):
        del migrated[name]
    declared = {
        name: {column.name: bool(column.nullable) for column in table.columns}
        for name, table in Base.metadata.tables.items()
        if name.startswith(ours)
    }
    assert declared == {name: columns for name, columns in migrated.items() if name.startswith(ours)}


@pytest.mark.parametrize("may", ["CREATEROLE", "NOCREATEROLE"])
def test_an_owner_who_is_no_administrator_can_migrate(servers: Embedded, template: str, may: str) -> None:
    owner = f"owner_{may.lower()}"
    servers.postgres.query(f"CREATE ROLE {owner} LOGIN {may}")
    servers.postgres.query(f"CREATE DATABASE of_{owner} OWNER {owner}")
    url = urlsplit(servers.postgres.url(f"of_{owner}"))
    try:
        migrate(url._replace(netloc=f"{owner}@{url.netloc.rpartition('@')[2]}").geturl())
        assert servers.postgres.query("SELECT count(*) FROM models", f"of_{owner}").strip() == "0"
    finally:
        servers.postgres.query(f"DROP DATABASE of_{owner} WITH (FORCE)")
        servers.postgres.query(f"DROP OWNED BY {owner}")
        servers.postgres.query(f"DROP ROLE {owner}")
