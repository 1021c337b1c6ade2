"""``/admin/v1/providers``: who serves models, and our credentials there, which are never shown again."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from router.api.admin.bodies import edit_of
from router.api.admin.check_reports import TestOut, tested
from router.api.admin.mutation import Current, Made, actor_of, change, is_dry_run
from router.api.admin.operation import acts, edits, lists, makes, shows
from router.api.admin.parsing import V1, body_of, context_of, given_in, id_of, query_of, read, speaking_to
from router.api.admin.responses import Resource, listed, one, page, slice_of
from router.changes.transaction import UnitOfWork
from router.errors import InvalidRequest
from router.registry.endpoints import check_upstream_model, list_endpoints
from router.registry.indexes import ProviderRecord
from router.registry.providers import (
    ProviderView,
    edit_provider,
    get_provider,
    list_providers,
    provider_records,
    register_provider,
)
from router.values import ProviderSpec
from router.verification.endpoint_check import Ending, Report, try_provider
from store.ids import EndpointId, ProviderId, wire

operations = APIRouter()
PATH = f"{V1}/providers"
TAG = "Providers"


class ProviderFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What may be set. ``options`` are the kind's own. ``regions`` empty, ``retention_days`` null: not known."""

    base_url: str | None = None
    enabled: bool = True
    options: dict[str, Any] = {}
    regions: tuple[str, ...] = ()
    collects_data: bool = True
    retention_days: int | None = None


class ProviderCreate(ProviderFacts, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new provider. ``kind``: openai, litellm, worker or sandbox. ``options``: nothing secret."""

    name: str
    kind: str
    credential: str | None = None


ProviderEdit = edit_of(
    ProviderCreate,
    "What is given is changed. Another host needs its credential with it.",
    without=("name", "kind"),
    credential=str,
)


class ProviderOut(ProviderFacts, Resource, frozen=True, kw_only=True):
    """A provider. ``credential`` is its last four characters.

    ``unproven``: endpoints that this edit took out of traffic until they pass their probes, which are due now.
    """

    volatile = frozenset({"unproven"})

    id: str
    name: str
    kind: str
    credential: str | None
    unproven: tuple[str, ...] = ()
    object: str = "provider"


class CredentialGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Our new credential at the provider: stored encrypted, never shown again."""

    credential: str


class ProviderTest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The provider's name of a model to ask for; by default that of its first endpoint."""

    upstream_model: str | None = None


@operations.get(PATH, **lists("list_providers", "List providers", TAG, ProviderOut))
async def list_(request: Request) -> Response:
    """All providers by name."""
    part = slice_of(query_of(request, "limit", "cursor"))
    rows = listed(await read(request, list_providers), part, _name)
    return page(request, rows, part, _name, _out)


@operations.post(PATH, **makes("create_provider", "Register a provider", TAG, ProviderOut, ProviderCreate))
async def create(request: Request) -> Response:
    """Register a provider; one that nothing could speak to is refused."""
    body, context = body_of(request, ProviderCreate), context_of(request)
    spec = ProviderSpec(**{name: getattr(body, name) for name in ProviderSpec.__struct_fields__})

    async def command(work: UnitOfWork) -> Made:
        view = await register_provider(
            work, context.cipher, name=body.name, kind=body.kind, spec=spec, credential=body.credential
        )
        await _check(work, request, view.id)
        return Made(_out(view), 201, f"{PATH}/{wire(ProviderId, view.id)}")

    return await change(request, command)


@operations.get(f"{PATH}/{{provider_id}}", **shows("retrieve_provider", "Retrieve a provider", TAG, ProviderOut))
async def retrieve(request: Request, provider_id: str) -> Response:
    """One provider."""
    query_of(request)
    known = _id(provider_id)
    return one(_out(await read(request, lambda connection: get_provider(connection, known))))


@operations.patch(
    f"{PATH}/{{provider_id}}", **edits("edit_provider", "Edit a provider", TAG, ProviderOut, ProviderEdit)
)
async def edit(request: Request, provider_id: str) -> Response:
    """Change what is given. Another address or other options take its endpoints out of traffic until they pass."""
    known, given = _id(provider_id), given_in(body_of(request, ProviderEdit))
    credential = given.pop("credential", None)

    async def command(work: UnitOfWork) -> Made:
        before = await get_provider(work.connection, known, locked=True)
        spec = msgspec.structs.replace(before.spec, **given)
        view = await edit_provider(work, context_of(request).cipher, known, spec, credential=credential)
        await _check(work, request, known)
        return Made(_out(view))

    return await change(request, command, current=_current(known), needs_match=True)


@operations.post(
    f"{PATH}/{{provider_id}}/credential",
    **acts("rotate_provider_credential", "Rotate our credential there", TAG, ProviderOut, CredentialGiven),
)
async def rotate(request: Request, provider_id: str) -> Response:
    """Replace our credential there; calls use the new one within a second."""
    known, body = _id(provider_id), body_of(request, CredentialGiven)

    async def command(work: UnitOfWork) -> Made:
        before = await get_provider(work.connection, known, locked=True)
        cipher = context_of(request).cipher
        view = await edit_provider(work, cipher, known, before.spec, credential=body.credential)
        await _check(work, request, known)
        return Made(_out(view))

    return await change(request, command, current=_current(known))


@operations.post(
    f"{PATH}/{{provider_id}}/test", **acts("test_provider", "Make one real call", TAG, TestOut, ProviderTest)
)
async def try_(request: Request, provider_id: str) -> Response:
    """Is it there, and does it take our credential: one text, each step told. Changes nothing.

    A provider has one test at a time: 409 while another runs.
    """
    known, body, context = _id(provider_id), body_of(request, ProviderTest), context_of(request)

    async def test(ending: Ending) -> Report:
        record, upstream_model = await read(request, lambda connection: _asked(connection, known, body.upstream_model))
        provider, dry_run = await speaking_to(request, known), is_dry_run(request)
        return await try_provider(
            context.db, actor_of(request), record, provider, upstream_model, dry_run=dry_run, ending=ending
        )

    return await tested(request, test)


async def _asked(
    connection: AsyncConnection, known: ProviderId, upstream_model: str | None
) -> tuple[ProviderRecord, str]:
    await get_provider(connection, known)
    record = next(record for record in await provider_records(connection) if record.id == known)
    if upstream_model is None:
        served = [view.endpoint for view in await list_endpoints(connection) if view.endpoint.provider_id == known]
        if not served:
            raise InvalidRequest(
                "The provider has no endpoint yet: name a model of its own to ask for.", param="upstream_model"
            )
        upstream_model = served[0].upstream_model
    check_upstream_model(upstream_model)
    return record, upstream_model


async def _check(work: UnitOfWork, request: Request, known: ProviderId) -> None:
    """A record that nothing could speak to is refused before it is committed."""
    record = next(record for record in await provider_records(work.connection) if record.id == known)
    await context_of(request).check_provider(record)


def _current(known: ProviderId) -> Current:
    async def current(work: UnitOfWork) -> ProviderOut:
        return _out(await get_provider(work.connection, known, locked=True))

    return current


def _id(text: str) -> ProviderId:
    return ProviderId(id_of(ProviderId, text, "provider"))


def _name(view: ProviderView) -> str:
    return view.name


def _out(view: ProviderView) -> ProviderOut:
    return ProviderOut(
        **{name: getattr(view.spec, name) for name in ProviderFacts.__struct_fields__},
        id=wire(ProviderId, view.id),
        name=view.name,
        kind=view.kind,
        credential=view.credential,
        unproven=tuple(wire(EndpointId, endpoint) for endpoint in view.unproven),
    )
