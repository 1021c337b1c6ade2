"""Computes a month's closing papers: tables of text, each of which adds up to the ledger.

All of it is in one snapshot, after the month was frozen and sealed. A balance at the month's end is the sum of all that
is sealed, less what is booked in later months: that reads the entries since the month began, not all there are.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeAlias

import msgspec
from sqlalchemy import TextClause
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.books import gaps_in_numbers
from billing.chart import CODES, LedgerKind
from billing.close.pack_queries import (
    AGED,
    DEFERRED,
    HEAD,
    LATE,
    OTHER_REVENUE,
    RECEIVABLE,
    REGISTER,
    SINCE,
    TAX,
    TRIAL,
    USED,
)
from billing.money import NanoUSD, to_usd
from billing.periods import next_month


class Table(msgspec.Struct, frozen=True):
    """One of the papers: its columns, and its rows of text and numbers."""

    name: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str | int, ...]]


_Rows: TypeAlias = list[tuple[str | int, ...]]


class _Found(msgspec.Struct, frozen=True):
    """The rows of each statement, and what bookings other than usage did to revenue."""

    trial: list[Any]
    used: list[Any]
    deferred: list[Any]
    aged: list[Any]
    receivable: list[Any]
    late: list[Any]
    head: list[Any]
    tax: list[Any]
    register: list[Any]
    gaps: list[str]
    other: int


async def compute(tx: AsyncConnection, period: date) -> tuple[str, list[str]]:
    """The papers as JSON, and what of them does not add up: nothing."""
    tables, faults = await tables_of(tx, period)
    return msgspec.json.encode(tables).decode(), faults


async def tables_of(tx: AsyncConnection, period: date) -> tuple[list[Table], list[str]]:
    """The papers, and what of them does not add up. Before the month is closed they are a preview."""
    begins = datetime(period.year, period.month, 1, tzinfo=UTC)
    facts: dict[str, Any] = {
        "period": period,
        "begins": begins,
        "ends": datetime.combine(next_month(period), datetime.min.time(), UTC),
        # Whatever belongs to the month was booked after it began; a day for clocks that differ.
        "since": await tx.scalar(SINCE, {"before": begins - timedelta(days=1)}) or "0",
    }

    async def rows(query: TextClause) -> list[Any]:
        return [row._mapping for row in await tx.execute(query, facts)]

    found = _Found(
        trial=await rows(TRIAL),
        used=await rows(USED),
        deferred=await rows(DEFERRED),
        aged=await rows(AGED),
        receivable=await rows(RECEIVABLE),
        late=await rows(LATE),
        head=[row._mapping for row in await tx.execute(HEAD)],
        tax=await rows(TAX),
        register=await rows(REGISTER),
        gaps=await gaps_in_numbers(tx),
        other=int(await tx.scalar(OTHER_REVENUE, facts) or 0),
    )
    return [*_of_the_month(found), *_at_the_end(found), *_of_documents(found)], _faults(found)


def _of_the_month(found: _Found) -> list[Table]:
    trial = [
        (
            *(CODES[LedgerKind(row["kind"])].code, row["kind"], row["detail"]),
            *_usd(row["closing"] - row["movement"], row["movement"], row["closing"]),
        )
        for row in found.trial
    ]
    margins: _Rows = [
        (*place, calls, *_usd(revenue, cost, revenue - cost))
        for place, (calls, revenue, cost) in _grouped(
            found.used, ("model", "provider", "month"), ("calls", "revenue", "cost")
        )
    ]
    countries: _Rows = [
        (*place, calls, tokens, *_usd(given, revenue))
        for place, (calls, tokens, given, revenue) in _grouped(found.used, ("model", "country", "month"), _SALES)
    ]
    gifts: tuple[str | int, ...] = ("(gifts that paid debt)", "", 0, 0, *_usd(0, found.other))
    flows = [(row["kind"], *_usd(*(row[name] for name in _FLOW))) for row in found.deferred]
    return [
        Table("trial_balance", ("code", "ledger_account", "detail", "opening", "movement", "closing"), trial),
        Table(
            "revenue_by_model",
            ("model", "month_of_calls", "calls", "tokens", "given", "revenue"),
            [*_by_model(found.used), gifts],
        ),
        Table(
            "revenue_by_model_and_country",
            ("model", "country", "month_of_calls", "calls", "tokens", "given", "revenue"),
            [*countries, (gifts[0], "", *gifts[1:])],
        ),
        Table(
            "margin_by_model_and_provider",
            ("model", "provider", "month_of_calls", "calls", "revenue", "provider_cost", "margin"),
            margins,
        ),
        Table("deferred_revenue", ("kind", *_FLOW), flows),
    ]


def _at_the_end(found: _Found) -> list[Table]:
    on_invoices = -_sum(row["closing"] for row in found.trial if row["kind"] == "customer_receivable")
    undated = on_invoices - _sum(row["amount"] for row in found.receivable)
    aged = [(row["kind"], row["age"], row["grants"], *_usd(*(row[name] for name in _FLOW))) for row in found.aged]
    receivable = [(row["age"], row["invoices"], *_usd(row["amount"])) for row in found.receivable]
    late = [(row["called"], row["booked"], row["entries"], row["calls"], *_usd(row["cost"])) for row in found.late]
    head = [(row["number"], row["digest"], row["sealed_at"].isoformat()) for row in found.head]
    return [
        Table("deferred_revenue_by_age", ("kind", "age_days", "grants", *_FLOW), aged),
        Table(
            "receivables_by_age",
            ("days_overdue", "invoices", "open"),
            [*receivable, ("(of no recorded due date)", 0, *_usd(undated))],
        ),
        Table("late_events", ("month_of_calls", "booked_in", "entries", "calls", "cost"), late),
        Table("chain_head", ("batch", "digest", "sealed_at"), head),
    ]


def _of_documents(found: _Found) -> list[Table]:
    tax: _Rows = [
        (
            row["jurisdiction"],
            *_usd(row["closing"] - row["charged"] + row["taken_off"], row["charged"], row["taken_off"], row["closing"]),
        )
        for row in found.tax
    ]
    taxed = [row for row in found.register if row["kind"] != "statement"]
    by_rate: _Rows = [
        (jurisdiction, category, f"{int(rate) / 100:.2f}", documents, *_usd(net, taxes))
        for (jurisdiction, category, rate), (documents, net, taxes) in _grouped(
            [{**row, "documents": 1} for row in taxed],
            ("jurisdiction", "category", "rate"),
            ("documents", "net", "tax"),
        )
    ]
    register: _Rows = [
        (
            *(row["name"], row["kind"], row["issued_on"].isoformat(), row["account"], row["corrects"]),
            *_usd(row["net"], row["tax"], row["total"]),
        )
        for row in found.register
    ]
    documents = ("number", "kind", "issued_on", "account", "corrects", "net", "tax", "total")
    return [
        Table("tax_report", ("jurisdiction", "opening", "charged", "taken_off", "closing"), tax),
        Table("tax_on_documents", ("jurisdiction", "category", "rate_percent", "documents", "net", "tax"), by_rate),
        Table("document_register", documents, register),
    ]


_SALES = ("calls", "tokens", "given", "revenue")
_FLOW = ("opening", "granted", "used", "paid_debt", "expired", "taken_back", "closing")


def _faults(found: _Found) -> list[str]:
    """Where the papers and the ledger are not one sum."""
    revenue = _sum(row["movement"] for row in found.trial if row["kind"] == "revenue")
    credit = _sum(row["closing"] for row in found.trial if row["kind"] == "customer_credit")
    cost = _sum(row["movement"] for row in found.trial if row["kind"] == "provider_cost")
    tax = _sum(row["closing"] for row in found.trial if row["kind"] == "tax_payable")
    taxed = _sum(row["movement"] for row in found.trial if row["kind"] == "tax_payable")
    left, by_age = (_sum(row["closing"] for row in rows) for rows in (found.deferred, found.aged))
    flows = {
        f"{name} of deferred revenue and of its ages": tuple(
            _sum(row[name] for row in rows) for rows in (found.deferred, found.aged)
        )
        for name in _FLOW
    }
    pairs = {
        "the trial balance and zero": (_sum(row["closing"] for row in found.trial), 0),
        "revenue by model and the ledger's": (_sum(row["revenue"] for row in found.used) + found.other, revenue),
        "deferred revenue and customers' credit": (left, credit),
        "deferred revenue and its ages": (left, by_age),
        "cost by model and provider and the ledger's": (_sum(row["cost"] for row in found.used), -cost),
        "tax by jurisdiction and the ledger's": (_sum(row["closing"] for row in found.tax), tax),
        "tax of the month and the ledger's": (_sum(row["charged"] - row["taken_off"] for row in found.tax), taxed),
        **flows,
    }
    faults = [f"{what} differ by {to_usd(NanoUSD(one - two))} USD" for what, (one, two) in pairs.items() if one != two]
    return [*faults, *(f"the numbers of {series} have a gap" for series in found.gaps)]


def _by_model(used: list[Any]) -> list[tuple[str | int, ...]]:
    return [
        (*place, calls, tokens, *_usd(given, revenue))
        for place, (calls, tokens, given, revenue) in _grouped(used, ("model", "month"), _SALES)
    ]


def _grouped(
    rows: Sequence[Any], by: tuple[str, ...], sums: tuple[str, ...]
) -> list[tuple[tuple[str, ...], tuple[int, ...]]]:
    """The sums of rows by some of their columns, sorted."""
    found: dict[tuple[str, ...], list[int]] = {}
    for row in rows:
        totals = found.setdefault(tuple(str(row[name]) for name in by), [0] * len(sums))
        for place, name in enumerate(sums):
            totals[place] += int(row[name])
    return [(place, tuple(totals)) for place, totals in sorted(found.items())]


def _sum(amounts: Any) -> int:  # noqa: ANN401 - numbers of rows
    return sum(int(amount) for amount in amounts)


def _usd(*amounts: Any) -> tuple[str, ...]:  # noqa: ANN401 - numbers of rows
    return tuple(to_usd(NanoUSD(int(amount))) for amount in amounts)
