"""Serves ``/v1/models`` and ``/v1/models/{id}``: OpenAI's shape, and a buyer's facts: price, width, space, license.

The list is a picker's: what a call with the key that is sent would be served now, and without a key what is sold. Other
models are listed where the query wants them; each is retrieved by its id, by anyone.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, time
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import Query, Response
from pydantic import BaseModel, ConfigDict, Field

from billing.money import to_usd
from catalog.permit import decide
from catalog.values import Model, Use
from catalog.verdict import Chip, chip_of, verdict_of
from router.api.fields import ContractIdText, PageLimit
from router.api.forms import Answer, answer_of, closed, opened
from router.api.license_verdict import LicenseVerdict, verdict_form
from router.api.model_facts import (
    BenchmarkFacts,
    DownloadsFacts,
    EstimateFacts,
    StatementFacts,
    TextFacts,
    records_of,
)
from router.api.operation import Operations, Who
from router.api.public.request import ByVisitor, VisitorRequest
from router.context import RouterContext
from router.errors import ModelNotFound
from router.registry.indexes import PriceIndex
from router.request.body import printable_excerpt
from router.request.estimate import takes_token_ids
from router.usable_models import is_sold, is_usable
from store.ids import AccountId, ModelId

operations = Operations("models", who=Who.VISITOR)


class Pricing(Answer):
    """Prices in USD as decimal text: with a key what its account pays, without one the list price."""

    per_million_tokens: str
    per_token: str
    currency: Literal["USD"] = "USD"
    price_id: str | None = None
    estimated: bool = Field(False, description="It is announced, not in force: nothing is charged by it.")
    batch_per_million_tokens: str | None = Field(
        None, description="What calls with X-Tier: batch pay; null where that is no other price."
    )
    contract: ContractIdText | None = Field(None, description="The account's contract that makes the price.")
    list_per_million_tokens: str | None = Field(
        None, description="The list price, where a contract of the account makes another."
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
    tokenizer: str | None = Field(description="Whose ids token ids are; null where it is not declared.")
    takes_token_ids: bool = Field(
        description="A call with this key may send token ids of the model's tokenizer; without a key: any key's may."
    )
    input_types: list[str]
    space: str
    license: str
    license_conflict: bool
    usable_by_this_key: bool | None = Field(
        description="A call with this key would be served now; null where no key was sent."
    )
    license_reasons: list[str] = Field(description="Why the license lets this key use it, or not; empty without a key.")
    pricing: Pricing | None
    published_on: str | None
    languages: str
    note: str
    votes: int = Field(description="The accounts that want it while it is announced, as of some seconds ago.")
    updated_on: str | None = Field(description="A day, or a month where no day is known.")
    task: str
    architecture: str | None
    parameters: int | None
    normalized: bool = Field(description="Vectors are promised to have length 1.")
    language_codes: list[str] = Field(description="Natural languages that are known one by one, as BCP 47.")
    license_in_words: Chip = Field(description="What the license record says of commercial use, without a name.")
    object: Literal["model"] = "model"


class ModelDetail(ModelOut):
    """A model with everything that is stated of it, and what its license record means."""

    aliases: list[str]
    only_trained_dimensions: bool
    max_input_tokens_ceiling: int | None = Field(description="What the architecture could take; not offered.")
    pooling: str
    numerics: str
    vocabulary_size: int | None
    special_tokens: int
    prompts: dict[str, str] = Field(description="What stands before an input of this input_type.")
    revision: str | None = Field(description="Pin of the weights: a commit or a digest.")
    programming_languages: list[str]
    estimate: EstimateFacts | None = Field(description="What it is said to cost before it has a price.")
    downloads: DownloadsFacts | None
    statements: list[StatementFacts] = Field(description="Which source states which fact.")
    benchmarks: list[BenchmarkFacts]
    texts: list[TextFacts]
    license_verdict: LicenseVerdict
    successor: str | None = Field(description="The model that takes its place, once it is deprecated or retired.")


class ModelList(Answer):
    """OpenAI's list object; ``next_cursor`` asks for the rest."""

    data: list[ModelOut]
    has_more: bool = False
    next_cursor: str | None = None
    object: Literal["list"] = "list"


