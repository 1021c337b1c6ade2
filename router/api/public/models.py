"""``GET /v1/models`` and ``/v1/models/{id}``: OpenAI's shape, and what a buyer asks: price, width, space, license."""

from datetime import UTC, datetime, time

import msgspec
from fastapi import Request, Response

from billing.money import to_usd
from catalog.permit import decide
from catalog.values import Model
from router.api.exchange import EXCHANGE, Exchange
from router.api.operation import Operations, Who
from router.context import RouterContext
from router.errors import ModelNotFound
from router.request.body import shown
from router.values import Key

operations = Operations("models", who=Who.KEY)


class Pricing(msgspec.Struct, frozen=True):
    """USD as decimal text. ``estimated`` prices are announced, not in force: nothing is charged by them.

    ``batch_per_million_tokens`` is what calls with ``X-Tier: batch`` pay; null where that is no other price.
    """

    per_million_tokens: str
    per_token: str
    currency: str = "USD"
    price_id: str | None = None
    estimated: bool = False
    batch_per_million_tokens: str | None = None


class ModelOut(msgspec.Struct, frozen=True):
    """OpenAI's model object with our fields beside.

    ``votes``: the accounts that want it while it is announced, as of some seconds ago.
    """

    id: str
    created: int
    owned_by: str
    status: str
    summary: str
    dimensions: int
    trained_dimensions: list[int]
    max_input_tokens: int
    takes_token_ids: bool
    input_types: list[str]
    space: str
    license: str
    license_conflict: bool
    usable_by_this_key: bool
    license_reasons: list[str]
    pricing: Pricing | None
    published_on: str | None
    languages: str
    note: str
    votes: int
    object: str = "model"


class ModelList(msgspec.Struct, frozen=True):
    """OpenAI's list object."""

    data: list[ModelOut]
    object: str = "list"


_encode = msgspec.json.Encoder().encode


@operations.get("/v1/models", verb="list", summary="List models")
async def list_models(request: Request) -> Response:
    """Every model that this key may see, those that are announced but not yet served included."""
    exchange, context = _who(request)
    key = _key(exchange)
    models = [_out(model, key, context, exchange.now) for model in context.catalog.all() if _visible(model, key)]
    return Response(_encode(ModelList(models)), media_type="application/json")


@operations.get("/v1/models/{model_id:path}", verb="show", summary="Retrieve a model")
async def retrieve_model(request: Request, model_id: str) -> Response:
    """One model; 404 ``model_not_found`` names the nearest ones."""
    exchange, context = _who(request)
    key = _key(exchange)
    model = visible_model(model_id, key, context)
    return Response(_encode(_out(model, key, context, exchange.now)), media_type="application/json")


def visible_model(name: str, key: Key, context: RouterContext) -> Model:
    """The model of an id or alias in a path. Raises ``ModelNotFound`` with the nearest ids."""
    model = context.catalog.get(name)
    if model is not None and _visible(model, key):
        return model
    nearest = context.catalog.nearest(name)
    hint = f" Did you mean {', '.join(f'`{other}`' for other in nearest)}?" if nearest else ""
    raise ModelNotFound(
        f"The model `{shown(name)}` does not exist or you do not have access to it.{hint}",
        param="model",
        details={"nearest": nearest},
    )


def _who(request: Request) -> tuple[Exchange, RouterContext]:
    return request.scope[EXCHANGE], request.app.state.context


def _key(exchange: Exchange) -> Key:
    assert exchange.caller is not None, "an operation for keys was reached without one; this is a bug"
    return exchange.caller.key


def _visible(model: Model, key: Key) -> bool:
    return not key.models or model.id in key.models


def _out(model: Model, key: Key, context: RouterContext, now: datetime) -> ModelOut:
    decision = decide(model, key.use, key.accepted, now)
    return ModelOut(
        id=model.id,
        created=_created(model),
        owned_by=model.owned_by,
        status=model.status.value,
        summary=model.summary,
        dimensions=model.dimensions,
        trained_dimensions=sorted(model.trained_dimensions),
        max_input_tokens=model.max_input_tokens,
        takes_token_ids=model.vocabulary_size is not None,
        input_types=sorted(model.prompts),
        space=model.space,
        license=decision.license,
        license_conflict=decision.conflict,
        usable_by_this_key=decision.allowed,
        license_reasons=list(decision.reasons),
        pricing=_pricing(model, context, now),
        published_on=model.published_on.isoformat() if model.published_on else None,
        languages=model.languages,
        note=model.note,
        votes=model.votes,
    )


def _created(model: Model) -> int:
    # OpenAI's shape wants a number; 0 is what it has for a day that is not known.
    return int(datetime.combine(model.published_on, time(), UTC).timestamp()) if model.published_on else 0


def _pricing(model: Model, context: RouterContext, now: datetime) -> Pricing | None:
    price = context.prices.current(model.id, now)
    nano = price.nano_per_mtok if price else model.estimated_nano_per_mtok
    if nano is None:
        return None
    batch = price.batch_nano_per_mtok if price else None
    return Pricing(
        per_million_tokens=to_usd(nano),
        per_token=_per_token(nano),
        price_id=f"price_{price.id.hex}" if price else None,
        estimated=price is None,
        batch_per_million_tokens=None if batch is None else to_usd(batch),
    )


def _per_token(nano_per_mtok: int) -> str:
    """USD per token, exact: nano-USD per million tokens are 10^-15 USD per token."""
    whole, fraction = divmod(nano_per_mtok, 10**15)
    return f"{whole}.{f'{fraction:015d}'.rstrip('0') or '0'}"
