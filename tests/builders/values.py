"""Builds the values that a call is made of: each with defaults, and any field of it by keyword.

``a_model`` and its like are pure; what stands in a database is made by :mod:`tests.builders.database`.
"""

from datetime import UTC, date, datetime
from typing import Literal, TypedDict, Unpack

import msgspec
import numpy as np

from billing.money import NanoUSD, Price
from billing.values import Cap, Hold, Limits, LimitState, Payer, Quote, Usage
from catalog.values import Claim, Model, Resolution, Status, Use, Waiver
from providers.protocol import Attempt, FloatMatrix, Vectors
from router.dispatch.dispatch import Delivery
from router.values import EmbedRequest, Endpoint, EndpointState, Key
from store.ids import AccountId, EndpointId, KeyId, ModelId, PriceId, ProcessId, ProviderId, RequestId, new_id

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
MODEL_ID = ModelId("tests/one")
SPACE = "the space"


class ModelFields(TypedDict, total=False):
    """The fields of a model that a test may set."""

    owned_by: str
    status: Status
    dimensions: int
    max_input_tokens: int
    space: str
    normalized: bool
    trained_dimensions: tuple[int, ...]
    only_trained_dimensions: bool
    tokenizer: str | None
    vocabulary_size: int | None
    special_tokens: int
    prompts: dict[str, str]
    claims: tuple[Claim, ...]
    waivers: tuple[Waiver, ...]
    resolution: Resolution | None
    aliases: tuple[str, ...]
    numerics: str


class EndpointFields(TypedDict, total=False):
    """The fields of an endpoint that a test may set."""

    id: EndpointId
    model_id: ModelId
    provider_id: ProviderId
    upstream_model: str
    space: str
    state: EndpointState
    priority: int
    cost_nano_per_mtok: int
    asks_base64: bool
    native_input_type: bool
    max_batch: int | None
    upstream_space: str | None
    weight: int
    numerics: str | None
    max_batch_tokens: int | None
    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrency: int | None
    provider_kind: str
    regions: tuple[str, ...]
    collects_data: bool
    retention_days: int | None


class KeyFields(TypedDict, total=False):
    """The fields of an API key that a test may set."""

    use: Use
    models: frozenset[ModelId]
    expires_at: datetime | None
    paused: bool
    is_test: bool
    accepted: frozenset[str]
    allow_token_ids: bool


class UsageFields(TypedDict, total=False):
    """The fields of a call's usage that a test may set."""

    model_id: ModelId
    provider_id: ProviderId
    endpoint_id: EndpointId
    inputs: int
    tokens: int
    provider_tokens: int | None
    cost: NanoUSD
    provider_cost: NanoUSD
    occurred_at: datetime


class AttemptFields(TypedDict, total=False):
    """The fields of an attempt that a test may set."""

    request_id: str
    upstream_model: str
    token_ids: list[list[int]] | None
    dimensions: int | None
    input_type: str | None
    prefix: str
    asks_base64: bool
    lane: Literal["interactive", "batch"]


def a_model(id: str = MODEL_ID, **fields: Unpack[ModelFields]) -> Model:
    """A live model of eight dimensions that declares its tokenizer."""
    model = Model(
        id=ModelId(id),
        owned_by=id.partition("/")[0],
        summary="",
        status=Status.LIVE,
        dimensions=8,
        max_input_tokens=100,
        normalized=True,
        space=SPACE,
        published_on=date(2026, 1, 1),
        vocabulary_size=1000,
        special_tokens=2,
    )
    return msgspec.structs.replace(model, **fields)


def an_endpoint(provider_name: str = "provider", **fields: Unpack[EndpointFields]) -> Endpoint:
    """A live endpoint of a provider of its own, with ids of its own."""
    endpoint = Endpoint(
        id=EndpointId(new_id()),
        model_id=MODEL_ID,
        provider_id=ProviderId(new_id()),
        provider_name=provider_name,
        upstream_model="one",
        space=SPACE,
        state=EndpointState.LIVE,
        priority=100,
        cost_nano_per_mtok=0,
    )
    return msgspec.structs.replace(endpoint, **fields)


