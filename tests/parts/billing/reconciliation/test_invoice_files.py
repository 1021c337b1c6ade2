"""A provider's invoice is read to the nano, or refused with line and column; both sides are compared by a table."""

from datetime import date

import pytest

from billing.money import NanoUSD, from_usd, to_usd
from billing.reconciliation.column_map import MapRefused, read_map
from billing.reconciliation.compare import Billed, Used, compare, differences, group_models
from billing.reconciliation.invoice_csv import FileRefused, read_invoice

MAP = """
[columns]
day = "Date"
model = "Model"
amount = "Cost (USD)"
tokens = "Tokens"
currency = "Currency"
ignore = ["Project"]
"""
HEADER = b"Date,Model,Tokens,Cost (USD),Currency,Project\n"
GOOD = HEADER + b'2026-11-01,m1,1000,0.000000001,USD,p\n2026-11-02,m1,,12.5,usd,"a,\nb"\n2026-11-02,m2,7,-2,USD,p\n'
SINCE, UNTIL = date(2026, 11, 1), date(2026, 12, 1)
TOTAL = "10.500000001"


def read(content: bytes, map: str = MAP, total: str = TOTAL) -> list[tuple[object, ...]]:
    lines = read_invoice(content, read_map(map), SINCE, UNTIL, from_usd(total))
    return [(line.line, line.day and line.day.day, line.model, line.tokens, to_usd(line.amount)) for line in lines]


def test_an_invoice_is_read_to_the_nano() -> None:
    expected = [(2, 1, "m1", 1000, "0.000000001"), (3, 2, "m1", None, "12.50"), (5, 2, "m2", 7, "-2.00")]
    assert read(GOOD) == expected
    assert read(b"\xef\xbb\xbf" + GOOD, MAP + '[format]\nencoding = "utf-8-sig"\n') == expected
    german = GOOD.replace(b",", b";").replace(b"0.0", b"0,0").replace(b"12.5", b"12,5")
    assert read(german, MAP + '[format]\ndelimiter = ";"\ndecimal = ","\n') == expected
    # A model's month, without days, and more decimals than the books have.
    plain = '[columns]\nmodel = "m"\namount = "a"\n[format]\nround = true\n'
    assert read(b"m,a\nx,0.0000000015\ny,0.0000000025\n", plain, "0.000000004") == [
        (2, None, "x", None, "0.000000002"),
        (3, None, "y", None, "0.000000002"),
    ]


# The file | what is said of it. "+": behind the header.
REFUSED = [
    (b"", "Line 1, column 1: the file is empty"),
    (HEADER, "Line 2, column 1: there is no line"),
    (b"\xef\xbb\xbf" + GOOD, "Line 1, column 1: the file begins with a byte order mark"),
    (GOOD.decode().encode("utf-16"), "Line 1, column 1: the file begins with a byte order mark"),
    (GOOD.replace(b",p\n", b",\xe4\n", 1), "Line 2, column 36 (byte): it is not utf-8 text"),
    (GOOD.replace(b"m2", b"m\0"), "a character of value zero"),
    (GOOD[:-1], "Line 5, column 6: the last line does not end"),
    (GOOD[:-4] + b"\n", "Line 5, column 5: it has 5 cells, and the header has 6"),
    (GOOD[: GOOD.index(b"\nb")] + b"\n", "Line 3, column 1: a quoted cell does not end"),
    (GOOD[: GOOD.index(b"2026-11-02,m2")], "Line 3, column Cost (USD): up to here the lines come to 12.500000001"),
    (GOOD + b"2026-11-01,m1,1000,0.000000001,USD,p\n", "Line 6, column 1: it is the same as line 2"),
    (GOOD.replace(b"-2,USD", b"-2,EUR"), "Line 5, column 5 (Currency): the currency is 'EUR'"),
    (GOOD.replace(b"Project", b"Team"), "Line 1, column 6: the map has no column 'Team'"),
    (GOOD.replace(b"Tokens", b"Project"), "Line 1, column 6: the column 'Project' is there twice"),
    (GOOD.replace(b"Model,", b"Project,").replace(b",Project\n", b",Tokens\n"), "the column 'Model' is missing"),
    (GOOD.replace(b"2026-11-02,m2", b"2026-12-01,m2"), "Line 5, column 1 (Date): 2026-12-01 is not among the days"),
    (GOOD.replace(b"2026-11-02,m2", b"02.11.2026,m2"), "Line 5, column 1 (Date): '02.11.2026' is no day"),
    (GOOD.replace(b",7,", b",7.0,"), "Line 5, column 3 (Tokens): '7.0' is no whole number"),
    (GOOD.replace(b",m2,", b",,"), "Line 5, column 2 (Model): a model has"),
    *(
        (GOOD.replace(b",-2,", b"," + amount + b","), "Line 5, column 4 (Cost (USD)): ")
        for amount in (b"NaN", b"1e3", b"$2", b"", b"+2", "٣".encode(), b"0x1", b"0.0000000001", b"9000001", b"1 000")
    ),
]


