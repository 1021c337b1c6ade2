"""``/admin/v1/models``: what is stated of each model, what it lacks to go live, and the moves between its states."""

from datetime import date, datetime
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import to_usd
from billing.prices import list_prices
from catalog import models
from catalog.values import Estimate, Model, Status
from catalog.values import ModelFacts as StatedFacts
from router.admin.launch import import_catalog, launch_model, missing_for_launch, move_model
from router.api.admin.bodies import Nothing, Reason, edit_of
from router.api.admin.mutation import Current, Made, change
from router.api.admin.operation import acts, edits, lists, makes, shows
from router.api.admin.parsing import V1, body_of, exchange_of, given_in, query_of, read, usd_of
from router.api.admin.responses import Resource, listed, one, page, slice_of
from router.api.operation import OperationRoute
from router.changes.transaction import UnitOfWork
from router.registry.indexes import PriceIndex
from router.registry.models import add_model, edit_model, entry_of
from store.ids import ModelId

operations = APIRouter(route_class=OperationRoute)
PATH = f"{V1}/models"
ONE = f"{PATH}/{{model_id:path}}"
TAG = "Models"


class EstimateFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the model is said to cost before it has a price of ours; shown, never charged.

    ``is_list_price`` tells its maker's public list price from a guess.
    """

    usd_per_mtok: str
    source: str
    stated_on: date
    is_list_price: bool = False
    note: str = ""


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is stated of a model.

    ``dimensions`` is the width where a call asks for none; ``trained_dimensions`` are the others that it was trained
    for, and no others may be asked for where ``only_trained_dimensions`` says so. ``max_input_tokens`` counts the
    ``special_tokens`` that the ``tokenizer`` adds. ``prompts`` are the texts put before an input, for ``query`` and
    ``document``. What names the vector space: ``owned_by``, ``revision``, ``pooling``, ``normalized``, ``prompts``,
    ``numerics``.
    """

    id: str
    owned_by: str
    summary: str
    dimensions: int
    max_input_tokens: int
    normalized: bool
    published_on: date | None = None
    aliases: tuple[str, ...] = ()
    trained_dimensions: tuple[int, ...] = ()
    only_trained_dimensions: bool = False
    max_input_tokens_ceiling: int | None = None
    pooling: str = "undisclosed"
    numerics: str = "undisclosed"
    tokenizer: str | None = None
    vocabulary_size: int | None = None
    special_tokens: int = 0
    prompts: dict[str, str] = {}
    revision: str | None = None
    parameters: int | None = None
    languages: str = ""
    estimate: EstimateFacts | None = None
    note: str = ""


