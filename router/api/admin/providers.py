"""``/admin/v1/providers``: who serves models, and our credentials there, which are never shown again."""

from typing import Annotated, Any, ClassVar, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from providers.protocol import ProviderKind
from router.api.admin.check_reports import TestOut, run_test
from router.api.admin.provider_options import tells_options
from router.api.admin.references import provider_of
from router.api.admin.request import Edit, Read, Write
from router.api.fields import EndpointIdText, ProviderIdText, ProviderName, ProviderRef
from router.api.forms import Answer, Body, Form, Page, PageQuery, Patch, Resource, answer_of, edited, struct_of
from router.api.operation import ALL, OPS, V1, Operations
from router.changes.transaction import UnitOfWork
from router.errors import InvalidRequest
from router.registry.endpoints import check_upstream_model, list_endpoints
from router.registry.indexes import ProviderRecord
from router.registry.key_rotation import rewrap_credentials
from router.registry.providers import (
    ProviderView,
    edit_provider,
    list_providers,
    load_provider_record,
    register_provider,
)
from router.registry.specs import ProviderSpec
from router.verification.check_report import CheckReport, OnChecked
from router.verification.provider_check import check_provider

# An account of a cloud is a few thousand characters of JSON.
CREDENTIAL_MAX = 20_000

operations = Operations("providers", f"{V1}/providers")
ONE = "/{provider_id}"
UNREADABLE = (
    "were sealed under a secret key that is not set. Set that key too and reseal again, or give these providers their "
    "credentials anew."
)
# A command line takes it from a file or a prompt, never from its arguments, which every user of the machine can see.
WRITE_ONLY: dict[str, Any] = {"writeOnly": True}


class ProviderFacts(Form):
    """What may be set."""

    base_url: str | None = Field(None, description="Base URL, such as https://api.example.com/v1.")
    enabled: bool = Field(True, description="Whether it gets calls.")
    options: dict[str, Any] = Field({}, description="The kind's own options, listed above; nothing secret.")
    regions: tuple[str, ...] = Field((), description="Where it may process a call, such as eu; empty: not known.")
    collects_data: bool = Field(True, description="Whether it may use inputs for more than the answer.")
    retention_days: int | None = Field(
        None, ge=0, le=36_500, description="How many days it keeps inputs; 0: not at all, null: not known."
    )


class ProviderCreate(ProviderFacts, Body):
    """A new provider."""

    name: ProviderName = Field(description="Lower-case letters, digits and dashes; it is named by this.")
    kind: ProviderKind = Field(description="How we speak to it.")
    credential: str | None = Field(
        None,
        max_length=CREDENTIAL_MAX,
        description="Our credential there: stored encrypted, never shown again.",
        json_schema_extra=WRITE_ONLY,
    )


class ProviderEdit(ProviderFacts, Patch):
    """What is given is changed. Another host needs its credential with it."""

    credential: str = Field(
        max_length=CREDENTIAL_MAX, description="Our new credential there.", json_schema_extra=WRITE_ONLY
    )


class ProviderOut(ProviderFacts, Resource):
    """A provider."""

    volatile: ClassVar[frozenset[str]] = frozenset({"unproven"})
    columns: ClassVar[tuple[str, ...]] = ("id", "name", "kind", "base_url", "enabled", "credential")

    id: ProviderIdText
    name: str
    kind: ProviderKind
    credential: str | None = Field(description="Our credential's last four characters.")
    unproven: tuple[EndpointIdText, ...] = Field(
        (), description="Endpoints that this edit took out of traffic until they pass their probes, which are due now."
    )
    object: Literal["provider"] = "provider"


class CredentialGiven(Body):
    """Our new credential at the provider."""

    credential: str = Field(
        max_length=CREDENTIAL_MAX, description="Stored encrypted, never shown again.", json_schema_extra=WRITE_ONLY
    )


class ProviderTest(Body):
    """What to ask for."""

    upstream_model: str | None = Field(
        None, description="The provider's name of a model to ask for; by default that of its first endpoint."
    )


class ResealOut(Answer):
    """Names of providers, by what became of their credentials."""

    resealed: tuple[str, ...] = Field(description="Wrapped anew, by the first secret key.")
    unchanged: tuple[str, ...] = Field(description="Wrapped by it already.")
    unreadable: tuple[str, ...] = Field(
        description="Wrapped by a key that is not set: set it too and reseal again, or give them their credentials."
    )
    answers: int = Field(
        description="Stored answers under an Idempotency-Key whose keys, which they show once, were wrapped anew, too."
    )
    passed: bool = Field(description="Whether the other keys can be taken out of the settings.")
    reason: str = Field(description="Why not, and what to do.")
    object: Literal["reseal"] = "reseal"


@operations.get("", verb="list", summary="List providers", roles=ALL)
async def list_(admin: Read, query: Annotated[PageQuery, Query()]) -> Page[ProviderOut]:
    """All providers by name."""
    rows = [_out(view) for view in query.cut(await admin.read(list_providers), lambda view: view.name)]
    return admin.page(query, rows, lambda row: row.name)


