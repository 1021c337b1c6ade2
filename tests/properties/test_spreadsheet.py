"""No cell of a CSV is a formula, whatever a name is; amounts stay numbers, and programs read what was meant."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.exports.cells import harmless
from router.api.spreadsheet import csv_text

STARTS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1, max_size=4))
def test_every_cell_comes_back_and_none_begins_like_a_formula(cells: list[str]) -> None:
    _, row = csv.reader(io.StringIO(csv_text(["x"] * len(cells), [cells]), newline=""))
    for cell, read in zip(cells, row, strict=True):
        assert read in (cell, f"'{cell}")
        try:
            float(read)
        except ValueError:
            assert not read.lstrip().startswith(tuple(STARTS)), read


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ('=HYPERLINK("http://x","y")', '\'=HYPERLINK("http://x","y")'),
        (" =1+1", "' =1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-2+3", "'-2+3"),
        ("-0.000000001", "-0.000000001"),
        ("a=b", "a=b"),
        (None, None),
        (7, 7),
    ],
)
def test_a_formula_stands_behind_an_apostrophe(value: object, written: object) -> None:
    assert harmless(value) == written
