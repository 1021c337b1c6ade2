"""``/admin/v1/models``: where each model stands, what it lacks to go live, and the moves between its states."""

from datetime import datetime

import msgspec
from fastapi import APIRouter, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import to_usd
from billing.prices import list_prices
from catalog import models
from catalog.values import Model, Status
from router.administer import import_catalog, launch_model, missing_for_launch, move_model
from router.edge.admin.answering import Resource, listed, one, page, slice_of
from router.edge.admin.asking import V1, body_of, exchange_of, query_of, read
from router.edge.admin.changing import Current, Made, change
from router.edge.admin.endpoints import Nothing
from router.edge.admin.telling import acts, lists, shows
from router.indexes import PriceIndex
from router.write import Work
from store.ids import ModelId

operations = APIRouter()
PATH = f"{V1}/models"
ONE = f"{PATH}/{{model_id:path}}"
TAG = "Models"


class ModelOut(Resource, frozen=True):
    """A catalogue entry. ``missing``: a sentence for each thing that it lacks to go live; null in a list.

    ``usd_per_mtok`` is the price in force, null where there is none.
    """

    volatile = frozenset({"usd_per_mtok", "missing", "votes"})

    id: str
    status: str
    owned_by: str
    summary: str
    dimensions: int
    max_input_tokens: int
    space: str
    revision: str | None
    aliases: list[str]
    licenses: list[str]
    usd_per_mtok: str | None
    missing: list[str] | None
    votes: int
    object: str = "model"


class Reason(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why; kept with the model's history."""

    reason: str = ""


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


@operations.get(ONE, **shows("admin_retrieve_model", "Retrieve a model", TAG, ModelOut))
async def retrieve(request: Request, model_id: str) -> Response:
    """One model, and what it lacks to go live."""
    query_of(request)
    now = exchange_of(request).now
    return one(await read(request, lambda connection: _full(connection, model_id, now)))


@operations.post(f"{PATH}:import", **acts("import_catalog", "Import the shipped catalogue", TAG, ImportOut, Nothing))
async def import_(request: Request) -> Response:
    """Bring the catalogue that this release ships up to date; what operators changed stays."""
    body_of(request, Nothing)

    async def command(work: Work) -> Made:
        summary = await import_catalog(work)
        shown = ImportOut(list(summary.added), list(summary.updated), list(summary.unchanged), list(summary.kept))
        return Made(shown)

    return await change(request, command)


@operations.post(f"{ONE}:launch", **acts("launch_model", "Put a model live", TAG, ModelOut, Reason))
async def launch(request: Request, model_id: str) -> Response:
    """It needs a settled license, a price in force and a live endpoint; a refusal names all that is missing."""
    body = body_of(request, Reason)

    async def command(work: Work) -> Made:
        await launch_model(work, ModelId(model_id), reason=body.reason)
        return Made(await _full(work.connection, model_id, work.now))

    return await change(request, command, current=_current(model_id))


def _moves(action: str, to: Status, summary: str, told: str) -> None:
    """One operation for one move."""

    async def move(request: Request, model_id: str) -> Response:
        body = body_of(request, Reason)

        async def command(work: Work) -> Made:
            await move_model(work, ModelId(model_id), to, reason=body.reason)
            return Made(await _full(work.connection, model_id, work.now))

        return await change(request, command, current=_current(model_id))

    move.__doc__ = told
    said = acts(f"{action}_model", summary, TAG, ModelOut, Reason)
    operations.add_api_route(f"{ONE}:{action}", move, methods=["POST"], **said)


_moves("deprecate", Status.DEPRECATED, "Deprecate a model", "It is served on, and customers are told to leave.")
_moves("retire", Status.RETIRED, "Retire a model", "It is served no longer.")
_moves("announce", Status.COMING_SOON, "Announce a retired model again", "It has to launch anew.")


async def _full(connection: AsyncConnection, model_id: str, now: datetime) -> ModelOut:
    model = await models.get(connection, model_id.replace("\0", "?"))
    missing = await missing_for_launch(connection, model, now)
    return _out(model, PriceIndex(await list_prices(connection)), now, list(missing))


def _current(model_id: str) -> Current:
    async def current(work: Work) -> ModelOut:
        await models.lock(work.connection, ModelId(model_id))
        return await _full(work.connection, model_id, work.now)

    return current


def _key(model: Model) -> str:
    return model.id


def _out(model: Model, prices: PriceIndex, now: datetime, missing: list[str] | None) -> ModelOut:
    price = prices.current(model.id, now)
    claimed = {claim.license for claim in model.claims if not claim.resolved}
    return ModelOut(
        id=model.id,
        status=model.status.value,
        owned_by=model.owned_by,
        summary=model.summary,
        dimensions=model.dimensions,
        max_input_tokens=model.max_input_tokens,
        space=model.space,
        revision=model.revision,
        aliases=list(model.aliases),
        licenses=sorted(claimed) or ([model.resolution.license] if model.resolution else []),
        usd_per_mtok=None if price is None else to_usd(price.nano_per_mtok),
        missing=missing,
        votes=model.votes,
    )
