"""Tax, cents and lines, as tables that an accountant can read."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from billing.documents.document import exact_line, local_tax
from billing.documents.parties import Address, TaxId, TaxIdInvalid, TaxScheme, tax_id_of
from billing.documents.rounding import NANO_PER_CENT, cents_of, share_cents, tax_cents
from billing.documents.tax import TaxUndecided, decide_tax, percent
from tests.builders.documents import a_buyer, a_seller, a_usage_line, amount_of, an_invoice_draft

# Who sells; who pays, with which tax id; the day -> category, rate, whose tax.
TAX = """
DE                 DE  -               2026-10-31  S   19    DE
DE                 DE  DE136695976     2026-10-31  S   19    DE
DE                 FR  FR40303265045   2026-10-31  AE  0     FR
DE                 FR  -               2026-10-31  S   19    DE
DE+oss             FR  -               2026-10-31  S   20    FR
DE+oss             FI  -               2024-08-31  S   24    FI
DE+oss             FI  -               2024-09-01  S   25.5  FI
DE+oss             GR  EL094259216     2026-10-31  AE  0     GR
DE                 US  911144442       2026-10-31  O   0     US
DE                 GB  980780684       2026-10-31  O   0     GB
DE                 XX  -               2026-10-31  O   0     XX
DE+exempt          DE  -               2026-10-31  E   0     DE
DE+exempt          FR  FR40303265045   2026-10-31  E   0     DE
DE                 DE+exempt  -        2026-10-31  E   0     DE
US+none            DE  DE136695976     2026-10-31  O   0     US
US+none            US  -               2026-10-31  O   0     US
CH                 CH  CHE107787577    2026-10-31  S   8.1   CH
GB                 GB  -               2026-10-31  S   20    GB
US                 US  -               2026-10-31  ?   seller.address.country
"""


@pytest.mark.parametrize("line", TAX.strip().splitlines())
def test_the_tax_of_a_supply_is_this_table(line: str) -> None:
    sells, pays, tax_id, day, category, *expected = line.split()
    home, _, trait = sells.partition("+")
    country, _, buyer_trait = pays.partition("+")
    seller = a_seller(
        address=Address("Street 1", "Town", home),
        one_stop_shop=trait == "oss",
        exempt_reason="Small business" if trait == "exempt" else "",
        tax_scheme=TaxScheme.NONE if trait == "none" else TaxScheme.VAT,
    )
    buyer = a_buyer(country, "" if tax_id == "-" else tax_id, exempt_reason="Certificate 7" if buyer_trait else "")
    if category == "?":
        with pytest.raises(TaxUndecided) as refused:
            decide_tax(seller, buyer, date.fromisoformat(day))
        assert [refused.value.field] == expected
        return
    decision = decide_tax(seller, buyer, date.fromisoformat(day))
    assert [decision.category.value, percent(decision.rate), decision.jurisdiction] == [category, *expected]
    assert decision.reason


@pytest.mark.parametrize(
    ("country", "text", "value"),
    [
        ("DE", "DE 136 695 976", "DE136695976"),
        ("DE", "136695976", "DE136695976"),
        ("GR", "094259216", "EL094259216"),
        ("GB", "GB 980 7806 84", "980780684"),
        ("CH", "CHE-107.787.577 IVA", "CHE107787577IVA"),
        ("US", "91-1144442", "911144442"),
        ("XX", "a1-b2/c3", "A1-B2/C3"),
    ],
)
def test_a_tax_id_is_read_in_its_countrys_form(country: str, text: str, value: str) -> None:
    assert tax_id_of(country, text) == TaxId(country, value)


@pytest.mark.parametrize(
    ("country", "text"),
    [
        ("DE", "DE136695970"),
        ("DE", "FR40303265045"),
        ("DE", ""),
        ("DE", "=1+1"),
        ("US", "x"),
        ("XX", "<b>"),
        ("XX", "12"),
    ],
)
def test_what_is_no_tax_id_is_refused(country: str, text: str) -> None:
    with pytest.raises(TaxIdInvalid):
        tax_id_of(country, text)


# Nano-dollars -> cents, by half-even.
CENTS = """
4_999_999       0
5_000_000       0
5_000_001       1
15_000_000      2
25_000_000      2
-5_000_000      0
-15_000_000    -2
-25_000_001    -3
12_345_678_901  1235
"""


@pytest.mark.parametrize("line", CENTS.strip().splitlines())
def test_cents_are_half_even(line: str) -> None:
    nano, cents = line.split()
    assert cents_of(int(nano)) == int(cents)


# Net cents, rate in percent -> tax in cents.
TAXES = "100 19 19|250 19 48|350 19 66|50 25.5 13|-100 19 -19|1 19 0|10000 8.1 810|0 19 0"


@pytest.mark.parametrize("line", TAXES.split("|"))
def test_tax_is_half_even_of_the_net(line: str) -> None:
    net, rate, tax = line.split()
    assert tax_cents(int(net), int(Decimal(rate) * 100)) == int(tax)


@given(st.lists(st.integers(-(10**13), 10**13), max_size=60))
@example([3_333_333] * 3)
@example([5_000_000, -5_000_000, 10_000_000])
def test_cents_of_lines_are_the_cents_of_their_sum(amounts: list[int]) -> None:
    shares = share_cents(amounts)
    assert sum(shares) == cents_of(sum(amounts))
    assert all(abs(cents * NANO_PER_CENT - nano) < NANO_PER_CENT for cents, nano in zip(shares, amounts, strict=True))


@given(
    st.lists(st.tuples(st.integers(1, 10**9), st.integers(1, 10**10), st.integers(1, 10**4)), min_size=1, max_size=40),
    st.integers(0, 10**15),
)
def test_a_document_adds_up(lines: list[tuple[int, int, int]], given_nano: int) -> None:
    """Each line is tokens by price and its own figures of rounding; lines less deductions are the net, to the cent."""
    usages = [
        a_usage_line(
            tokens=tokens,
            nano_per_mtok=price,
            rounded_up_femto=-(tokens * price) % 1_000_000 + 10**6 * waived,
            waived_nano=waived,
        )
        for tokens, price, waived in lines
    ]
    draft = an_invoice_draft(usages, [("Given credit", given_nano)])
    net_nano = sum(amount_of(usage) for usage in usages) - given_nano
    for line, usage in zip(draft.lines, usages, strict=True):
        assert exact_line(usage) == line.amount_nano * 1_000_000
    assert sum(line.cents for line in draft.lines) - sum(one.cents for one in draft.deductions) == draft.net_cents
    assert draft.net_cents * NANO_PER_CENT - draft.rounding_nano == net_nano
    assert abs(draft.rounding_nano) * 2 <= NANO_PER_CENT


def test_vat_is_told_in_the_sellers_currency() -> None:
    tax = local_tax(an_invoice_draft(), 9_123, 10_000, date(2026, 10, 30), "ECB")
    assert (tax.currency, tax.cents, tax.per_usd) == ("EUR", 137, "0.9123")
