"""Values of one call, with defaults."""

from datetime import UTC, date, datetime
from typing import Any, Literal

import msgspec
import numpy as np

from billing.money import NanoUSD, Price
from billing.values import Hold, Limits, LimitState, Payer, Quote, Usage
from catalog.values import Model, Status, Use
from providers.protocol import Attempt, FloatMatrix, Vectors
from router.dispatch.dispatch import Delivery
from router.values import EmbedRequest, Endpoint, EndpointState, Key
from store.ids import AccountId, EndpointId, KeyId, ModelId, PriceId, ProviderId, RequestId, new_id

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
MODEL_ID = ModelId("tests/one")
PAYER = Payer(account_id=AccountId(new_id()), key_id=KeyId(new_id()), limits=Limits())
PRICE = Price(id=PriceId(new_id()), model_id=MODEL_ID, nano_per_mtok=8_000_000, effective_at=NOW)
ENDPOINT = Endpoint(
    id=EndpointId(new_id()),
    model_id=MODEL_ID,
    provider_id=ProviderId(new_id()),
    provider_name="upstream",
    upstream_model="one",
    space="tests:one",
    state=EndpointState.LIVE,
    priority=1,
    cost_nano_per_mtok=1,
)


class Prices:
    """An index with one price, or none."""

    def __init__(self, price: Price | None = PRICE) -> None:
        self._price = price

    def current(self, model_id: ModelId, now: datetime) -> Price | None:
        return self._price


def a_model(**changes: Any) -> Model:
    model = Model(
        id=MODEL_ID,
        owned_by="tests",
        summary="",
        status=Status.LIVE,
        dimensions=8,
        max_input_tokens=100,
        normalized=True,
        space="tests:one",
        published_on=date(2026, 1, 1),
        vocabulary_size=1000,
        special_tokens=2,
    )
    return msgspec.structs.replace(model, **changes)


def a_key(**changes: Any) -> Key:
    key = Key(id=PAYER.key_id, account_id=PAYER.account_id, name="tests", use=Use.COMMERCIAL, payer=PAYER)
    return msgspec.structs.replace(key, **changes)


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


def a_hold(tokens_max: int = 100) -> Hold:
    return Hold(
        id=RequestId(new_id()),
        payer=PAYER,
        quote=Quote(tokens_max=tokens_max, amount_max=NanoUSD(1000), price=PRICE),
        period="total",
        limits=LimitState(3000, 2999, 20, 1_000_000, 999_990, 112),
    )


def a_usage(inputs: int = 1, tokens: int = 10) -> Usage:
    return Usage(
        model_id=MODEL_ID,
        provider_id=ENDPOINT.provider_id,
        endpoint_id=ENDPOINT.id,
        space=ENDPOINT.space,
        inputs=inputs,
        tokens=tokens,
        provider_tokens=tokens,
        cost=NanoUSD(80),
        provider_cost=NanoUSD(1),
        occurred_at=NOW,
        latency_ms=2,
        attempts=1,
    )


def a_delivery(matrix: FloatMatrix) -> Delivery:
    return Delivery(matrix, 10, exact=True, endpoint=ENDPOINT, attempts=1, upstream_s=0.0015)


def unit_rows(rows: int, width: int, seed: int = 0) -> FloatMatrix:
    matrix = np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)
    unit: FloatMatrix = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    return unit


def an_attempt(*texts: str, token_ids: list[list[int]] | None = None) -> Attempt:
    return Attempt(
        request_id="req_1",
        upstream_model="one",
        texts=list(texts) if token_ids is None else None,
        token_ids=token_ids,
        dimensions=8,
    )


def an_answer_of(matrix: FloatMatrix, tokens: int | None = 5, *, exact: bool = False) -> Vectors:
    return Vectors(matrix=matrix, tokens=tokens, exact=exact)
