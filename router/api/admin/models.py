"""``/admin/v1/models``: what is stated of each model, what it lacks to go live, and the moves between its states."""

from collections.abc import Awaitable, Callable
from datetime import date, datetime
from typing import Annotated, ClassVar, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import NanoUSD, Price
from billing.prices import list_prices
from catalog import models, values
from catalog.errors import ModelUnknown
from catalog.permit import decide
from catalog.values import Model, Status, Use
from router.admin.launch import import_catalog, launch_model, missing_for_launch, move_model, read_launch_facts
from router.api.admin.model_impacts import MoveImpactOut, move_impact
from router.api.admin.references import model_id_of, model_of
from router.api.admin.request import Command, Edit, Read, Write
from router.api.fields import ModelRef, Usd
from router.api.forms import (
    Answer,
    Body,
    Page,
    PageQuery,
    Patch,
    Reason,
    Resource,
    answer_of,
    edited,
    struct_of,
)
from router.api.model_facts import DescribedFacts, EstimateFacts, records_in, records_of
from router.api.operation import ALL, OPS, V1, Operations
from router.changes.transaction import UnitOfWork
from router.errors import ModelNotFound
from router.registry.indexes import PriceIndex
from router.registry.models import add_model, edit_model, lock_model_for_edit
from store.ids import ModelId

operations = Operations("models", f"{V1}/models")
ONE = "/{model_id:path}"


class ModelFacts(DescribedFacts):
    """What is stated of a model.

    What names the vector space: ``owned_by``, ``revision``, ``pooling``, ``normalized``, ``prompts``, ``numerics``.
    """

    owned_by: str = Field(description="Its maker.")
    summary: str = Field(description="One sentence for those who look for a model.")
    dimensions: int = Field(description="The width of a vector where a call asks for none.")
    max_input_tokens: int = Field(description="Of one input, its prompt and special tokens included.")
    normalized: bool = Field(description="Whether vectors have length 1.")
    published_on: date | None = Field(None, description="A day, such as 2026-05-01; null: not known.")
    aliases: tuple[str, ...] = Field((), description="Its other names.")
    trained_dimensions: tuple[int, ...] = Field((), description="Other widths that it was trained for.")
    only_trained_dimensions: bool = Field(False, description="Whether no other widths may be asked for.")
    max_input_tokens_ceiling: int | None = Field(None, description="What its architecture could take.")
    pooling: str = Field("undisclosed", description="Such as mean or last-token.")
    numerics: str = Field("undisclosed", description="Class of its weights' numbers, such as bf16.")
    tokenizer: str | None = Field(None, description="Its tokenizer's name, with vocabulary_size.")
    vocabulary_size: int | None = Field(None, description="Token ids below it are the tokenizer's.")
    special_tokens: int = Field(0, description="How many the tokenizer adds to an input.")
    prompts: dict[str, str] = Field({}, description="Texts put before an input, for query and document.")
    revision: str | None = Field(None, description="Pin of the weights: a commit or a digest.")
    parameters: int | None = Field(None, description="How many it has.")
    languages: str = Field("", description="Those that it is made for.")
    estimate: EstimateFacts | None = Field(None, description="What it is said to cost before it has a price.")
    note: str = Field("", description="For operators.")


class ModelCreate(ModelFacts, Body):
    """A new model, coming soon. Its license claims are recorded apart; it launches when nothing is missing."""

    id: str = Field(description="Its id, org/name.")
    reason: str = Field("", description="Why, for whoever looks next.")


class ModelEdit(ModelFacts, Patch):
    """What is given is changed; null takes away.

    Of a served model only what no call rests on: summary, note, published_on, estimate, languages and what sources
    state of it; of one that has endpoints nothing that names the vector space. A list replaces the whole list.
    """

    reason: str = Field("", description="Why, for whoever looks next.")


class Ending(Reason):
    """Why a model ends, and what takes its place."""

    successor: ModelRef | None = Field(
        None, description="The model that takes its place, which its page and mails name; by id or alias."
    )