def a_payer(
    account_id: AccountId | None = None,
    *,
    limits: Limits | None = None,
    caps: tuple[Cap, ...] = (),
    cap: Cap | None = None,
) -> Payer:
    """A key of an account as billing knows it, without narrow limits."""
    wide = Limits(1_000_000, 1_000_000_000, 100_000)
    return Payer(account_id or AccountId(new_id()), KeyId(new_id()), limits or wide, (cap,) if cap else caps)


def a_key(**fields: Unpack[KeyFields]) -> Key:
    """A commercial key with ids of its own that may use every model and sends the models' own token ids."""
    payer = a_payer()
    key = Key(
        id=payer.key_id,
        account_id=payer.account_id,
        name="tests",
        use=Use.COMMERCIAL,
        payer=payer,
        allow_token_ids=True,
    )
    return msgspec.structs.replace(key, **fields)


def a_price(nano_per_mtok: int = 8_000_000, *, model_id: ModelId = MODEL_ID, effective_at: datetime = NOW) -> Price:
    return Price(id=PriceId(new_id()), model_id=model_id, nano_per_mtok=nano_per_mtok, effective_at=effective_at)


PAYER = a_payer(limits=Limits())
PRICE = a_price()
ENDPOINT = an_endpoint("upstream", priority=1, cost_nano_per_mtok=1)


class Prices:
    """An index with one price, or none."""

    def __init__(self, price: Price | None = PRICE) -> None:
        self._price = price

    def of_account(self, account_id: AccountId, model_id: ModelId, now: datetime) -> Price | None:
        return self._price


def a_request(
    *texts: str,
    token_ids: list[list[int]] | None = None,
    dimensions: int | None = None,
    input_type: Literal["query", "document"] | None = None,
    encoding_format: Literal["float", "base64"] = "float",
) -> EmbedRequest:
    return EmbedRequest(
        model=MODEL_ID,
        texts=list(texts) if token_ids is None else None,
        token_ids=token_ids,
        encoding_format=encoding_format,
        dimensions=dimensions,
        input_type=input_type,
        user=None,
    )


def a_hold(tokens_max: int = 100, amount_max: int = 1_000) -> Hold:
    return Hold(
        id=RequestId(new_id()),
        payer=PAYER,
        quote=Quote(tokens_max=tokens_max, amount_max=NanoUSD(amount_max), price=PRICE),
        limits=LimitState(3000, 2999, 20, 1_000_000, 999_990, 112),
        process_id=ProcessId(new_id()),
    )


def a_usage(**fields: Unpack[UsageFields]) -> Usage:
    """What a call of one input and ten tokens used at ``ENDPOINT``."""
    usage = Usage(
        model_id=MODEL_ID,
        provider_id=ENDPOINT.provider_id,
        endpoint_id=ENDPOINT.id,
        space=ENDPOINT.space,
        inputs=1,
        tokens=10,
        provider_tokens=10,
        cost=NanoUSD(80),
        provider_cost=NanoUSD(1),
        occurred_at=NOW,
        latency_ms=2,
        attempts=1,
    )
    return msgspec.structs.replace(usage, **fields)


def a_delivery(matrix: FloatMatrix) -> Delivery:
    return Delivery(matrix, 10, exact=True, endpoint=ENDPOINT, attempts=1, upstream_s=0.0015)


def unit_rows(rows: int, width: int, seed: int = 0) -> FloatMatrix:
    """Random vectors of length 1."""
    matrix = np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)
    unit: FloatMatrix = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    return unit


def an_attempt(*texts: str, **fields: Unpack[AttemptFields]) -> Attempt:
    """One text where none is given; ``token_ids`` take the place of texts."""
    given = None if fields.get("token_ids") is not None else list(texts or ("hello",))
    attempt = Attempt(request_id="req_1", upstream_model="up-model", texts=given)
    return msgspec.structs.replace(attempt, **fields)


def an_answer_of(matrix: FloatMatrix, tokens: int | None = 5, *, exact: bool = False) -> Vectors:
    return Vectors(matrix=matrix, tokens=tokens, exact=exact)
