"""Lists what needs a person of finance, the oldest first: second persons, differences, reviews, checks, months.

Each of them is one statement, whatever the number of its rows.
"""

from datetime import datetime
from typing import ClassVar

from billing.books import read_results
from billing.money import to_usd
from billing.periods import State, list_periods
from billing.reconciliation.differences import list_differences
from billing.stripe.reviews import list_reviews
from router.changes.second_person import list_proposals
from store.ids import DifferenceId, ProposalId, ReviewId, wire
from web.answers import Crumb, Page
from web.finance.listing import Way
from web.ops.overview import HEAD, SHOWN_MAX, Waiting
from web.parts.tables import Column
from web.request import PageRequest

WAYS = (
    Way("/finance/books", "Checks of the books"),
    Way("/finance/documents", "Documents"),
    Way("/finance/close", "Month close"),
    Way("/finance/differences", "Differences"),
    Way("/finance/reconciliations", "Reconciliations"),
    Way("/finance/meter-mirrors", "Usage at Stripe's meters"),
    Way("/finance/exports", "Exports"),
    Way("/finance/payments", "Payments"),
    Way("/finance/receivables", "Receivables"),
    Way("/finance/lines", "Credit lines"),
    Way("/finance/contracts", "Contracts"),
    Way("/finance/grant-schedules", "Grant schedules"),
    Way("/finance/provider-invoices", "Provider invoices"),
    Way("/finance/results", "Margin and deferred revenue"),
    Way("/finance/refunds", "Refunds"),
    Way("/finance/disputes", "Disputes"),
    Way("/finance/reviews", "Reviews"),
    Way("/finance/manual/steps-of-finance", "How it is done"),
)


class OverviewPage(Page, frozen=True, kw_only=True):
    """What waits, and the ways to everything else."""

    template: ClassVar[str] = "finance/overview.html"

    ways: tuple[Way, ...]
    waiting: tuple[Waiting, ...]
    total: int
    head: tuple[Column, ...] = HEAD


async def show(request: PageRequest) -> OverviewPage:
    """What waits, the oldest first; what has no date comes last."""
    found = await _waiting(request, request.exchange.now)
    found.sort(key=lambda one: (one.since is None, one.since or request.exchange.now, one.of))
    return OverviewPage(
        title="Finance",
        crumbs=(Crumb("Finance"),),
        ways=WAYS,
        waiting=tuple(found[:SHOWN_MAX]),
        total=len(found),
    )


async def _waiting(request: PageRequest, now: datetime) -> list[Waiting]:
    async with request.context.reads.db.transaction() as connection:
        proposals = await list_proposals(connection, now, only_open=True, before=None, most=SHOWN_MAX)
        differences = await list_differences(connection, is_open=True, most=SHOWN_MAX)
        reviews = await list_reviews(connection, is_open=True, after=None, most=SHOWN_MAX)
        results = await read_results(connection)
        months = await list_periods(connection)
    found = [
        Waiting(
            "Second person",
            one.operation,
            f"/ops/proposals/{wire(ProposalId, one.id)}",
            one.proposed_at,
            f"{to_usd(one.amount_nano)} USD, above {to_usd(one.limit_nano)}; proposed by {one.proposed_by}",
        )
        for one in proposals
    ]
    found += [
        Waiting(
            "Difference",
            one.object,
            f"/finance/differences/{wire(DifferenceId, one.id)}",
            one.found_at,
            f"{to_usd(one.amount)} USD: {one.message}",
        )
        for one in differences
    ]
    found += [
        Waiting("Review", one.subject, f"/finance/reviews/{wire(ReviewId, one.id)}/resolve", one.opened_at, one.message)
        for one in reviews
    ]
    found += [
        Waiting(
            "Check",
            one.check.value,
            "/finance/books",
            one.checked_at,
            one.message or (f"{one.wrong} wrong" if one.wrong else "it did not run lately: are the jobs running?"),
        )
        for one in results
        if one.wrong != 0 or not one.is_fresh(now)
    ]
    found += [
        Waiting("Month", f"{one.period:%Y-%m}", f"/finance/close/{one.period:%Y-%m}", one.started_at, "it is closing")
        for one in months
        if one.state is not State.CLOSED
    ]
    return found