class ModelOut(ModelFacts, Resource):
    """A catalogue entry."""

    volatile: ClassVar[frozenset[str]] = frozenset(
        {"usd_per_mtok", "missing", "votes", "commercial_use", "endpoints", "impact"}
    )
    columns: ClassVar[tuple[str, ...]] = ("id", "status", "dimensions", "usd_per_mtok", "votes", "licenses")

    id: str
    status: Status
    space: str
    licenses: tuple[str, ...] = Field(description="Those that are claimed, or the one that was ruled.")
    usd_per_mtok: Usd | None = Field(description="The price in force.")
    votes: int = Field(description="How many accounts want it while it is announced.")
    missing: tuple[str, ...] | None = Field(
        None, description="A sentence for each thing that it lacks to go live; null in a list."
    )
    commercial_use: tuple[str, ...] | None = Field(
        None, description="Why it may be used commercially, or not; null in a list."
    )
    endpoints: tuple[str, ...] | None = Field(None, description="Who serves it, in which state; null in a list.")
    successor: str | None = Field(None, description="The model that takes its place, once it is deprecated or retired.")
    impact: MoveImpactOut | None = Field(
        None, description="In a dry run of a move: whom it touches, and who is mailed."
    )
    object: Literal["model"] = "model"


class ModelQuery(PageQuery):
    """Which models."""

    status: Status | None = Field(None, description="Those that stand there.")


class ImportOut(Answer):
    """What the shipped catalogue brought, by models' ids."""

    added: tuple[str, ...]
    updated: tuple[str, ...]
    unchanged: tuple[str, ...]
    kept: tuple[str, ...] = Field(description="Those that operators changed, which stay.")
    claims_added: int = Field(description="License claims that are recorded now.")
    object: Literal["catalog_import"] = "catalog_import"


@operations.get("", verb="list", name="admin_list_models", summary="List models", roles=ALL)
async def list_(admin: Read, query: Annotated[ModelQuery, Query()]) -> Page[ModelOut]:
    """All models, announced and retired ones too."""

    async def ask(connection: AsyncConnection) -> list[ModelOut]:
        found = [row for row in await models.load_models(connection) if query.status in (None, row.status)]
        prices = PriceIndex(await list_prices(connection))
        now = admin.exchange.now
        return [_out(model, prices.current(model.id, now)) for model in query.cut(found, lambda model: model.id)]

    return admin.page(query, await admin.read(ask), lambda row: row.id)


@operations.post("", verb="create", summary="Add a model", roles=OPS, status=201)
async def create(admin: Write, body: ModelCreate) -> ModelOut:
    """Add a model, coming soon."""

    async def command(work: UnitOfWork) -> ModelOut:
        added = await add_model(work, struct_of(values.ModelFacts, body, **records_in(body)), reason=body.reason)
        return await _full(work.connection, added, work.now)

    return await admin.change(command)


@operations.get(ONE, verb="show", name="admin_retrieve_model", summary="Retrieve a model", roles=ALL)
async def retrieve(admin: Read, model_id: ModelRef) -> ModelOut:
    """One model by id or alias, and what it lacks to go live."""

    async def ask(connection: AsyncConnection) -> ModelOut:
        return await _full(connection, await model_of(connection, model_id), admin.exchange.now)

    return await admin.read(ask)


@operations.patch(ONE, verb="edit", summary="Edit a model", roles=OPS)
async def edit(admin: Edit, model_id: ModelRef, body: ModelEdit) -> ModelOut:
    """Change what is given; what its customers or endpoints rely on stays."""

    async def command(work: UnitOfWork) -> ModelOut:
        before = await lock_model_for_edit(work, (await model_of(work.connection, model_id)).id)
        after = await edit_model(work, edited(before, body, **records_in(body)), reason=body.given().get("reason", ""))
        return await _full(work.connection, after, work.now)

    return await _change(admin, model_id, command)


@operations.post(":import", verb="import", name="import_catalog", summary="Import the shipped catalogue", roles=OPS)
async def import_(admin: Write) -> ImportOut:
    """Bring the catalogue that this release ships up to date; what operators changed stays."""

    async def command(work: UnitOfWork) -> ImportOut:
        return answer_of(ImportOut, await import_catalog(work))

    return await admin.change(command)


