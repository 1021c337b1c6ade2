"""Journals in cents: they balance, and what a program adds up is never more than half a cent off, however long."""

import csv
import io
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from billing.chart import LedgerKind
from billing.exports import datev
from billing.exports.cents import NANO_PER_CENT, Journal, Line, carried, cents_of
from billing.exports.formats import ExportFormat, Grain
from billing.exports.mapping import Mapping, MappingRefused, check_complete, read_mapping
from billing.exports.plain_text import account_name, amount_text
from billing.exports.programs import LINES_MAX, TooManyLines, write_files
from tests.builders.values import NOW

CODES = [f"{8000 + n}" for n in range(6)]
FIRST = date(2026, 1, 31)
MAPPING = """
[accounts]
revenue = {code = "8400", tax = "3"}
rounding = {code = "4999", tax = "0"}
customer_credit = {code = "1710", tax = "0"}
"tax_payable:DE" = {code = "1776", tax = "0"}
[datev]
consultant = 1001
client = 7
clearing = "1590"
currency = "EUR"
rate = "1.0870"
"""

amounts = st.integers(-(10**12), 10**12) | st.integers(-3, 3).map(lambda n: n * NANO_PER_CENT // 2)


@st.composite
def steps(draw: Any) -> list[tuple[date, dict[str, int]]]:
    """Steps of the ledger, each of which sums to zero."""
    found = []
    for number in range(draw(st.integers(1, 20))):
        moved = draw(st.dictionaries(st.sampled_from(CODES[1:]), amounts, max_size=5))
        moved[CODES[0]] = -sum(moved.values())
        found.append((FIRST + timedelta(days=number), moved))
    return found


@settings(deadline=None, max_examples=80)
@given(st.integers(-(10**15), 10**15))
@example(NANO_PER_CENT // 2)
@example(-NANO_PER_CENT // 2)
@example(3 * NANO_PER_CENT // 2)
def test_a_balance_in_cents_is_at_most_half_a_cent_off_and_the_same_below_zero(nano: int) -> None:
    assert abs(cents_of(nano) * NANO_PER_CENT - nano) * 2 <= NANO_PER_CENT
    assert cents_of(-nano) == -cents_of(nano)
    if abs(nano) % NANO_PER_CENT == NANO_PER_CENT // 2:
        assert cents_of(nano) % 2 == 0


@settings(deadline=None, max_examples=60)
@given(steps(), st.integers(0, 20))
def test_what_was_imported_never_strays_wherever_it_was_cut_into_exports(
    moved: list[tuple[date, dict[str, int]]], cut: int
) -> None:
    rounding = "rounding"
    whole = carried({}, moved, rounding)
    before = {code: sum(step.get(code, 0) for _, step in moved[:cut]) for code in CODES}
    assert whole == carried({}, moved[:cut], rounding) + carried(before, moved[cut:], rounding)
    balances = dict.fromkeys(CODES, 0)
    imported = dict.fromkeys([*CODES, rounding], 0)
    by_day = {journal.day: journal for journal in whole}
    for day, step in moved:
        for code, amount in step.items():
            balances[code] += amount
        lines = by_day[day].lines if day in by_day else ()
        assert sum(line.cents for line in lines) == 0
        assert all(line.cents for line in lines)
        for line in lines:
            imported[line.code] -= line.cents
        for code in CODES:
            assert abs(imported[code] * NANO_PER_CENT - balances[code]) * 2 <= NANO_PER_CENT
        # The plug is what the others are off together, and does not grow.
        assert abs(imported[rounding]) * 2 <= len(CODES)


def a_mapping(codes: list[str]) -> Mapping:
    lines = "\n".join(f'"tax_payable:{code}" = {{code = "{code}", tax = "1", name = "=Acme"}}' for code in codes)
    head = '[datev]\nconsultant = 1\nclient = 1\nclearing = "1590"\n'
    return read_mapping(f'[accounts]\nrounding = {{code = "4999", tax = "1"}}\n{lines}\n{head}', ExportFormat.DATEV)


@settings(deadline=None, max_examples=25)
@given(steps(), st.sampled_from([Grain.DAY, Grain.MONTH]))
def test_each_program_gets_all_cents_in_files_that_it_takes(
    moved: list[tuple[date, dict[str, int]]], grain: Grain
) -> None:
    journals = carried({}, moved, "4999")
    wanted = sum(line.cents for journal in journals for line in journal.lines if line.cents > 0)
    for format in (ExportFormat.GENERIC, ExportFormat.QUICKBOOKS, ExportFormat.XERO, ExportFormat.DATEV):
        mapping = a_mapping(CODES)
        files = write_files(format, journals, mapping, grain=grain, label="2026", made_at=NOW)
        assert sum(file.debit_cents for file in files) == wanted
        assert sum(cents for file in files for cents in debits(format, file.data)) == wanted
        assert len({file.name for file in files}) == len(files)


def debits(format: ExportFormat, data: bytes) -> list[int]:
    if format is ExportFormat.DATEV:
        lines = data.decode("cp1252").split("\r\n")[2:-1]
        found = [line.split(";") for line in lines]
        assert all(len(cells) == len(datev.COLUMNS) == 125 for cells in found)
        return [int(cells[0].replace(",", "")) for cells in found if cells[1] == '"S"']
    rows = list(csv.DictReader(io.StringIO(data.decode(), newline="")))
    assert format is not ExportFormat.XERO or len(rows) <= 300
    column = {ExportFormat.GENERIC: "debit", ExportFormat.QUICKBOOKS: "Debits", ExportFormat.XERO: "Amount"}[format]
    cents = [int(row[column].replace(".", "")) for row in rows if row[column]]
    if format is ExportFormat.QUICKBOOKS:
        assert {row["Name"] for row in rows} <= {"'=Acme", ""}
    return [one for one in cents if one > 0]


def test_a_journal_is_never_cut_in_two_and_one_that_is_too_long_is_refused() -> None:
    codes = [f"{8000 + n}" for n in range(140)]
    lines = tuple(Line(code, 1 if n % 2 else -1) for n, code in enumerate(codes))
    journals = [Journal(FIRST + timedelta(days=n), lines) for n in range(5)]
    mapping = a_mapping(codes)
    files = write_files(ExportFormat.XERO, journals, mapping, grain=Grain.DAY, label="2026-02", made_at=NOW)
    assert [file.rows for file in files] == [280, 280, 140]
    assert all(file.rows <= LINES_MAX[ExportFormat.XERO] for file in files)
    long = [Journal(FIRST, tuple(Line(code, 1) for code in [*codes, *codes, *codes]))]
    with pytest.raises(TooManyLines, match="420 lines"):
        write_files(ExportFormat.XERO, long, mapping, grain=Grain.DAY, label="2026-02", made_at=NOW)


def test_datev_has_its_header_and_lines_as_it_reads_them() -> None:
    mapping = read_mapping(MAPPING, ExportFormat.DATEV)
    journal = Journal(date(2026, 2, 28), (Line("8400", -123456), Line("1710", 123456)))
    made = datetime(2026, 3, 1, 12, 30, 5, 250_000, tzinfo=UTC)
    [file] = write_files(ExportFormat.DATEV, [journal], mapping, grain=Grain.MONTH, label="2026-02", made_at=made)
    assert file.name == "EXTF_Buchungsstapel_2026-02.csv"
    header, columns, first, second, end = file.data.decode("cp1252").split("\r\n")
    assert header == (
        '"EXTF";700;21;"Buchungsstapel";13;20260301123005250;;"RE";"gigarouter";"";1001;7;20260101;4;20260201;20260228;'
        '"gigarouter 2026-02";"";1;0;0;"EUR";;"";;;"";;;"";""'
    )
    assert len(header.split(";")) == 31
    assert columns.split(";")[7:9] == ["Gegenkonto (ohne BU-Schlüssel)", "BU-Schlüssel"]
    assert first.startswith('1234,56;"H";"USD";1,0870;;"";8400;1590;"3";2802;"GR202602";"";;"gigarouter 2026-02";')
    assert second.startswith('1234,56;"S";"USD";1,0870;;"";1710;1590;"0";2802;')
    assert end == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[accounts]", "[acounts]"), "acounts"),
        (('"8400"', '""'), "revenue has no code"),
        (("revenue", "revenues"), "revenues is no ledger account"),
        (('tax = "3"', 'tacks = "3"'), "tacks"),
        (('"8400"', '"84OO"'), "84OO is no account of DATEV"),
        (('"8400"', '"北京"'), "北京 is no account of DATEV"),
        (('"1590"', '"159000"'), "159000 is no account"),
        (('rate = "1.0870"', ""), "rate"),
        (("client = 7", "client = 100000"), "client"),
        (('"3"', '"19 %"'), "19 % is no tax key"),
        (('code = "8400"', 'code = "a\\nb"'), "line break"),
        (('"4999"', '"8400"'), "8400 has several taxes"),
        (("[accounts]", "=x"), "cannot be read"),
    ],
)
def test_a_mapping_that_is_wrong_is_refused_with_what_is_wrong(change: tuple[str, str], message: str) -> None:
    with pytest.raises(MappingRefused, match=message):
        read_mapping(MAPPING.replace(*change), ExportFormat.DATEV)


def test_an_account_without_a_code_is_named_and_one_with_a_detail_may_have_its_own() -> None:
    mapping = read_mapping(MAPPING, ExportFormat.GENERIC)
    check_complete(mapping, [("revenue", ""), ("tax_payable", "DE")])
    with pytest.raises(MappingRefused, match="no code for bank, tax_payable:FR"):
        check_complete(mapping, [("tax_payable", "FR"), ("bank", "")])
    with pytest.raises(MappingRefused, match="has no tax, which Xero needs"):
        read_mapping('[accounts]\nrounding = {code = "1"}', ExportFormat.XERO)


@settings(deadline=None)
@given(st.text(max_size=8), st.text(max_size=8), st.integers(-(2**63), 2**63))
def test_names_in_plain_text_are_those_of_one_account_and_amounts_have_nine_decimals(
    one: str, other: str, nano: int
) -> None:
    names = [account_name(LedgerKind.TAX_PAYABLE, detail, "") for detail in (one, other)]
    assert (names[0] == names[1]) == (one == other)
    assert all(part[0].isupper() and part.replace("-", "").isalnum() and part.isascii() for part in names[0].split(":"))
    assert amount_text(nano).replace(".", "").lstrip("-").lstrip("0") == str(abs(nano)).lstrip("0")
    assert len({account_name(kind, "", "") for kind in LedgerKind}) == len(LedgerKind)
    assert not any(account_name(kind, "", "").startswith("Equity") for kind in LedgerKind)
