"""Charges what a month's usage does not come to under a contract's minimum, once the month's calls are booked.

The usage is measured once, less what given credit paid of it; later calls of the month change nothing. The shortfall is
charged as usage would be, from purchased credit and then from a line, and the rest is debt: so it is an entry of a
prepaid account and, drawn from a line, on the invoice of a postpaid one. Any process may do it, at any time again.
"""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.admission import Admission
from billing.contracts.rules import Contract, whole_months
from billing.contracts.store import list_contracts
from billing.generation import Generation
from billing.money import NanoUSD
from billing.projection import Projection
from billing.take_back import Reason, TakeBack, take_back
from store.ids import AccountId, ContractId
from store.postgres import Database

# A call ends, and is booked, within its deadline and what the reaper waits beyond it.
SETTLED_AFTER = timedelta(hours=1)

_MEASURED = text("SELECT contract_id, period FROM contract_minimums")
_BOOKED = text("SELECT contract_id FROM contract_minimums WHERE period = :period AND booked_at IS NOT NULL")
_USED = text("""
    SELECT coalesce(sum(cost_nano - coalesce(promotional_nano, 0) - coalesce(goodwill_nano, 0)), 0)::bigint
    FROM usage_events WHERE account_id = :account AND occurred_at >= :since AND occurred_at < :until
""")
_MEASURE = text("""
    INSERT INTO contract_minimums (contract_id, period, account_id, minimum_nano, used_nano, shortfall_nano)
    VALUES (:contract, :period, :account, :minimum, :used, :shortfall) ON CONFLICT DO NOTHING
""")
_TO_BOOK = text("""
    SELECT contract_id, period, account_id, minimum_nano, used_nano, shortfall_nano FROM contract_minimums
    WHERE booked_at IS NULL ORDER BY period, contract_id
""")
_SET_BOOKED = text("""
    UPDATE contract_minimums SET booked_at = now()
    WHERE contract_id = :contract AND period = :period AND booked_at IS NULL
""")
_OF_MONTH = text("""
    SELECT contract_id, period, account_id, minimum_nano, used_nano, shortfall_nano FROM contract_minimums
    WHERE account_id = :account AND period = :period ORDER BY contract_id
""")
# Each entry of a minimum has its source, without the step, as its note.
_PAID = text("""
    SELECT coalesce(sum(g.amount_nano) FILTER (WHERE g.kind = 'line'), 0)::bigint AS line,
        coalesce(sum(g.amount_nano) FILTER (WHERE g.kind <> 'line' AND g.source_ref LIKE 'contract:%'), 0)::bigint
            AS commitment,
        coalesce(sum(g.amount_nano) FILTER (WHERE g.kind <> 'line'), 0)::bigint AS prepaid
    FROM (
        SELECT u.amount_nano, r.kind, r.source_ref FROM entries e JOIN grant_uses u ON u.entry_id = e.id
        JOIN grants r ON r.id = u.grant_id
        WHERE e.account_id = :account AND e.kind = 'minimum' AND e.note = ANY(:sources)
    ) g
""")


class Minimum(msgspec.Struct, frozen=True):
    """A month's usage under a contract's minimum, and what is charged beside it."""

    contract_id: ContractId
    period: date
    account_id: AccountId
    minimum: NanoUSD
    used: NanoUSD
    shortfall: NanoUSD

    @property
    def source(self) -> str:
        """The fact behind its entries."""
        return f"minimum:{self.contract_id.hex}:{self.period:%Y-%m}"


class MinimumsPaid(msgspec.Struct, frozen=True):
    """A month's shortfalls, and from what they were paid: ``commitment`` is a part of ``prepaid``; the rest is debt."""

    minimums: tuple[Minimum, ...]
    line: NanoUSD
    commitment: NanoUSD
    prepaid: NanoUSD

    @property
    def owed(self) -> NanoUSD:
        """What became debt."""
        return NanoUSD(sum(one.shortfall for one in self.minimums) - self.line - self.prepaid)


async def charge_minimums(
    db: Database,
    admission: Admission,
    projection: Projection,
    generation: Generation,
    now: datetime,
    *,
    wait_s: float = 1.0,
) -> int:
    """Measure the months that are over and charge what they lack; returns how many months were charged to the end.

    What calls in flight hold is taken at the next turn. Raises BillingUnavailable.
    """
    async with db.transaction() as tx:
        measured = {(ContractId(row.contract_id), row.period) for row in await tx.execute(_MEASURED)}
        for contract, period in _months(await list_contracts(tx), (now - SETTLED_AFTER).astimezone(UTC).date()):
            if (contract.id, period) not in measured:
                await _measure(tx, contract, period)
        waiting = [Minimum(*row) for row in await tx.execute(_TO_BOOK)]
    booked = 0
    for one in waiting:
        if one.shortfall:
            wanted = TakeBack(
                account_id=one.account_id,
                reason=Reason.MINIMUM,
                source=one.source,
                amount=one.shortfall,
                owe_rest=True,
                period=one.period,
            )
            taken = await take_back(db, admission, projection, generation, wanted, wait_s=wait_s)
            if taken.taken + taken.owed < one.shortfall:
                continue
        async with db.transaction() as tx:
            await tx.execute(_SET_BOOKED, {"contract": one.contract_id, "period": one.period})
        booked += 1
    return booked


async def list_uncharged(tx: AsyncConnection, period: date, account_id: AccountId | None = None) -> list[ContractId]:
    """The contracts whose minimum for a month that is over is not charged yet, of all accounts or of one."""
    booked = {row.contract_id for row in await tx.execute(_BOOKED, {"period": period})}
    following = (period + timedelta(days=31)).replace(day=1)
    return [
        contract.id
        for contract, month in _months(await list_contracts(tx, account_id), following)
        if month == period and contract.id not in booked
    ]


async def read_paid(tx: AsyncConnection, account_id: AccountId, period: date) -> MinimumsPaid:
    """What an account was charged for a month beside its usage."""
    rows = await tx.execute(_OF_MONTH, {"account": account_id, "period": period})
    minimums = tuple(one for one in (Minimum(*row) for row in rows) if one.shortfall)
    sources = [one.source for one in minimums]
    paid = (await tx.execute(_PAID, {"account": account_id, "sources": sources})).one()
    return MinimumsPaid(minimums, NanoUSD(paid.line), NanoUSD(paid.commitment), NanoUSD(paid.prepaid))


def _months(contracts: Sequence[Contract], today: date) -> list[tuple[Contract, date]]:
    """The months with a minimum that were over before ``today`` began."""
    first = today.replace(day=1)
    return [
        (contract, period)
        for contract in contracts
        if contract.minimum is not None
        for period in whole_months(contract.effective_at, contract.until, first)
    ]


async def _measure(tx: AsyncConnection, contract: Contract, period: date) -> None:
    assert contract.minimum is not None, "only contracts with a minimum are measured; this is a bug"
    following = (period + timedelta(days=31)).replace(day=1)
    since, until = (datetime(day.year, day.month, 1, tzinfo=UTC) for day in (period, following))
    used = int(await tx.scalar(_USED, {"account": contract.account_id, "since": since, "until": until}) or 0)
    facts = {"contract": contract.id, "period": period, "account": contract.account_id}
    shortfall = max(0, contract.minimum - used)
    await tx.execute(_MEASURE, {**facts, "minimum": contract.minimum, "used": used, "shortfall": shortfall})
