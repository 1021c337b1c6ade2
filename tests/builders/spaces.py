"""Builds models and draft endpoints for tests of vector spaces, verifies them, and reads what became of them."""

from contextlib import AsyncExitStack
from typing import Any, Unpack

from sqlalchemy import text

from catalog import models
from catalog.values import Model
from router.registry.endpoints import EndpointView, get_endpoint
from router.registry.indexes import ProviderRecord
from router.registry.providers import load_provider_records
from router.registry.specs import ProviderSpec
from router.values import Endpoint
from router.verification.report import Occasion, VerificationReport
from router.verification.schedule import run_due_checks
from router.verification.verify import verify_endpoint
from store.ids import EndpointId
from store.postgres import Database
from tests.builders.database import EndpointSpecFields, ModelColumns, add_model
from tests.builders.providers import a_provider
from tests.builders.registry import OPS, a_draft_endpoint, a_registered_provider


class SpaceLab:
    """An operator who works on one database, which others may write to meanwhile."""

    def __init__(self, url: str) -> None:
        self.db = Database(url)
        self._owner = Database(url, as_owner=True)

    async def close(self) -> None:
        await self.db.close()
        await self._owner.close()

    async def a_model(self, name: str = "tests/model", **columns: Unpack[ModelColumns]) -> Model:
        """A model with a price, coming soon."""
        usual: ModelColumns = {"dimensions": 32, "numerics": "bf16", "max_input_tokens": 512, "space": f"{name}@tests"}
        usual.update(columns)
        async with self._owner.transaction() as connection:
            await add_model(connection, name, **usual)
            return await models.get(connection, name)

    async def a_draft(
        self,
        model: Model,
        name: str,
        url: str,
        *,
        kind: str = "openai",
        **fields: Unpack[EndpointSpecFields],
    ) -> EndpointId:
        """An endpoint of a provider of its own, not tested yet."""
        fields.setdefault("priority", 1)
        provider = await a_registered_provider(self.db, name, ProviderSpec(base_url=url), kind=kind)
        return (await a_draft_endpoint(self.db, model.id, provider.id, model.id, **fields)).id

    async def view(self, endpoint: EndpointId) -> EndpointView:
        async with self.db.transaction() as connection:
            return await get_endpoint(connection, endpoint)

    async def record(self, endpoint: EndpointId) -> ProviderRecord:
        """Its provider's, as it is now."""
        async with self.db.transaction() as connection:
            provider = (await get_endpoint(connection, endpoint)).endpoint.provider_id
            return next(record for record in await load_provider_records(connection) if record.id == provider)

    async def state(self, endpoint: EndpointId) -> str:
        return (await self.view(endpoint)).endpoint.state.value

    async def verify(
        self,
        endpoint_id: EndpointId,
        occasion: Occasion = Occasion.REGISTRATION,
        *,
        seen: Endpoint | None = None,
        **options: Any,
    ) -> VerificationReport:
        """``seen`` is the endpoint as the caller read it some time ago."""
        endpoint = seen or (await self.view(endpoint_id)).endpoint
        async with self.db.transaction() as connection:
            model = await models.get(connection, endpoint.model_id)
        record = await self.record(endpoint_id)
        options.setdefault("speaking_to", lambda other: a_provider(other.kind, other.base_url))
        async with a_provider(record.kind, record.base_url) as provider:
            return await verify_endpoint(self.db, record, provider, endpoint, model, OPS, occasion, **options)

    async def run_checks(self, *, only_responsive: bool = False) -> list[VerificationReport]:
        """Verify what is due, in a process that knows all providers as they are now."""
        async with self.db.transaction() as connection:
            records = await load_provider_records(connection)
        async with AsyncExitStack() as open_ones:
            enter = open_ones.enter_async_context
            built = {one.id: (one, await enter(a_provider(one.kind, one.base_url))) for one in records}
            return await run_due_checks(self.db, built.get, only_responsive=only_responsive)

    async def rows(self, query: str, **binds: Any) -> list[Any]:
        """What the database answers to its owner; writes are committed."""
        async with self._owner.transaction() as connection:
            found = await connection.execute(text(query), binds)
            return list(found) if found.returns_rows else []

    async def make_due(self, endpoint: EndpointId) -> None:
        """Let the next round take it, with all probes."""
        await self.rows(
            "INSERT INTO probe_schedule (endpoint_id, next_at, full_at) VALUES (:id, now(), now())"
            " ON CONFLICT (endpoint_id) DO UPDATE SET next_at = now(), full_at = now()",
            id=endpoint,
        )
