"""Rules of contracts as tables: what a percentage makes of a price, which term holds, which months have a minimum."""

from datetime import UTC, date, datetime
from uuid import UUID

import pytest

from billing.contracts.rules import (
    Term,
    by_scope,
    discounted,
    percent_text,
    price_under,
    read_percent,
    term_for,
    whole_months,
)
from billing.money import Price, batch_price
from router.registry.indexes import PriceIndex
from store.ids import AccountId, ContractId, ModelId, PriceId, TermId, new_id

# List price per million tokens, percent off, what is paid per million tokens: USD, to the nano-dollar, half-even.
PRICES = """
0.020000000   15      0.017000000
0.020000000   12.5    0.017500000
0.000000001   50      0.000000000    half of one, to the even one
0.000000003   50      0.000000002    one and a half, to the even one
0.000000005   50      0.000000002    two and a half, to the even one
0.000000007   50      0.000000004    three and a half, to the even one
0.000000007   49.99   0.000000004
0.123456789   33.33   0.082308641
0.123456789   0.01    0.123444443
0.123456789   100     0.000000000
9000.0        99.99   0.900000000
"""


def nano(text: str) -> int:
    whole, _, rest = text.partition(".")
    return int(whole) * 10**9 + int(rest.ljust(9, "0"))


@pytest.mark.parametrize("line", PRICES.strip().splitlines())
def test_a_percentage_is_taken_off_the_price_once_half_even(line: str) -> None:
    listed, percent, paid = line.split()[:3]
    assert discounted(nano(listed), read_percent(percent)) == nano(paid)
    assert percent_text(read_percent(percent)) == percent


@pytest.mark.parametrize("text", ["0", "0.00", "100.01", "-1", "1e1", "٣", "NaN", "12.345", "", ".", "5.", "1000"])
def test_what_is_no_percentage_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="percentage"):
        read_percent(text)


ACCOUNT, OTHER = AccountId(new_id()), AccountId(new_id())
MODEL, SECOND, THIRD = ModelId("a/one"), ModelId("a/two"), ModelId("a/three")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def a_term(since: str, until: str | None, model: ModelId | None = None, **fields: int) -> Term:
    parts = {"nano_per_mtok": None, "batch_nano_per_mtok": None, "percent_off": None, **fields}
    return Term(
        id=TermId(new_id()),
        contract_id=ContractId(new_id()),
        account_id=ACCOUNT,
        model_id=model,
        effective_at=at(since),
        until=None if until is None else at(until),
        **parts,
    )


def listed(model: ModelId, since: str, nano_per_mtok: int, batch: int | None = None) -> Price:
    return Price(PriceId(new_id()), model, nano_per_mtok, at(since), batch)


# Ten percent off everything in 2026; a price of its own for one model in March; 20 % off another from June on.
TERMS = [
    a_term("2026-01-01", "2027-01-01", percent_off=1_000),
    a_term("2026-03-01", "2026-04-01", MODEL, nano_per_mtok=500, batch_nano_per_mtok=300),
    a_term("2026-06-01", None, SECOND, percent_off=2_000),
]
LISTED = [
    listed(MODEL, "2025-01-01", 1_000, 800),
    listed(MODEL, "2026-05-01", 1_500),
    listed(SECOND, "2025-01-01", 1_000),
]
# When, which model, the price and the batch lane's.
IN_FORCE = """
2025-12-31T23:59:59  a/one    1000   800
2026-01-01T00:00:00  a/one     900   720
2026-02-28T23:59:59  a/one     900   720
2026-03-01T00:00:00  a/one     500   300
2026-04-01T00:00:00  a/one     900   720
2026-05-01T00:00:00  a/one    1350  1350
2027-01-01T00:00:00  a/one    1500  1500
2026-05-31T00:00:00  a/two     900   900
2026-06-01T00:00:00  a/two     800   800
2027-06-01T00:00:00  a/two     800   800
2026-06-01T00:00:00  a/three     -     -
"""


@pytest.mark.parametrize("line", IN_FORCE.strip().splitlines())
def test_the_term_that_names_a_model_goes_first_and_others_pay_the_list_price(line: str) -> None:
    when, model, price, batch = line.split()
    index = PriceIndex(LISTED, TERMS)
    found = index.of_account(ACCOUNT, ModelId(model), at(when))
    if price == "-":
        assert found is None
        return
    assert found is not None
    assert (found.nano_per_mtok, batch_price(found).nano_per_mtok) == (int(price), int(batch))
    assert index.of_account(ACCOUNT, ModelId(model), at(when)) is found, "it is computed once"
    assert index.of_account(OTHER, ModelId(model), at(when)) == index.current(ModelId(model), at(when))


def test_a_price_has_the_same_id_in_every_process_and_names_its_term() -> None:
    term, price = TERMS[0], LISTED[0]
    found, again = price_under(term, price), price_under(term, price)
    assert found is not None
    assert found == again
    assert found.id not in (term.id, price.id, price_under(term, LISTED[2]).id)  # type: ignore[union-attr]
    assert found.agreement is not None
    assert (found.agreement.term_id, found.agreement.percent_off) == (term.id, 1_000)
    assert (found.agreement.list_nano_per_mtok, found.effective_at) == (1_000, at("2026-01-01"))
    lane = batch_price(found).agreement
    assert lane is not None
    assert lane.list_nano_per_mtok == 800
    negotiated = price_under(TERMS[1], None)
    assert negotiated is not None
    assert isinstance(negotiated.id, UUID)
    assert negotiated.agreement is not None
    assert negotiated.agreement.list_nano_per_mtok is None
    assert price_under(term, None) is None
    assert term_for(by_scope(TERMS), SECOND, at("2026-07-01")) is TERMS[2]


# From when and until when a contract holds; the whole months before the present one.
MONTHS = """
2026-01-01T00:00:00  -                    2026-04  2026-01 2026-02 2026-03
2026-01-01T00:00:01  -                    2026-04  2026-02 2026-03
2025-12-31T23:59:59  2026-03-01T00:00:00  2026-04  2026-01 2026-02
2026-01-01T00:00:00  2026-02-28T23:59:59  2026-04  2026-01
2026-01-15T00:00:00  2026-02-10T00:00:00  2026-04
2026-05-01T00:00:00  -                    2026-04
2025-11-01T00:00:00  2026-02-01T00:00:00  2026-04  2025-11 2025-12 2026-01
"""


@pytest.mark.parametrize("line", MONTHS.strip().splitlines())
def test_a_minimum_is_for_months_that_a_contract_holds_wholly(line: str) -> None:
    since, until, now, *months = line.split()
    found = whole_months(at(since), None if until == "-" else at(until), date.fromisoformat(f"{now}-01"))
    assert [f"{month:%Y-%m}" for month in found] == months
