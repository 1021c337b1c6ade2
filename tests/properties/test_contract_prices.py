"""Any price, any percentage, any calls: one rounding of the price, one of each call, and the invoice is their sum."""

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from billing.contracts.rules import discounted, percent_text, read_percent
from billing.documents.document import LineUsage, exact_line
from billing.money import cost_ceil

PRICES = st.integers(0, 9_000_000_000_000)
PERCENTS = st.integers(1, 10_000)


@settings(max_examples=60)
@given(PRICES, PERCENTS)
def test_a_discounted_price_is_the_nearest_and_the_even_one_of_two(price: int, percent: int) -> None:
    paid, exact = discounted(price, percent), Fraction(price * (10_000 - percent), 10_000)
    assert abs(paid - exact) <= Fraction(1, 2)
    if abs(paid - exact) == Fraction(1, 2):
        assert paid % 2 == 0
    assert 0 <= paid <= price
    assert read_percent(percent_text(percent)) == percent


@settings(max_examples=60)
@given(PRICES, PERCENTS, st.lists(st.integers(0, 300_000), min_size=1, max_size=20))
def test_the_invoices_line_is_the_sum_of_what_was_quoted(price: int, percent: int, calls: list[int]) -> None:
    paid = discounted(price, percent)
    quoted = [cost_ceil(tokens, paid) for tokens in calls]
    rounded_up = sum(quoted) * 1_000_000 - sum(calls) * paid
    assert 0 <= rounded_up < 1_000_000 * len(calls)
    line = LineUsage("a/b", "interactive", paid, len(calls), sum(calls), rounded_up, 0, "")
    assert exact_line(line) == sum(quoted) * 1_000_000
