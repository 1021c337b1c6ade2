"""Registers providers and endpoints as an operator does, in transactions of their own."""

from functools import partial
from typing import Unpack

from catalog import models
from router.changes.audit import Actor
from router.changes.transaction import UnitOfWork, transact
from router.registry.encryption import CredentialCipher
from router.registry.endpoints import move_endpoint, register_endpoint
from router.registry.providers import ProviderView, register_provider
from router.registry.specs import EndpointSpec, ProviderSpec
from router.values import Endpoint, EndpointState
from store.ids import EndpointId, ModelId, ProviderId
from store.postgres import Database
from tests.builders.database import EndpointSpecFields

OPS = Actor("cli:ops")
ALPHA = ProviderSpec("https://api.alpha.example/v1")


async def a_registered_provider(
    db: Database,
    name: str = "alpha",
    spec: ProviderSpec = ALPHA,
    credential: str | None = None,
    *,
    kind: str = "openai",
    cipher: CredentialCipher | None = None,
) -> ProviderView:
    async def command(work: UnitOfWork) -> ProviderView:
        return await register_provider(work, cipher, name=name, kind=kind, spec=spec, credential=credential)

    return await transact(db, OPS, command)


async def a_draft_endpoint(
    db: Database, model: ModelId | str, provider: ProviderId, upstream_model: str, **fields: Unpack[EndpointSpecFields]
) -> Endpoint:
    """An endpoint that nobody has tested yet."""

    async def command(work: UnitOfWork) -> Endpoint:
        entry = await models.get(work.connection, ModelId(model))
        return await register_endpoint(work, entry, provider, EndpointSpec(upstream_model, **fields))

    return await transact(db, OPS, command)


async def move(db: Database, endpoint: EndpointId, *states: EndpointState) -> None:
    """Move an endpoint through states, as an operator or a passed test does."""
    for state in states:
        await transact(db, OPS, partial(move_endpoint, endpoint_id=endpoint, to=state))
