"""Makes the closing papers from what the statements found: each paper names what it is made and checked from. Pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from billing.chart import CODES, LedgerKind
from billing.money import NanoUSD, to_usd

Rows: TypeAlias = list[tuple[str | int, ...]]
# The rows of each statement that was read, by the statement's name in ``billing.close.pack_queries.QUERIES``.
Found: TypeAlias = Mapping[str, list[Any]]


class Table(msgspec.Struct, frozen=True):
    """One of the papers: its columns, and its rows of text and numbers."""

    name: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str | int, ...]]


class Paper(msgspec.Struct, frozen=True):
    """How a paper is made. ``reads``: the statements that its rows, and its checks against the ledger, want."""

    name: str
    columns: tuple[str, ...]
    reads: tuple[str, ...]
    rows: Callable[[Found], Rows]

    def fill(self, found: Found) -> Table:
        """The paper with its rows."""
        return Table(self.name, self.columns, self.rows(found))


_SALES = ("calls", "tokens", "given", "revenue")
FLOW = ("opening", "granted", "used", "paid_debt", "expired", "taken_back", "closing")
_GIFTS = "(gifts that paid debt)"


def _trial_balance(found: Found) -> Rows:
    return [
        (
            *(CODES[LedgerKind(row["kind"])].code, row["kind"], row["detail"]),
            *_usd(row["closing"] - row["movement"], row["movement"], row["closing"]),
        )
        for row in found["trial"]
    ]


def _sales(found: Found, by: tuple[str, ...]) -> Rows:
    """Revenue by some columns, and what gifts took off it by paying debt."""
    rows: Rows = [
        (*place, calls, tokens, *_usd(given, revenue))
        for place, (calls, tokens, given, revenue) in _grouped(found["used"], by, _SALES)
    ]
    return [*rows, (_GIFTS, *[""] * (len(by) - 1), 0, 0, *_usd(0, other_revenue(found)))]


def _margin(found: Found) -> Rows:
    return [
        (*place, calls, *_usd(revenue, cost, revenue - cost))
        for place, (calls, revenue, cost) in _grouped(
            found["used"], ("model", "provider", "month"), ("calls", "revenue", "cost")
        )
    ]


def _deferred(found: Found) -> Rows:
    return [(row["kind"], *_usd(*(row[name] for name in FLOW))) for row in found["deferred"]]


def _aged(found: Found) -> Rows:
    return [(row["kind"], row["age"], row["grants"], *_usd(*(row[name] for name in FLOW))) for row in found["aged"]]


def _receivables(found: Found) -> Rows:
    on_invoices = -total(row["closing"] for row in found["trial"] if row["kind"] == "customer_receivable")
    undated = on_invoices - total(row["amount"] for row in found["receivable"])
    rows = [(row["age"], row["invoices"], *_usd(row["amount"])) for row in found["receivable"]]
    return [*rows, ("(of no recorded due date)", 0, *_usd(undated))]


def _late(found: Found) -> Rows:
    return [(row["called"], row["booked"], row["entries"], row["calls"], *_usd(row["cost"])) for row in found["late"]]


def _head(found: Found) -> Rows:
    return [(row["number"], row["digest"], row["sealed_at"].isoformat()) for row in found["head"]]


def _tax(found: Found) -> Rows:
    return [
        (
            row["jurisdiction"],
            *_usd(row["closing"] - row["charged"] + row["taken_off"], row["charged"], row["taken_off"], row["closing"]),
        )
        for row in found["tax"]
    ]


def _tax_by_rate(found: Found) -> Rows:
    taxed = [{**row, "documents": 1} for row in found["register"] if row["kind"] != "statement"]
    return [
        (jurisdiction, category, f"{int(rate) / 100:.2f}", documents, *_usd(net, taxes))
        for (jurisdiction, category, rate), (documents, net, taxes) in _grouped(
            taxed, ("jurisdiction", "category", "rate"), ("documents", "net", "tax")
        )
    ]


def _register(found: Found) -> Rows:
    return [
        (
            *(row["name"], row["kind"], row["issued_on"].isoformat(), row["account"], row["corrects"]),
            *_usd(row["net"], row["tax"], row["total"]),
        )
        for row in found["register"]
    ]


PAPERS = (
    Paper(
        "trial_balance",
        ("code", "ledger_account", "detail", "opening", "movement", "closing"),
        ("trial",),
        _trial_balance,
    ),
    Paper(
        "revenue_by_model",
        ("model", "month_of_calls", *_SALES),
        ("used", "other", "trial"),
        lambda found: _sales(found, ("model", "month")),
    ),
    Paper(
        "revenue_by_model_and_country",
        ("model", "country", "month_of_calls", *_SALES),
        ("used", "other", "trial"),
        lambda found: _sales(found, ("model", "country", "month")),
    ),
    Paper(
        "margin_by_model_and_provider",
        ("model", "provider", "month_of_calls", "calls", "revenue", "provider_cost", "margin"),
        ("used", "trial"),
        _margin,
    ),
    Paper("deferred_revenue", ("kind", *FLOW), ("deferred", "aged", "trial"), _deferred),
    Paper("deferred_revenue_by_age", ("kind", "age_days", "grants", *FLOW), ("aged", "deferred", "trial"), _aged),
    Paper("receivables_by_age", ("days_overdue", "invoices", "open"), ("receivable", "trial"), _receivables),
    Paper("late_events", ("month_of_calls", "booked_in", "entries", "calls", "cost"), ("late",), _late),
    Paper("chain_head", ("batch", "digest", "sealed_at"), ("head",), _head),
    Paper("tax_report", ("jurisdiction", "opening", "charged", "taken_off", "closing"), ("tax", "trial"), _tax),
    Paper(
        "tax_on_documents",
        ("jurisdiction", "category", "rate_percent", "documents", "net", "tax"),
        ("register", "gaps"),
        _tax_by_rate,
    ),
    Paper(
        "document_register",
        ("number", "kind", "issued_on", "account", "corrects", "net", "tax", "total"),
        ("register", "gaps"),
        _register,
    ),
)
NAMES = tuple(paper.name for paper in PAPERS)


def other_revenue(found: Found) -> int:
    """What bookings other than usage did to revenue, in nano-USD."""
    return total(row["amount"] or 0 for row in found["other"])


def total(amounts: Any) -> int:  # noqa: ANN401 - numbers of rows
    """Their sum."""
    return sum(int(amount) for amount in amounts)


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


def _usd(*amounts: Any) -> tuple[str, ...]:  # noqa: ANN401 - numbers of rows
    return tuple(to_usd(NanoUSD(int(amount))) for amount in amounts)
