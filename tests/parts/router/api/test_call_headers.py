"""What headers ask for: the lane and how long to wait, as RFC 7240 writes it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.api.exchange import EXCHANGE, Exchange
from router.api.public.call_headers import lane_of, wait_of
from router.api.server.guard import Guard
from router.errors import AllAttemptsFailed, InvalidRequest, NotRecorded
from router.values import AttemptRecord, Lane, Trace
from store.clock import Clock
from tests.builders.values import ENDPOINT, a_hold


@pytest.mark.parametrize(
    ("tier", "lane"),
    [
        (b"batch", Lane.BATCH),
        (b" Batch ", Lane.BATCH),
        (b"interactive", Lane.INTERACTIVE),
        (b"default", Lane.INTERACTIVE),
    ],
)
def test_a_tier_names_a_lane(tier: bytes, lane: Lane) -> None:
    assert lane_of(tier) is lane


@pytest.mark.parametrize("tier", [b"", b"flex", b"batch,batch", b"batch\x00", "bätch".encode()])
def test_what_is_no_tier_is_refused(tier: bytes) -> None:
    with pytest.raises(InvalidRequest):
        lane_of(tier)


@pytest.mark.parametrize(
    ("prefer", "wait_s"),
    [
        (b"wait=10", 10),
        (b"Wait = 7", 7),
        (b"respond-async, wait=5", 5),
        (b'handling=lenient; x="a, wait=9", wait=3;foo', 3),
        (b"wait=4, wait=8", 4),
        (b"wait=600", 60),
        (b"wait=0", 0),
        (b"", 0),
        (b"wait", 0),
        (b"wait=", 0),
        (b"wait=-1", 0),
        (b"wait=1.5", 0),
        (b"wait=ten, wait=3", 0),
        (b"waiting=5", 0),
        (b'x="wait=5"', 0),
        (b"wait=" + b"9" * 500, 0),
    ],
)
def test_a_wait_is_understood_or_not_there(prefer: bytes, wait_s: float) -> None:
    assert wait_of(prefer, 60.0) == wait_s


@given(st.binary(max_size=2000))
def test_no_header_breaks_it(prefer: bytes) -> None:
    assert 0 <= wait_of(prefer, 60.0) <= 60


@pytest.mark.timeout(5)
def test_a_hostile_header_costs_no_time() -> None:
    assert wait_of(b'"' * 32_000, 60.0) == 0
    assert wait_of(b'x="' + b"\\" * 32_000, 60.0) == 0


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("fault", "status", "cost"),
    [
        (AllAttemptsFailed("All failed."), b"503", b"0.00"),
        # Whether these were charged is not certain.
        (NotRecorded("Not recorded."), b"503", None),
        (RuntimeError("a bug"), b"500", None),
    ],
)
async def test_every_error_of_a_call_tells_attempts_provider_and_limits(
    fault: Exception, status: bytes, cost: bytes | None
) -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        exchange: Exchange = scope[EXCHANGE]
        exchange.trace = Trace(hold=a_hold(), attempts=[AttemptRecord(ENDPOINT, "first", 0.0, 1.0, "Broken")])
        raise fault

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"{}"}

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    guard = Guard(failing, body_bytes_max=100, calls_max=1, record=lambda exchange: None, clock=Clock())
    scope = {"type": "http", "method": "POST", "path": "/v1/embeddings", "query_string": b"", "headers": []}
    await guard(scope, receive, send)
    headers = dict(sent[0]["headers"])
    assert b"%d" % sent[0]["status"] == status
    assert (headers[b"x-gigarouter-attempts"], headers[b"x-gigarouter-provider"]) == (b"1", b"upstream")
    assert headers[b"x-ratelimit-remaining-requests"] == b"2999"
    assert headers.get(b"x-gigarouter-cost") == cost
