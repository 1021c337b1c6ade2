"""Keeps which accounts have their usage at Stripe's meters, too, and the outbox of what those are told.

Nothing here speaks to Stripe, so `serve` may import it; :mod:`billing.stripe.mirror_steps` does. The outbox has one row
for each account, measure and day: the total so far, and which revision of it Stripe has.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.rollups.read import sum_rolled
from billing.stripe.mirror_rules import Measure, MeteredDay, first_day
from billing.usage import UsageFilter
from store.ids import AccountId

# How long a day that Stripe refused waits, and how long what it was told may take to be in its sums.
REFUSED_WAIT = timedelta(hours=1)
SUMMED_WITHIN = timedelta(hours=1)

_SWITCH = text("""
    INSERT INTO meter_mirrors AS m (account_id, is_on, since, changed_by) VALUES (:account, :is_on, :today, :actor)
    ON CONFLICT (account_id) DO UPDATE SET is_on = EXCLUDED.is_on, changed_by = EXCLUDED.changed_by, changed_at = now(),
        since = CASE WHEN EXCLUDED.is_on THEN EXCLUDED.since ELSE m.since END
    WHERE m.is_on <> EXCLUDED.is_on RETURNING account_id
""")
_MIRRORS = """
    SELECT m.account_id, m.is_on, m.since, m.changed_by, m.changed_at,
        d.waiting, d.oldest, d.sent_at, coalesce(d.fault, '') AS fault
    FROM meter_mirrors m CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE is_waiting) AS waiting, min(day) FILTER (WHERE is_waiting) AS oldest,
            max(sent_at) AS sent_at, max(fault) FILTER (WHERE fault <> '' AND day >= m.since) AS fault
        FROM (SELECT *, m.is_on AND sent_revision < revision AND given_up_at IS NULL AND day >= m.since AS is_waiting
            FROM metered_days WHERE account_id = m.account_id) days
    ) d
"""
_LIST = text(f"""
    {_MIRRORS} WHERE (CAST(:after AS uuid) IS NULL OR m.account_id > CAST(:after AS uuid))
    ORDER BY m.account_id LIMIT :most
""")
_FIND = text(f"{_MIRRORS} WHERE m.account_id = :account")
_ON = text("SELECT account_id, since FROM meter_mirrors WHERE is_on ORDER BY account_id")
# A day's usage only grows: whoever measured it earlier does not undo who measured it later.
_MEASURE = text("""
    INSERT INTO metered_days AS d (account_id, meter, day, total) VALUES (:account, :measure, :day, :total)
    ON CONFLICT (account_id, meter, day) DO UPDATE SET total = EXCLUDED.total, revision = d.revision + 1, due_at = now()
    WHERE d.total < EXCLUDED.total AND d.given_up_at IS NULL
""")
_WAITING = text("""
    SELECT d.account_id, d.meter AS measure, d.day, d.total, d.revision
    FROM metered_days d JOIN meter_mirrors m ON m.account_id = d.account_id AND m.is_on AND d.day >= m.since
    WHERE d.sent_revision < d.revision AND d.given_up_at IS NULL AND d.due_at <= now()
    ORDER BY d.day, d.account_id, d.meter LIMIT :most
""")
_KEY = "account_id = :account_id AND meter = :measure AND day = :day"
_SENT = text(f"""
    UPDATE metered_days SET sent_revision = greatest(sent_revision, :revision), sent_at = now(), fault = '' WHERE {_KEY}
""")  # noqa: S608 - constants
_REFUSED = text(f"UPDATE metered_days SET fault = :fault, due_at = now() + CAST(:wait AS interval) WHERE {_KEY}")  # noqa: S608 - constants
_GIVE_UP = text(f"UPDATE metered_days SET fault = :fault, given_up_at = now() WHERE {_KEY}")  # noqa: S608 - constants
_TELL_AGAIN = text("""
    UPDATE metered_days SET revision = revision + 1, due_at = now()
    WHERE account_id = :account AND meter = :measure AND day = ANY(:days) AND sent_revision = revision
        AND given_up_at IS NULL
""")
_UNSETTLED = text("""
    SELECT meter, day FROM metered_days WHERE account_id = :account AND sent_at > now() - CAST(:within AS interval)
""")
# By the partial index of what waits: how many are mirrored and told has no say in how long it takes.
_BACKLOG = text("""
    SELECT count(*) AS waiting, count(*) FILTER (WHERE d.fault <> '') AS refused
    FROM metered_days d JOIN meter_mirrors m ON m.account_id = d.account_id AND m.is_on AND d.day >= m.since
    WHERE d.sent_revision < d.revision AND d.given_up_at IS NULL
