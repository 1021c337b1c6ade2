"""Serves ``/v1/models`` and ``/v1/models/{id}``: OpenAI's shape, and a buyer's facts: price, width, space, license."""

from datetime import UTC, datetime, time
from typing import Literal

from pydantic import Field

from billing.money import to_usd
from catalog.permit import decide
from catalog.values import Model
from router.api.forms import Answer
from router.api.operation import Operations, Who
from router.api.public.request import ByKey, KeyRequest
from router.context import RouterContext
from router.errors import ModelNotFound
from router.request.body import printable_excerpt
from router.values import Key

operations = Operations("models", who=Who.KEY)


class Pricing(Answer):
    """Prices in USD as decimal text."""

    per_million_tokens: str
    per_token: str
    currency: Literal["USD"] = "USD"
    price_id: str | None = None
    estimated: bool = Field(False, description="It is announced, not in force: nothing is charged by it.")
    batch_per_million_tokens: str | None = Field(
        None, description="What calls with X-Tier: batch pay; null where that is no other price."
    )


class ModelOut(Answer):
    """OpenAI's model object with our fields beside."""

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
    votes: int = Field(description="The accounts that want it while it is announced, as of some seconds ago.")
    object: Literal["model"] = "model"


class ModelList(Answer):
    """OpenAI's list object."""

    data: list[ModelOut]
    object: Literal["list"] = "list"


@operations.get("/v1/models", verb="list", summary="List models")
async def list_models(request: ByKey) -> ModelList:
    """Every model that this key may see, those that are announced but not yet served included."""
    models = [model for model in request.context.catalog.all() if _is_visible(model, request.key)]
    return ModelList(data=[_out(model, request) for model in models])


@operations.get("/v1/models/{model_id:path}", verb="show", summary="Retrieve a model")
async def retrieve_model(request: ByKey, model_id: str) -> ModelOut:
    """One model; 404 ``model_not_found`` names the nearest ones."""
    return _out(visible_model(model_id, request.key, request.context), request)


def visible_model(name: str, key: Key, context: RouterContext) -> Model:
    """The model of an id or alias in a path. Raises ``ModelNotFound`` with the nearest ids."""
    model = context.catalog.get(name)
    if model is not None and _is_visible(model, key):
        return model
    nearest = context.catalog.nearest(name)
    hint = f" Did you mean {', '.join(f'`{other}`' for other in nearest)}?" if nearest else ""
    raise ModelNotFound(
        f"The model `{printable_excerpt(name)}` does not exist or you do not have access to it.{hint}",
        param="model",
        details={"nearest": nearest},
    )


def _is_visible(model: Model, key: Key) -> bool:
    return not key.models or model.id in key.models


def _out(model: Model, request: KeyRequest) -> ModelOut:
    key, now = request.key, request.exchange.now
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
        pricing=_pricing(model, request.context, now),
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