class ModelCreate(ModelFacts, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new model, coming soon. Its license claims are recorded apart; it launches when nothing is missing."""


ModelEdit = edit_of(
    ModelCreate,
    "What is given is changed; null takes away. Of a served model only summary, note, languages, published_on and "
    "estimate; of one that has endpoints nothing that names the vector space.",
    without=("id",),
)


class ModelOut(ModelFacts, Resource, frozen=True, kw_only=True):
    """A catalogue entry. ``missing``: a sentence for each thing that it lacks to go live; null in a list.

    ``usd_per_mtok`` is the price in force, null where there is none.
    """

    volatile = frozenset({"usd_per_mtok", "missing", "votes"})

    status: str
    space: str
    licenses: list[str]
    usd_per_mtok: str | None
    missing: list[str] | None
    votes: int
    object: str = "model"


class ImportOut(msgspec.Struct, frozen=True):
    """What the shipped catalogue brought: ``kept`` are those that operators changed, which stay."""

    added: list[str]
    updated: list[str]
    unchanged: list[str]
    kept: list[str]
    object: str = "catalog_import"


@operations.get(PATH, **lists("admin_list_models", "List models", TAG, ModelOut, "status"))
async def list_(request: Request) -> Response:
    """All models, announced and retired ones too."""
    query = query_of(request, "limit", "cursor", "status")
    part, now = slice_of(query), exchange_of(request).now

    async def ask(connection: AsyncConnection) -> tuple[list[Model], PriceIndex]:
        return await models.load_models(connection), PriceIndex(await list_prices(connection))

    known, prices = await read(request, ask)
    found = [model for model in known if query.get("status") in (None, model.status.value)]
    return page(request, listed(found, part, _key), part, _key, lambda model: _out(model, prices, now, None))


@operations.post(PATH, **makes("create_model", "Add a model", TAG, ModelOut, ModelCreate))
async def create(request: Request) -> Response:
    """Add a model, coming soon."""
    entry = StatedFacts(**_stated(given_in(body_of(request, ModelCreate))))

    async def command(work: UnitOfWork) -> Made:
        added = await add_model(work, entry)
        return Made(await _full(work.connection, added.id, work.now), 201, f"{PATH}/{added.id}")

    return await change(request, command)


@operations.get(ONE, **shows("admin_retrieve_model", "Retrieve a model", TAG, ModelOut))
async def retrieve(request: Request, model_id: str) -> Response:
    """One model, and what it lacks to go live."""
    query_of(request)
    now = exchange_of(request).now
    return one(await read(request, lambda connection: _full(connection, model_id, now)))


@operations.patch(ONE, **edits("edit_model", "Edit a model", TAG, ModelOut, ModelEdit))
async def edit(request: Request, model_id: str) -> Response:
    """Change what is given; what its customers or endpoints rely on stays."""
    given = _stated(given_in(body_of(request, ModelEdit)))

    async def command(work: UnitOfWork) -> Made:
        entry = msgspec.structs.replace(await entry_of(work, model_id), **given)
        await edit_model(work, entry)
        return Made(await _full(work.connection, model_id, work.now))

    return await change(request, command, current=_current(model_id), needs_match=True)


@operations.post(f"{PATH}:import", **acts("import_catalog", "Import the shipped catalogue", TAG, ImportOut, Nothing))
async def import_(request: Request) -> Response:
    """Bring the catalogue that this release ships up to date; what operators changed stays."""
    body_of(request, Nothing)

    async def command(work: UnitOfWork) -> Made:
        summary = await import_catalog(work)
        shown = ImportOut(list(summary.added), list(summary.updated), list(summary.unchanged), list(summary.kept))
        return Made(shown)

    return await change(request, command)


@operations.post(f"{ONE}:launch", **acts("launch_model", "Put a model live", TAG, ModelOut, Reason))
async def launch(request: Request, model_id: str) -> Response:
    """It needs a settled license, a price in force and a live endpoint; a refusal names all that is missing."""
    body = body_of(request, Reason)

    async def command(work: UnitOfWork) -> Made:
        await launch_model(work, ModelId(model_id), reason=body.reason)
        return Made(await _full(work.connection, model_id, work.now))

    return await change(request, command, current=_current(model_id))


def _moves(action: str, to: Status, summary: str, told: str) -> None:
    """One operation for one move."""

    async def move(request: Request, model_id: str) -> Response:
        body = body_of(request, Reason)

        async def command(work: UnitOfWork) -> Made:
            await move_model(work, ModelId(model_id), to, reason=body.reason)
            return Made(await _full(work.connection, model_id, work.now))

        return await change(request, command, current=_current(model_id))

    move.__doc__ = told
    said = acts(f"{action}_model", summary, TAG, ModelOut, Reason)
    operations.add_api_route(f"{ONE}:{action}", move, methods=["POST"], **said)


_moves("deprecate", Status.DEPRECATED, "Deprecate a model", "It is served on, and customers are told to leave.")
_moves("retire", Status.RETIRED, "Retire a model", "It is served no longer.")
_moves("announce", Status.COMING_SOON, "Announce a retired model again", "It has to launch anew.")


def _stated(given: dict[str, Any]) -> dict[str, Any]:
    """Facts as the catalogue has them: the estimate in nano-USD. Raises ``InvalidRequest``."""
    said: EstimateFacts | None = given.get("estimate")
    if said is None:
        return given
    nano = usd_of(said.usd_per_mtok, "estimate.usd_per_mtok")
    return given | {"estimate": Estimate(nano, said.source, said.stated_on, said.is_list_price, said.note)}


async def _full(connection: AsyncConnection, model_id: str, now: datetime) -> ModelOut:
    model = await models.get(connection, model_id.replace("\0", "?"))
    missing = await missing_for_launch(connection, model, now)
    return _out(model, PriceIndex(await list_prices(connection)), now, list(missing))


def _current(model_id: str) -> Current:
    async def current(work: UnitOfWork) -> ModelOut:
        await models.lock(work.connection, ModelId(model_id))
        return await _full(work.connection, model_id, work.now)

    return current


def _key(model: Model) -> str:
    return model.id


def _out(model: Model, prices: PriceIndex, now: datetime, missing: list[str] | None) -> ModelOut:
    price = prices.current(model.id, now)
    claimed = {claim.license for claim in model.claims if not claim.resolved}
    facts = {name: getattr(model, name) for name in ModelFacts.__struct_fields__}
    said = model.estimate
    if said is not None:
        usd = to_usd(said.nano_per_mtok)
        facts["estimate"] = EstimateFacts(usd, said.source, said.stated_on, said.is_list_price, said.note)
    return ModelOut(
        **facts,
        status=model.status.value,
        space=model.space,
        licenses=sorted(claimed) or ([model.resolution.license] if model.resolution else []),
        usd_per_mtok=None if price is None else to_usd(price.nano_per_mtok),
        missing=missing,
        votes=model.votes,
    )