@operations.post(f"{ONE}:launch", verb="launch", summary="Put a model live", roles=OPS)
async def launch(admin: Write, model_id: ModelRef, body: Reason) -> ModelOut:
    """It needs a settled license, a price in force and a live endpoint; a refusal names all that is missing.

    A dry run says who is mailed.
    """
    return await _move(
        admin, model_id, Status.LIVE, lambda work, model: launch_model(work, model.id, reason=body.reason)
    )


@operations.post(f"{ONE}:deprecate", verb="deprecate", summary="Deprecate a model", roles=OPS)
async def deprecate(admin: Write, model_id: ModelRef, body: Ending) -> ModelOut:
    """It is served on, and customers are told to leave. A dry run says whom it touches, and who is mailed."""
    return await _end(admin, model_id, Status.DEPRECATED, body)


@operations.post(f"{ONE}:retire", verb="retire", summary="Retire a model", roles=OPS)
async def retire(admin: Write, model_id: ModelRef, body: Ending) -> ModelOut:
    """It is served no longer. A dry run says whom it touches, and who is mailed."""
    return await _end(admin, model_id, Status.RETIRED, body)


@operations.post(f"{ONE}:announce", verb="announce", summary="Announce a retired model again", roles=OPS)
async def announce(admin: Write, model_id: ModelRef, body: Reason) -> ModelOut:
    """It has to launch anew."""
    to = Status.COMING_SOON
    return await _move(admin, model_id, to, lambda work, model: move_model(work, model.id, to, reason=body.reason))


async def _end(admin: Write, model_id: str, to: Status, body: Ending) -> ModelOut:
    async def command(work: UnitOfWork, model: Model) -> Model:
        named = None if body.successor is None else await _successor(work.connection, body.successor)
        return await move_model(work, model.id, to, reason=body.reason, successor=named)

    return await _move(admin, model_id, to, command)


async def _successor(connection: AsyncConnection, name: str) -> ModelId:
    try:
        return await model_id_of(connection, name)
    except ModelUnknown as unknown:
        raise ModelNotFound(unknown.message, param="successor", details={"nearest": unknown.nearest}) from unknown


async def _move(
    admin: Write, model_id: str, to: Status, move: Callable[[UnitOfWork, Model], Awaitable[Model]]
) -> ModelOut:
    """Make a move; a dry run says whom it touches, by what was so before it."""

    async def command(work: UnitOfWork) -> ModelOut:
        before = await model_of(work.connection, model_id)
        impact = await move_impact(work, before, to) if admin.dry_run else None
        return await _full(work.connection, await move(work, before), work.now, impact)

    return await _change(admin, model_id, command)


async def _change(admin: Write, model_id: str, command: Command[ModelOut]) -> ModelOut:
    async def current(work: UnitOfWork) -> ModelOut:
        return await _full(work.connection, await model_of(work.connection, model_id, locked=True), work.now)

    return await admin.change(command, current=current)


async def _full(
    connection: AsyncConnection, model: Model, now: datetime, impact: MoveImpactOut | None = None
) -> ModelOut:
    facts = await read_launch_facts(connection, model.id, now)
    return _out(
        model,
        facts.price,
        missing=missing_for_launch(model, facts, now),
        commercial_use=decide(model, Use.COMMERCIAL, frozenset(), now).reasons,
        endpoints=tuple(f"{one.endpoint.provider_name} ({one.endpoint.state.value})" for one in facts.endpoints),
        impact=impact,
    )


def _out(model: Model, price: Price | None, **more: object) -> ModelOut:
    claimed = sorted({claim.license for claim in model.claims if not claim.resolved})
    return answer_of(
        ModelOut,
        model,
        licenses=tuple(claimed or ([model.resolution.license] if model.resolution else [])),
        usd_per_mtok=None if price is None else NanoUSD(price.nano_per_mtok),
        **records_of(model),
        **more,
    )
