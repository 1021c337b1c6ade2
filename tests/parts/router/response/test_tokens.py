"""Counting has what is left of the call's time; where a request is too large, its own tokens decide; what is billed."""

import asyncio

import msgspec
import pytest
from typing_extensions import override

from billing.money import MAX_INT32
from billing.values import Quote
from providers.outcomes import Overloaded, TooLong
from providers.protocol import Attempt, Provider, Vectors
from router.errors import InputTooLong, TooManyTokens
from router.request.body import MAX_TOKENS
from router.request.estimate import estimate, exact_quote, token_bound
from router.response.tokens import COUNT_WITHIN_S, compute_usage, count_quote, count_tokens, guaranteed_quote
from router.values import Endpoint, RawCall, Route
from store.ids import ProviderId, RequestId, new_id
from tests.builders.values import (
    ENDPOINT,
    NOW,
    Prices,
    a_delivery,
    a_hold,
    a_key,
    a_model,
    a_request,
    an_endpoint,
    unit_rows,
)

PROMPT = "search: "
MODEL = a_model(prompts={"query": PROMPT}, max_input_tokens=400_000, special_tokens=2)


class Counter(Provider):
    """A provider that counts after a while, or says why not; notes how long it was given."""

    def __init__(self, answer: int | Exception | None, takes_s: float = 0.0) -> None:
        self.answer, self.takes_s, self.limit_s = answer, takes_s, -1.0

    @override
    async def count(self, attempt: Attempt, deadline_s: float) -> int | None:
        self.limit_s = deadline_s
        await asyncio.sleep(self.takes_s)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    @override
    async def list_models(self, deadline_s: float) -> None:
        raise NotImplementedError

    @override
    async def embed(self, attempt: Attempt, deadline_s: float) -> Vectors:
        raise AssertionError("it is asked to count")

    @override
    async def close(self) -> None:
        """Nothing is open."""


def routed(counters: list[Counter]) -> tuple[Route, dict[ProviderId, Provider]]:
    endpoints = [an_endpoint(f"p{number}") for number in range(len(counters))]
    return Route(tuple(endpoints)), {e.provider_id: counter for e, counter in zip(endpoints, counters, strict=True)}


async def counted(counters: list[Counter], left_s: float) -> int | None:
    route, providers = routed(counters)
    deadline_at = asyncio.get_running_loop().time() + left_s
    return await count_tokens(route, a_request("x"), MODEL, providers, RequestId(new_id()), deadline_at)


def test_all_endpoints_together_get_no_more_time_than_the_call_has() -> None:
    busy, silent, last = Counter(Overloaded(), takes_s=0.05), Counter(None), Counter(7)
    assert asyncio.run(counted([busy, silent, last], left_s=2.0)) == 7
    assert 2.0 >= busy.limit_s > silent.limit_s >= last.limit_s > 0
    assert silent.limit_s <= 2.0 - 0.05
    late = Counter(7)
    assert asyncio.run(counted([Counter(None, takes_s=0.05), late], left_s=0.02)) is None
    assert late.limit_s < 0, "nobody is asked when the time is over"
    patient = Counter(7)
    asyncio.run(counted([patient], left_s=60.0))
    assert patient.limit_s <= COUNT_WITHIN_S


def test_an_input_that_is_too_long_is_refused_as_the_call_would_be() -> None:
    with pytest.raises(InputTooLong) as refused:
        asyncio.run(counted([Counter(TooLong(index=3, tokens=700, limit=512))], left_s=1.0))
    assert refused.value.details == {"index": 3, "tokens": 700, "limit": 512}


def test_what_the_model_adds_counts_towards_no_request_limit_neither_for_text_nor_for_ids() -> None:
    key, request = a_key(), msgspec.structs.replace(a_request("x", "y"), input_type="query")
    quote = estimate(request, MODEL, key, Prices(), NOW)
    added = 2 * (2 + token_bound(PROMPT))
    assert exact_quote(request, MODEL, quote, MAX_TOKENS + added).tokens_max == MAX_TOKENS + added
    with pytest.raises(TooManyTokens):
        exact_quote(request, MODEL, quote, MAX_TOKENS + added + 1)
    halves = [[1] * (MAX_TOKENS // 2)] * 2
    by_ids = msgspec.structs.replace(a_request(token_ids=halves), input_type="query")
    assert estimate(by_ids, MODEL, key, Prices(), NOW).tokens_max == MAX_TOKENS + added
    with pytest.raises(TooManyTokens):
        estimate(a_request(token_ids=[*halves, [1]]), MODEL, key, Prices(), NOW)


@pytest.mark.parametrize(("count", "counted"), [(9, (9, True)), (None, None)])
def test_a_quote_is_exact_where_an_endpoint_counts_and_none_where_none_does(
    count: int | None, counted: tuple[int, bool] | None
) -> None:
    async def scenario() -> Quote | None:
        request = a_request("some text")
        route, providers = routed([Counter(None), Counter(count)])
        quote = estimate(request, MODEL, a_key(), Prices(), NOW)
        deadline_at = asyncio.get_running_loop().time() + 1.0
        call = RawCall(RequestId(new_id()), b"", None, None, NOW, deadline_at)
        return await count_quote(quote, route, request, MODEL, providers, call)

    exact = asyncio.run(scenario())
    assert (None if exact is None else (exact.tokens_max, exact.exact)) == counted


def test_a_count_that_failed_where_workers_serve_leaves_a_bound() -> None:
    quote = estimate(a_request(token_ids=[[1, 2]]), MODEL, a_key(), Prices(), NOW)
    worker: Endpoint = an_endpoint(provider_kind="worker")
    assert quote.exact
    assert guaranteed_quote(quote, None, Route((ENDPOINT,))) == quote
    assert not guaranteed_quote(quote, None, Route((worker,))).exact
    assert not guaranteed_quote(quote, quote, Route((worker, ENDPOINT))).exact
    assert guaranteed_quote(quote, quote, Route((worker, worker))).exact


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("reported", [MAX_INT32 + 1, 10**15, 2**63 - 1])
def test_a_count_beyond_all_reason_is_billed_at_the_hold_and_recorded_as_far_as_there_is_room(
    reported: int, *, exact: bool
) -> None:
    delivery = msgspec.structs.replace(a_delivery(unit_rows(1, 8)), tokens=reported, exact=exact)
    usage = compute_usage(delivery, a_request("x"), a_model(), a_hold(tokens_max=100), NOW)
    assert (usage.tokens, usage.provider_tokens) == (100, MAX_INT32)