class ModelQuery(BaseModel):
    """Which models, and which part of the list."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    status: tuple[Literal["usable", "all", "coming_soon", "live", "deprecated", "retired"], ...] = Field(
        ("usable",),
        description="usable: what a call with this key would be served now, and without a key what is sold; all: the "
        "whole catalogue; else models of this status, whoever may use them. It may be repeated.",
    )
    limit: PageLimit | None = Field(None, description="The most that one page has; without it the list is whole.")
    cursor: str | None = Field(None, description="The next_cursor of the page before.")


@operations.get("/v1/models", verb="list", summary="List models")
async def list_models(request: ByVisitor, response: Response, query: Annotated[ModelQuery, Query()]) -> ModelList:
    """The models that a call with this key can use now; ``status`` lists others. A key is not needed."""
    is_listed, after = _selector(query, request), "" if query.cursor is None else opened(query.cursor)
    models = [model for model in request.context.catalog.all() if model.id > after and is_listed(model)]
    if query.limit is None or len(models) <= query.limit:
        return ModelList(data=[_out(model, request) for model in models])
    models = models[: query.limit]
    cursor = closed(models[-1].id)
    wanted = [("status", status) for status in query.status]
    following = urlencode([*wanted, ("limit", query.limit), ("cursor", cursor)])
    response.headers["link"] = f'</v1/models?{following}>; rel="next"'
    return ModelList(data=[_out(model, request) for model in models], has_more=True, next_cursor=cursor)


@operations.get("/v1/models/{model_id:path}", verb="show", summary="Retrieve a model")
async def retrieve_model(request: ByVisitor, model_id: str) -> ModelDetail:
    """One model, whoever may use it; 404 ``model_not_found`` names the nearest ones. A key is not needed."""
    model = find_model(model_id, request.context)
    out = _out(model, request)
    return answer_of(
        ModelDetail,
        model,
        **{name: getattr(out, name) for name in ModelOut.model_fields},
        **{name: list(many) if isinstance(many, tuple) else many for name, many in records_of(model).items()},
        aliases=list(model.aliases),
        programming_languages=list(model.programming_languages),
        license_verdict=verdict_form(verdict_of(model, request.exchange.now)),
    )


def find_model(name: str, context: RouterContext, among: frozenset[ModelId] = frozenset()) -> Model:
    """The model of an id or alias in a path, of ``among`` alone where it is not empty.

    Raises ``ModelNotFound`` with the nearest ids.
    """
    model = context.catalog.get(name)
    if model is not None and (not among or model.id in among):
        return model
    nearest = context.catalog.nearest(name, among)
    hint = f" Did you mean {', '.join(f'`{other}`' for other in nearest)}?" if nearest else ""
    raise ModelNotFound(
        f"The model `{printable_excerpt(name)}` does not exist or you do not have access to it.{hint}",
        param="model",
        details={"nearest": nearest},
    )


def _selector(query: ModelQuery, request: VisitorRequest) -> Callable[[Model], bool]:
    """Whether the query wants a model."""
    statuses = frozenset(query.status)
    if "all" in statuses:
        return lambda model: True
    if "usable" in statuses:
        return lambda model: model.status.value in statuses or _is_usable(model, request)
    return lambda model: model.status.value in statuses


def _is_usable(model: Model, request: VisitorRequest) -> bool:
    now, now_s = request.exchange.now, asyncio.get_running_loop().time()
    if request.key is None:
        return is_sold(model, request.context, now, now_s)
    return is_usable(model, request.key, request.context, now, now_s)


def _out(model: Model, request: VisitorRequest) -> ModelOut:
    key, now = request.key, request.exchange.now
    # Without a key no use is declared: what the license is does not depend on it.
    use, accepted = (Use.COMMERCIAL, frozenset[str]()) if key is None else (key.use, key.accepted)
    decision = decide(model, use, accepted, now)
    return ModelOut(
        id=model.id,
        created=_created(model),
        owned_by=model.owned_by,
        status=model.status.value,
        summary=model.summary,
        dimensions=model.dimensions,
        trained_dimensions=sorted(model.trained_dimensions),
        max_input_tokens=model.max_input_tokens,
        tokenizer=model.tokenizer,
        takes_token_ids=takes_token_ids(model, allowed=key is not None and key.allow_token_ids),
        input_types=sorted(model.prompts),
        space=model.space,
        license=decision.license,
        license_conflict=decision.conflict,
        usable_by_this_key=None if key is None else _is_usable(model, request),
        license_reasons=[] if key is None else list(decision.reasons),
        pricing=_pricing(model, request),
        published_on=model.published_on.isoformat() if model.published_on else None,
        languages=model.languages,
        note=model.note,
        votes=model.votes,
        updated_on=model.updated_on,
        task=model.task,
        architecture=model.architecture,
        parameters=model.parameters,
        normalized=model.normalized,
        language_codes=list(model.language_codes),
        license_in_words=chip_of(model, now),
    )


def _created(model: Model) -> int:
    # OpenAI's shape wants a number; 0 is what it has for a day that is not known.
    return int(datetime.combine(model.published_on, time(), UTC).timestamp()) if model.published_on else 0


def list_pricing(model: Model, prices: PriceIndex, now: datetime) -> Pricing | None:
    """The list price of a model, or its estimate; None: neither is set."""
    return _pricing_of(model, prices, None, now)


def _pricing(model: Model, request: VisitorRequest) -> Pricing | None:
    account = None if request.key is None else request.key.account_id
    return _pricing_of(model, request.context.prices, account, request.exchange.now)


def _pricing_of(model: Model, prices: PriceIndex, account: AccountId | None, now: datetime) -> Pricing | None:
    listed = prices.current(model.id, now)
    price = listed if account is None else prices.of_account(account, model.id, now)
    nano = price.nano_per_mtok if price else model.estimated_nano_per_mtok
    if nano is None:
        return None
    batch, agreement = (price.batch_nano_per_mtok, price.agreement) if price else (None, None)
    return Pricing(
        per_million_tokens=to_usd(nano),
        per_token=_per_token(nano),
        price_id=f"price_{price.id.hex}" if price else None,
        estimated=price is None,
        batch_per_million_tokens=None if batch is None else to_usd(batch),
        contract=None if agreement is None else agreement.contract_id,
        list_per_million_tokens=None if agreement is None or listed is None else to_usd(listed.nano_per_mtok),
    )


def _per_token(nano_per_mtok: int) -> str:
    """USD per token, exact: nano-USD per million tokens are 10^-15 USD per token."""
    whole, fraction = divmod(nano_per_mtok, 10**15)
    return f"{whole}.{f'{fraction:015d}'.rstrip('0') or '0'}"
