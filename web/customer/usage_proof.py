"""``/accounts/{account}/usage/proof``: usage beside what the ledger has booked for it, month by month."""

from datetime import UTC, datetime
from typing import ClassVar

import msgspec

from billing.rollups.proof import MonthProof, prove_months
from web.answers import Crumb, Page
from web.faults import InvalidInput
from web.request import PageRequest

MONTHS = 12
FIRST_YEAR, LAST_YEAR = 2020, 2200


class ProofFields(msgspec.Struct, frozen=True):
    """The year whose months are shown; empty: the last twelve months."""

    year: int | None = None


class ProofPage(Page, frozen=True, kw_only=True):
    """A row for each month with calls."""

    template: ClassVar[str] = "customer/usage_proof.html"

    months: tuple[MonthProof, ...]
    usage_href: str
    is_equal: bool
    at: datetime


async def show(request: PageRequest) -> ProofPage:
    """Compare the months of a year."""
    fields, now = request.query_as(ProofFields), request.exchange.now
    if fields.year is not None and not FIRST_YEAR <= fields.year < LAST_YEAR:
        raise InvalidInput(f"Years are from {FIRST_YEAR} on.", "year")
    since, until = _months(now) if fields.year is None else _year(fields.year)
    async with request.context.reads.db.transaction(snapshot=True) as tx:
        months = await prove_months(tx, request.account(), since, until)
    usage = request.path.removesuffix("/proof")
    return ProofPage(
        title="Usage and ledger",
        crumbs=(Crumb("Usage", usage), Crumb("Equals the ledger")),
        months=tuple(months),
        usage_href=usage,
        is_equal=not any(month.difference for month in months),
        at=now,
    )


def _months(now: datetime) -> tuple[datetime, datetime]:
    """The last twelve months of UTC, the present one with them."""
    ends = now.year * 12 + now.month
    return _month(ends - MONTHS), _month(ends)


def _year(year: int) -> tuple[datetime, datetime]:
    return datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)


def _month(number: int) -> datetime:
    return datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)