@operations.post("", verb="create", summary="Register a provider", roles=OPS, status=201)
@tells_options
async def create(admin: Write, body: ProviderCreate) -> ProviderOut:
    """Register a provider; one that nothing could speak to is refused."""

    async def command(work: UnitOfWork) -> ProviderOut:
        view = await register_provider(
            work,
            admin.context.cipher,
            name=body.name,
            kind=body.kind,
            spec=struct_of(ProviderSpec, body),
            credential=body.credential,
        )
        return await _usable(admin, work, view)

    return await admin.change(command)


@operations.get(ONE, verb="show", summary="Retrieve a provider", roles=ALL)
async def retrieve(admin: Read, provider_id: ProviderRef) -> ProviderOut:
    """One provider, by id or name."""

    async def ask(connection: AsyncConnection) -> ProviderOut:
        return _out(await provider_of(connection, provider_id))

    return await admin.read(ask)


@operations.patch(ONE, verb="edit", summary="Edit a provider", roles=OPS)
@tells_options
async def edit(admin: Edit, provider_id: ProviderRef, body: ProviderEdit) -> ProviderOut:
    """Change what is given. Another address or other options take its endpoints out of traffic until they pass."""
    return await _change(admin, provider_id, body, body.given().get("credential"))


@operations.post(
    f"{ONE}/credential",
    verb="rotate-credential",
    name="rotate_provider_credential",
    summary="Rotate our credential there",
    roles=OPS,
)
async def rotate(admin: Write, provider_id: ProviderRef, body: CredentialGiven) -> ProviderOut:
    """Replace our credential there; calls use the new one within a second."""
    return await _change(admin, provider_id, ProviderEdit.model_construct(), body.credential)


@operations.post(f"{ONE}/test", verb="test", summary="Make one real call", roles=OPS)
async def try_(admin: Write, provider_id: ProviderRef, body: ProviderTest) -> TestOut:
    """Is it there, and does it take our credential: one text, each step told. Changes nothing.

    A provider has one test at a time: 409 while another runs.
    """

    async def find(connection: AsyncConnection) -> tuple[ProviderRecord, str]:
        view = await provider_of(connection, provider_id)
        upstream_model = body.upstream_model or await _first_model(connection, view)
        check_upstream_model(upstream_model)
        return await load_provider_record(connection, view.id), upstream_model

    async def test(on_checked: OnChecked) -> CheckReport:
        record, upstream_model = await admin.read(find)
        async with admin.context.speaking_to(record) as provider:
            return await check_provider(
                admin.context.db,
                admin.actor,
                record,
                provider,
                upstream_model,
                dry_run=admin.dry_run,
                on_checked=on_checked,
            )

    return await run_test(admin, test)


@operations.post(":reseal", verb="reseal", name="reseal_providers", summary="Wrap credentials anew", roles=OPS)
async def reseal(admin: Write) -> ResealOut:
    """Wrap every credential under the first secret key, so that the others can be taken out of the settings."""
    cipher = admin.context.cipher
    if cipher is None:
        raise InvalidRequest("No secret key is set: GIGAROUTER_SECRET_KEYS.")

    async def command(work: UnitOfWork) -> ResealOut:
        done = await rewrap_credentials(work, cipher)
        reason = f"The credentials of {', '.join(done.unreadable)} {UNREADABLE}" if done.unreadable else ""
        return answer_of(ResealOut, done, passed=not done.unreadable, reason=reason)

    return await admin.change(command)


async def _change(admin: Write, provider_id: str, body: ProviderEdit, credential: str | None) -> ProviderOut:
    async def command(work: UnitOfWork) -> ProviderOut:
        before = await provider_of(work.connection, provider_id, locked=True)
        spec = edited(before.spec, body)
        view = await edit_provider(work, admin.context.cipher, before.id, spec, credential=credential)
        return await _usable(admin, work, view)

    async def current(work: UnitOfWork) -> ProviderOut:
        return _out(await provider_of(work.connection, provider_id, locked=True))

    return await admin.change(command, current=current)


async def _usable(admin: Write, work: UnitOfWork, view: ProviderView) -> ProviderOut:
    """The answer; a record that nothing could speak to is refused before it is committed."""
    await admin.context.check_provider(await load_provider_record(work.connection, view.id))
    return _out(view)


async def _first_model(connection: AsyncConnection, view: ProviderView) -> str:
    served = [one.endpoint for one in await list_endpoints(connection) if one.endpoint.provider_id == view.id]
    if not served:
        raise InvalidRequest(
            "'upstream_model' is missing: the provider has no endpoint yet that would name a model of its own.",
            param="upstream_model",
        )
    return served[0].upstream_model


def _out(view: ProviderView) -> ProviderOut:
    return answer_of(
        ProviderOut,
        view.spec,
        id=view.id,
        name=view.name,
        kind=ProviderKind(view.kind),
        credential=view.credential,
        unproven=view.unproven,
    )