@pytest.mark.parametrize(("content", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_wrong_in_a_file_is_named_by_line_and_column(content: bytes, message: str) -> None:
    with pytest.raises(FileRefused) as refused:
        read(content)
    assert message in str(refused.value)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(FileRefused) as refused:
        read(GOOD.replace(b"0.000000001", b"x").replace(b"-2,USD", b"-2,GBP"))
    assert [(fault.line, fault.column) for fault in refused.value.faults] == [
        (2, "4 (Cost (USD))"),
        (5, "5 (Currency)"),
    ]


@pytest.mark.parametrize(
    "map",
    [
        "[columns",
        '[columns]\nmodel = "m"\n',
        '[columns]\nmodel = "m"\namount = ""\n',
        '[columns]\nmodel = "m"\namount = "m"\n',
        MAP + "color = 1\n",
        MAP + '[format]\nencoding = "ebcdic"\n',
        MAP + '[format]\ndelimiter = ",,"\n',
        MAP + '[format]\ndecimal = ","\n',
        MAP + '[format]\ncurrency = "EUR"\n',
        MAP + '[format]\nday = "%d"\n',
        MAP + '[format]\ntolerance_usd = "-1"\n',
    ],
)
def test_a_map_that_cannot_be_used_is_refused(map: str) -> None:
    with pytest.raises(MapRefused):
        read_map(map)


# Model, day | billed | our calls cost | others may have | explained by those | left | verdict; 10 is tolerated
COMPARED = """
a 1 | 500 | 500 |   0 |   0 |    0 | equal
a 2 | 510 | 500 |   0 |   0 |   10 | equal
a 3 | 511 | 500 |   0 |   0 |   11 | billed_more
a 4 | 489 | 500 | 100 |   0 |  -11 | billed_less
a 5 | 560 | 500 | 100 |  60 |    0 | undelivered
a 6 | 640 | 500 | 100 | 100 |   40 | billed_more
a 7 |   - | 500 |   0 |   0 | -500 | not_billed
a 8 |  90 |   - | 100 |  90 |    0 | undelivered
x 1 | 500 |   - |   0 |   0 |  500 | unknown_model
x 2 |   5 |   - |   0 |   0 |    5 | equal
"""


def test_both_sides_are_compared_by_model_and_day() -> None:
    billed, used, expected = [], [], []
    for row in COMPARED.strip().splitlines():
        place, theirs, ours, others, explained, left, verdict = (cell.strip() for cell in row.split("|"))
        model, day = place[0], date(2026, 11, int(place[2]))
        if theirs != "-":
            billed.append(Billed(model, day, NanoUSD(int(theirs)), 1, is_known=model != "x"))
        if ours != "-" or others != "0":
            cost = NanoUSD(0 if ours == "-" else int(ours))
            used.append(Used(model, day, cost, 1, NanoUSD(int(others))))
        expected.append((model, day, int(explained), int(left), verdict))
    compared = compare(billed, used, NanoUSD(10))
    assert [(c.model, c.day, c.undelivered, c.difference, c.verdict) for c in compared] == expected
    assert sum(c.billed for c in compared) == sum(c.cost + c.undelivered + c.difference for c in compared)
    found = {one.object: (one.kind.value, one.amount) for one in differences(compared, "acme:7")}
    assert found == {
        "acme:7:2026-11-03:a": ("billed_more", 11),
        "acme:7:2026-11-04:a": ("billed_less", -11),
        "acme:7:2026-11-06:a": ("billed_more", 40),
        "acme:7:2026-11-07:a": ("not_billed", -500),
        "acme:7:2026-11-01:x": ("unknown_model", 500),
    }
    # An invoice with a line of no day is one of models alone.
    (whole,) = compare([Billed("a", None, NanoUSD(3), None), *billed[:1]], used[:2], NanoUSD(0))
    assert (whole.day, whole.billed, whole.cost) == (None, 503, 1000)


def test_models_that_share_a_name_there_are_compared_together() -> None:
    names = group_models([("a", "up"), ("b", "up"), ("b", "other"), ("c", "see")])
    assert names.theirs == {"up": "a + b", "other": "a + b", "see": "c"}
    assert names.ours == {"a": "a + b", "b": "a + b", "c": "c"}
