"""What headers ask for: the lane and how long to wait, as RFC 7240 writes it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.edge.wishes import lane_of, wait_of
from router.errors import InvalidRequest
from router.values import Lane


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
