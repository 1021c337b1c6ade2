"""An operator's desk for tests of vector spaces: a model, draft endpoints, `certify`, and what became of them."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text

from billing.prices import set_price
from catalog import models
from catalog.values import Model
from providers.kinds import build
from providers.protocol import Provider
from providers.wire import Pool, networks
from router.changes.audit import Actor
from router.changes.transaction import UnitOfWork, transact
from router.registry.endpoints import EndpointView, get_endpoint, register_endpoint
from router.registry.indexes import ProviderRecord
from router.registry.providers import provider_records, register_provider
from router.values import Endpoint, EndpointSpec, ProviderSpec
from router.verification.report import Occasion, Report
from router.verification.schedule import go_round
from router.verification.verify import certify
from store.ids import EndpointId, ModelId, new_id
from store.postgres import Database

OPS = Actor("cli:ops")
_MODEL = text(
    "INSERT INTO models (id, owned_by, summary, published_on, dimensions, trained_dimensions, max_input_tokens,"
    " normalized, pooling, numerics, revision, prompts, space) VALUES (:id, 'tests', 'A model of the tests',"
    " '2026-01-01', :dimensions, :trained, :tokens, true, :pooling, :numerics, :revision, CAST(:prompts AS jsonb),"
    " :space)"
)
_CLAIM = text(
    "INSERT INTO license_claims (id, model_id, license, source, evidence, claimed_on, recorded_by)"
    " VALUES (:claim, :id, 'Apache-2.0', 'tests', 'tests/builders/spaces.py', '2026-01-01', 'tests')"
)


class Desk:
    """On one database; ``url`` may be written to by others meanwhile."""

    def __init__(self, url: str) -> None:
        self.db = Database(url)
        self._owner = Database(url, as_owner=True)

    async def close(self) -> None:
        await self.db.close()
        await self._owner.close()

    async def a_model(
        self,
        name: str = "tests/model",
        *,
        dimensions: int,
        numerics: str,
        pooling: str = "mean",
        tokens: int = 512,
        trained: tuple[int, ...] = (),
        prompts: dict[str, str] | None = None,
        revision: str | None = None,
    ) -> Model:
        """A model with a price, coming soon."""
        row = {"id": name, "dimensions": dimensions, "numerics": numerics, "pooling": pooling, "tokens": tokens}
        row |= {"trained": list(trained), "prompts": json.dumps(prompts or {}), "revision": revision}
        async with self._owner.transaction() as connection:
            await connection.execute(_MODEL, row | {"space": f"{name}@tests"})
            await connection.execute(_CLAIM, {"id": name, "claim": new_id()})
            await set_price(connection, ModelId(name), 1_000_000, datetime(2026, 1, 1, tzinfo=UTC))
            return await models.get(connection, name)

    async def a_draft(
        self, model: Model, name: str, url: str, *, kind: str = "openai", priority: int = 1, **spec: Any
    ) -> EndpointId:
        """An endpoint of a provider of its own, not tested yet."""

        async def command(work: UnitOfWork) -> EndpointId:
            provider = await register_provider(work, None, name=name, kind=kind, spec=ProviderSpec(base_url=url))
            wanted = EndpointSpec(upstream_model=model.id, priority=priority, **spec)
            return (await register_endpoint(work, model, provider.id, wanted)).id

        return await transact(self.db, OPS, command)

    async def view(self, endpoint: EndpointId) -> EndpointView:
        async with self.db.transaction() as connection:
            return await get_endpoint(connection, endpoint)

    async def record(self, endpoint: EndpointId) -> ProviderRecord:
        """Its provider's, as it is now."""
        async with self.db.transaction() as connection:
            provider = (await get_endpoint(connection, endpoint)).endpoint.provider_id
            return next(record for record in await provider_records(connection) if record.id == provider)

    async def state(self, endpoint: EndpointId) -> str:
        return (await self.view(endpoint)).endpoint.state.value

    async def certify(
        self,
        endpoint_id: EndpointId,
        occasion: Occasion = Occasion.REGISTRATION,
        *,
        seen: Endpoint | None = None,
        **options: Any,
    ) -> Report:
        """``seen`` is the endpoint as the caller read it some time ago."""
        endpoint = seen or (await self.view(endpoint_id)).endpoint
        async with self.db.transaction() as connection:
            model = await models.get(connection, endpoint.model_id)
        record = await self.record(endpoint_id)
        async with speaking(record.kind, str(record.base_url)) as provider:
            return await certify(self.db, record, provider, endpoint, model, OPS, occasion, **options)

    async def a_round(self, *, answering: bool = False) -> list[Report]:
        """What is due is asked, by a process that knows all providers as they are now."""
        async with self.db.transaction() as connection:
            records = await provider_records(connection)
        async with AsyncExitStack() as open_ones:
            enter = open_ones.enter_async_context
            built = {one.id: (one, await enter(speaking(one.kind, str(one.base_url)))) for one in records}
            return await go_round(self.db, built.get, answering=answering)

    async def rows(self, query: str, **binds: Any) -> list[Any]:
        """What the database says, to its owner; writes are committed."""
        async with self._owner.transaction() as connection:
            found = await connection.execute(text(query), binds)
            return list(found) if found.returns_rows else []

    async def make_due(self, endpoint: EndpointId) -> None:
        """The next round takes it, all probes."""
        await self.rows(
            "INSERT INTO probe_schedule (endpoint_id, next_at, full_at) VALUES (:id, now(), now())"
            " ON CONFLICT (endpoint_id) DO UPDATE SET next_at = now(), full_at = now()",
            id=endpoint,
        )


@asynccontextmanager
async def speaking(kind: str, url: str) -> AsyncIterator[Provider]:
    pool = Pool()
    provider = build(
        kind, base_url=url, credential=None, options={}, allowed_networks=networks(["127.0.0.0/8"]), pool=pool
    )
    try:
        yield provider
    finally:
        await provider.close()
        await pool.close()