""")
_FORGET = text("DELETE FROM metered_days WHERE day < now() - interval '400 days'")


class Mirror(msgspec.Struct, frozen=True):
    """Whether an account is mirrored, since which day, and what waits for Stripe; ``fault`` is one of its refusals."""

    account_id: AccountId
    is_on: bool
    since: date
    changed_by: str
    changed_at: datetime
    waiting: int
    oldest: date | None
    sent_at: datetime | None
    fault: str


class Backlog(msgspec.Struct, frozen=True):
    """How many totals of days Stripe does not have, and how many of them it refused the last time."""

    waiting: int = 0
    refused: int = 0


async def read_backlog(tx: AsyncConnection) -> Backlog:
    """What waits for Stripe's meters, of all accounts that are mirrored."""
    return Backlog(*(await tx.execute(_BACKLOG)).one())


async def switch(tx: AsyncConnection, account_id: AccountId, today: date, actor: str, *, is_on: bool) -> bool:
    """Switch an account's mirror on, from this day on, or off; False where it is so already."""
    facts = {"account": account_id, "is_on": is_on, "today": today, "actor": actor}
    return await tx.scalar(_SWITCH, facts) is not None


async def find_mirror(tx: AsyncConnection, account_id: AccountId) -> Mirror | None:
    """An account's mirror; None where it never had one."""
    row = (await tx.execute(_FIND, {"account": account_id})).one_or_none()
    return None if row is None else Mirror(*row)


async def list_mirrors(tx: AsyncConnection, after: AccountId | None, most: int) -> list[Mirror]:
    """The mirrors, also those that were switched off."""
    return [Mirror(*row) for row in await tx.execute(_LIST, {"after": after, "most": most})]


async def list_on(tx: AsyncConnection) -> dict[AccountId, date]:
    """The accounts that are mirrored, and since which day."""
    return {AccountId(row.account_id): row.since for row in await tx.execute(_ON)}


async def read_days(
    tx: AsyncConnection, account_id: AccountId, since: date, now: datetime
) -> dict[Measure, dict[date, int]]:
    """What the ledger has of an account's days, by measure; days without calls are left out."""
    which = UsageFilter(since=datetime.combine(since, time(), UTC), until=now, account_id=account_id)
    days = [one for one in await sum_rolled(tx, which, ("day",)) if one.day is not None]
    return {
        Measure.TOKENS: {one.day: one.tokens for one in days if one.day and one.tokens},
        Measure.COST: {one.day: one.charged + one.overdraft for one in days if one.day and one.charged + one.overdraft},
    }


async def measure(tx: AsyncConnection, account_id: AccountId, since: date, now: datetime) -> None:
    """Note the totals of an account's days; what grew since the last time waits for Stripe."""
    for measured, days in (await read_days(tx, account_id, first_day(since, now), now)).items():
        for day, total in days.items():
            facts = {"account": account_id, "measure": measured.value, "day": day, "total": total}
            await tx.execute(_MEASURE, facts)


async def list_waiting(tx: AsyncConnection, most: int) -> list[MeteredDay]:
    """What Stripe is to be told next, the oldest days first."""
    rows = await tx.execute(_WAITING, {"most": most})
    return [msgspec.convert(dict(row._mapping), MeteredDay) for row in rows]


async def note_sent(tx: AsyncConnection, day: MeteredDay) -> None:
    """Note that Stripe has this revision of a day."""
    await tx.execute(_SENT, {**_key(day), "revision": day.revision})


async def note_refused(tx: AsyncConnection, day: MeteredDay, fault: str) -> None:
    """Note why Stripe does not take it; it is told again in an hour."""
    await tx.execute(_REFUSED, {**_key(day), "fault": fault[:500], "wait": REFUSED_WAIT})


async def give_up(tx: AsyncConnection, day: MeteredDay) -> None:
    """Note that it is too old for Stripe. The comparison shows what it lacks."""
    await tx.execute(_GIVE_UP, {**_key(day), "fault": "too old for Stripe, which takes 35 days"})


async def tell_again(tx: AsyncConnection, account_id: AccountId, measured: Measure, days: Iterable[date]) -> None:
    """Have Stripe told once more of days of which it has another total."""
    await tx.execute(_TELL_AGAIN, {"account": account_id, "measure": measured.value, "days": list(days)})


async def list_unsettled(tx: AsyncConnection, account_id: AccountId) -> set[tuple[Measure, date]]:
    """The days that Stripe was told of so lately that its sums may not have them yet."""
    rows = await tx.execute(_UNSETTLED, {"account": account_id, "within": SUMMED_WITHIN})
    return {(Measure(row.meter), row.day) for row in rows}


async def forget_old(tx: AsyncConnection) -> None:
    """Delete days of more than 400 days ago."""
    await tx.execute(_FORGET)


def _key(day: MeteredDay) -> dict[str, object]:
    return {"account_id": day.account_id, "measure": day.measure.value, "day": day.day}
