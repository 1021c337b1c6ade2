"""Money is integers: rounded once, up, per call; exact in text; refused where it does not fit."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.money import MAX_INT64, Price, cost_ceil, from_usd, price_at, to_usd
from store.ids import ModelId, PriceId, new_id

TOKENS = st.integers(0, 2**40)
PRICES = st.integers(0, 9_000_000_000_000)


@given(TOKENS, PRICES)
def test_a_cost_is_the_exact_product_rounded_up_once(tokens: int, price: int) -> None:
    exact = Fraction(tokens * price, 1_000_000)
    if exact > MAX_INT64:
        with pytest.raises(OverflowError):
            cost_ceil(tokens, price)
        return
    cost = cost_ceil(tokens, price)
    assert exact <= cost < exact + 1
    assert type(cost) is int


@given(st.lists(st.integers(0, 10_000), max_size=50), PRICES)
def test_a_call_is_rounded_once_and_never_per_input(inputs: list[int], price: int) -> None:
    whole = cost_ceil(sum(inputs), price)
    parts = sum(cost_ceil(tokens, price) for tokens in inputs)
    assert whole <= parts <= whole + len(inputs)


@given(TOKENS, TOKENS, PRICES)
def test_more_tokens_never_cost_less(few: int, more: int, price: int) -> None:
    few, more = min(few, more) % 2**20, max(few, more) % 2**20
    few, more = min(few, more), max(few, more)
    assert cost_ceil(few, price) <= cost_ceil(more, price)


@given(st.integers(-MAX_INT64, MAX_INT64))
def test_an_amount_survives_its_text(amount: int) -> None:
    assert from_usd(to_usd(amount)) == amount


@pytest.mark.parametrize(
    "text", ["", ".", "1.", ".5", "1e3", "1,00", "\u0661", "1.0000000001", "NaN", "--1", "9" * 30, " 1"]
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_usd(text)


def test_the_edge_of_the_ledger_is_exact() -> None:
    assert cost_ceil(MAX_INT64, 1_000_000) == MAX_INT64
    with pytest.raises(OverflowError):
        cost_ceil(MAX_INT64 + 1, 1_000_000)
    with pytest.raises(ValueError, match="never negative"):
        cost_ceil(-1, 1)


@given(st.lists(st.integers(0, 1_000), min_size=1, unique=True), st.integers(0, 1_000))
def test_the_price_in_force_is_the_newest_that_has_begun(starts: list[int], now: int) -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    prices = [
        Price(PriceId(new_id()), ModelId("m"), start, begin + timedelta(seconds=start)) for start in sorted(starts)
    ]
    found = price_at(prices, begin + timedelta(seconds=now))
    begun = [start for start in starts if start <= now]
    assert (found.nano_per_mtok if found else None) == (max(begun) if begun else None)
