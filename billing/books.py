"""Checks the books: often what is not sealed yet with the sums of what is, and every night all of it.

Each check counts what is wrong and says it in a sentence; the last results are kept in ``book_checks``, from where the
admin API and the metrics read them. Nothing is repaired here.
"""

from datetime import datetime, timedelta
from enum import StrEnum

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing import sealed_usage
from billing.projection import Projection
from billing.reaper import accounts_in_redis, count_overdue, mismatches
from billing.seal import last_batch, verify
from mail import Staff, enqueue
from mail.kinds import CheckFailed
from store.ids import AccountId, LedgerAccountId, wire
from store.postgres import Database, now_of

# The seal waits for open transactions, which end within seconds; a hold that is overdue is reaped within seconds.
SEAL_BEHIND_S = 300
OVERDUE_S = 60


class Check(StrEnum):
    """The checks, by the sentence that holds."""

    SUM_ZERO = "sum_zero"
    CREDIT_IS_POSTINGS = "credit_is_postings"
    CREDIT_IS_GRANTS = "credit_is_grants"
    DEBT_HAS_NO_CREDIT = "debt_has_no_credit"
    USAGE_IN_MONTHS = "usage_in_months"
    USAGE_IS_BOOKED = "usage_is_booked"
    PROVIDER_COST_EXPLAINED = "provider_cost_explained"
    SEAL_NOT_BEHIND = "seal_not_behind"
    REDIS_IS_POSTGRES = "redis_is_postgres"
    HOLDS_NOT_OVERDUE = "holds_not_overdue"
    STRIPE_IS_CLEARING = "stripe_is_clearing"
    DIFFERENCES_RESOLVED = "differences_resolved"
    NUMBERS_WITHOUT_GAP = "numbers_without_gap"
    ENTRIES_BALANCE = "entries_balance"
    SEALED_SUMS = "sealed_sums"
    USAGE_IS_LEDGER = "usage_is_ledger"
    CHAIN_WHOLE = "chain_whole"
    USAGE_SUMS = "usage_sums"


NIGHTLY = frozenset(
    {
        Check.ENTRIES_BALANCE,
        Check.SEALED_SUMS,
        Check.USAGE_IS_LEDGER,
        Check.CHAIN_WHOLE,
        Check.NUMBERS_WITHOUT_GAP,
        Check.USAGE_SUMS,
    }
)
# A result that is older says nothing any more: the job does not run.
FRESH = timedelta(minutes=10)
FRESH_NIGHTLY = timedelta(hours=30)


class Finding(msgspec.Struct, frozen=True):
    """How much is wrong by one check, which is 0, and what that is."""

    check: Check
    wrong: int
    message: str = ""


class Result(msgspec.Struct, frozen=True):
    """What a check found the last time that it ran; None for one that never did."""

    check: Check
    wrong: int | None
    message: str
    checked_at: datetime | None

    def is_fresh(self, now: datetime) -> bool:
        """Whether it ran as lately as it should have."""
        age = FRESH_NIGHTLY if self.check in NIGHTLY else FRESH
        return self.checked_at is not None and now - self.checked_at < age


# What is posted is what is sealed, and the tail: in one snapshot, and no matter how many postings were sealed.
_TAIL = "e.xact IS NULL AND e.id > :entry OR e.xact IS NOT NULL"
_TAIL_AFTER = "(e.xact, e.id) > (CAST(CAST(:xact AS text) AS xid8), :entry)"
_FREQUENT = """
    WITH tail AS MATERIALIZED (
        SELECT p.ledger_account_id, sum(p.amount_nano) AS amount FROM entries e JOIN postings p ON p.entry_id = e.id
        WHERE {tail} GROUP BY 1
    ), posted AS (
        SELECT id, sum(amount) AS amount FROM (
            SELECT ledger_account_id AS id, amount_nano AS amount FROM sealed_balances UNION ALL TABLE tail
        ) sums GROUP BY 1
    ), granted AS MATERIALIZED (
        SELECT account_id, sum(remaining_nano) AS amount,
            coalesce(sum(remaining_nano) FILTER (WHERE kind IN ('promotional', 'goodwill')), 0) AS given
        FROM grants WHERE remaining_nano > 0 GROUP BY 1
    ), balances AS (
        SELECT l.account_id, l.kind, l.posted_nano, coalesce(p.amount, 0) AS posted, coalesce(g.amount, 0) AS granted,
            coalesce(g.given, 0) AS given
        FROM ledger_accounts l LEFT JOIN posted p ON p.id = l.id LEFT JOIN granted g ON g.account_id = l.account_id
        WHERE l.posted_nano IS NOT NULL
    )
    SELECT (SELECT coalesce(sum(amount), 0) FROM posted) AS off,
        count(DISTINCT account_id) FILTER (WHERE posted_nano <> posted) AS drifted,
        min(account_id::text) FILTER (WHERE posted_nano <> posted) AS drifted_account,
        count(*) FILTER (WHERE kind = 'customer_credit' AND posted_nano <> granted) AS ungranted,
        min(account_id::text) FILTER (WHERE kind = 'customer_credit' AND posted_nano <> granted) AS ungranted_account,
        count(*) FILTER (WHERE {indebted}) AS indebted,
        min(account_id::text) FILTER (WHERE {indebted}) AS indebted_account,
        (SELECT count(*) FROM usage_events_default) AS strays,
        (SELECT min(request_id::text) FROM usage_events_default) AS stray
    FROM balances
"""
_INDEBTED = """
    kind = 'customer_overdraft' AND posted_nano < 0 AND granted > 0
        AND (granted > given OR posted_nano + debt_beyond_usage(account_id) < 0)
"""
# Read where the sum is not zero: which entry it is, unless that is sealed.
_OFF = """
    SELECT min(id::text) FROM (
        SELECT e.id FROM entries e JOIN postings p ON p.entry_id = e.id
        WHERE {tail} GROUP BY 1 HAVING sum(p.amount_nano) <> 0
    ) unbalanced
"""
# What is posted to one ledger account, in the same way.
_POSTED_TO = """
    SELECT (SELECT coalesce(sum(amount_nano), 0) FROM sealed_balances WHERE ledger_account_id = :account) + (
        SELECT coalesce(sum(p.amount_nano), 0) FROM entries e JOIN postings p ON p.entry_id = e.id
        WHERE p.ledger_account_id = :account AND ({tail}))
"""
_BEHIND = """
    SELECT coalesce(extract(epoch FROM now() - min(e.booked_at)), 0)::bigint AS seconds FROM entries e WHERE {tail}
"""
_SEALED_SUMS = text("""
    WITH all_postings AS MATERIALIZED (
        SELECT ledger_account_id AS id, sum(amount_nano) AS amount FROM postings GROUP BY 1
    ), tail AS MATERIALIZED (
        SELECT p.ledger_account_id AS id, sum(p.amount_nano) AS amount
        FROM entries e JOIN postings p ON p.entry_id = e.id
        WHERE coalesce(e.xact, '0') > coalesce(CAST(CAST(:xact AS text) AS xid8), '0')
            OR (coalesce(e.xact, '0') = coalesce(CAST(CAST(:xact AS text) AS xid8), '0') AND e.id > :entry) GROUP BY 1
    )
    SELECT count(*) AS wrong, min(concat_ws(' of acct_', concat_ws(' ', l.kind, nullif(l.detail, '')),
        replace(l.account_id::text, '-', ''))) AS such
    FROM all_postings a JOIN ledger_accounts l ON l.id = a.id LEFT JOIN tail t ON t.id = a.id
    LEFT JOIN sealed_balances s ON s.ledger_account_id = a.id
    WHERE a.amount <> coalesce(t.amount, 0) + coalesce(s.amount_nano, 0)
""")
# Usage of before there were periods says nothing of gifts; its entries may have calls of two months. By account, so
# that two wrongs of a month do not make one right.
_USAGE_IS_LEDGER = text("""
    WITH used AS (
        SELECT account_id, date_trunc('month', occurred_at AT TIME ZONE 'UTC')::date AS period,
            sum(cost_nano) AS amount, sum(promotional_nano) AS promotional, sum(coalesce(goodwill_nano, 0)) AS goodwill,
            sum(provider_cost_nano) AS cost
        FROM usage_events WHERE entry_id IS NOT NULL AND promotional_nano IS NOT NULL GROUP BY 1, 2
    ), booked AS (
        SELECT e.account_id, coalesce(late.call_period, e.period) AS period,
            sum(p.amount_nano) FILTER (WHERE l.kind <> 'provider_cost') AS amount,
            sum(p.amount_nano) FILTER (WHERE l.kind = 'promotional_contra') AS promotional,
            sum(p.amount_nano) FILTER (WHERE l.kind = 'goodwill_expense') AS goodwill,
            -sum(p.amount_nano) FILTER (WHERE l.kind = 'provider_cost') AS cost
        FROM entries e JOIN postings p ON p.entry_id = e.id JOIN ledger_accounts l ON l.id = p.ledger_account_id
        LEFT JOIN late_entries late ON late.entry_id = e.id
        WHERE e.kind = 'usage' AND e.period IS NOT NULL
            AND l.kind IN ('revenue', 'promotional_contra', 'goodwill_expense', 'provider_cost') GROUP BY 1, 2
    ), pairs AS (
        SELECT account_id, period, coalesce(u.amount, 0) <> coalesce(b.amount, 0) AS usage,
            coalesce(u.promotional, 0) <> coalesce(b.promotional, 0)
                OR coalesce(u.goodwill, 0) <> coalesce(b.goodwill, 0) AS gifts,
            coalesce(u.cost, 0) <> coalesce(b.cost, 0) AS cost
        FROM used u FULL JOIN booked b USING (account_id, period)
    )
    SELECT to_char(period, 'YYYY-MM') || ' of acct_' || replace(account_id::text, '-', '') || ' ('
        || concat_ws(', ', CASE WHEN usage THEN 'usage' END, CASE WHEN gifts THEN 'gifts' END,
            CASE WHEN cost THEN 'cost of providers' END) || ')' AS what
    FROM pairs WHERE usage OR gifts OR cost ORDER BY period, account_id LIMIT 1000
""")
_UNBALANCED = text("""
    SELECT count(*), min(entry_id::text) FROM (
        SELECT entry_id FROM postings GROUP BY entry_id HAVING sum(amount_nano) <> 0
    ) unbalanced
""")
_RECORD = text("""
    INSERT INTO book_checks AS b (name, wrong, message) VALUES (:name, :wrong, :message)
    ON CONFLICT (name) DO UPDATE SET wrong = EXCLUDED.wrong, message = EXCLUDED.message, checked_at = now()
""")
_RESULTS = text("SELECT name, wrong, message, checked_at FROM book_checks")
_NIL = "00000000-0000-0000-0000-000000000000"


# What nobody has explained yet; of providers' invoices also the sum.
_DIFFERENCES = text("""
    SELECT count(*) AS open, coalesce(sum(abs(amount_nano)) FILTER (WHERE scope LIKE 'invoice:%'), 0)::bigint AS billed,
        coalesce(floor(extract(epoch FROM now() - min(found_at)) / 86400), 0)::int AS days
    FROM differences WHERE gone_at IS NULL AND resolved_at IS NULL
""")
# A series counts from 1, and has as many documents as its last number says.
GAPS = text("""
    SELECT coalesce(s.seller, d.seller) || ' ' || coalesce(s.series, d.series) AS series
    FROM document_series s FULL JOIN (
        SELECT seller, series, count(*) AS documents, max(number) AS highest FROM documents GROUP BY 1, 2
    ) d ON d.seller = s.seller AND d.series = s.series
    WHERE coalesce(d.documents, 0) <> coalesce(s.last_number, 0) OR coalesce(d.highest, 0) <> coalesce(s.last_number, 0)
    ORDER BY 1
""")


async def check_frequently(db: Database) -> list[Finding]:
    """Check what Postgres has, in one snapshot."""
    async with db.transaction(snapshot=True) as tx:
        tail, position = await _unsealed(tx)
        frequent = text(_FREQUENT.format(tail=tail, indebted=_INDEBTED))
        found = (await tx.execute(frequent, position)).one()
        off = await tx.scalar(text(_OFF.format(tail=tail)), position) if found.off else None
        months = await sealed_usage.differences(tx)
        different = (await tx.execute(_DIFFERENCES)).one()
        behind_s = int(await tx.scalar(text(_BEHIND.format(tail=tail)), position) or 0)
    return [
        Finding(
            Check.SUM_ZERO,
            abs(int(found.off)),
            "the ledger's postings do not sum to zero, by so many nano-USD: "
            + (
                f"entries such as {_named('entry', off)}" if off else "what is sealed, see sealed_sums, entries_balance"
            ),
        ),
        Finding(Check.CREDIT_IS_POSTINGS, found.drifted, f"accounts such as {_named('acct', found.drifted_account)}"),
        Finding(Check.CREDIT_IS_GRANTS, found.ungranted, f"accounts such as {_named('acct', found.ungranted_account)}"),
        Finding(
            Check.DEBT_HAS_NO_CREDIT,
            found.indebted,
            f"accounts owe and have credit that pays it, such as {_named('acct', found.indebted_account)}",
        ),
        Finding(
            Check.USAGE_IN_MONTHS, found.strays, f"usage events are in no month, such as {_named('req', found.stray)}"
        ),
        *_of_months(months, different.billed),
        Finding(
            Check.DIFFERENCES_RESOLVED,
            different.open,
            f"differences are open, the oldest for {different.days} days: `gigarouter admin differences list`",
        ),
        Finding(
            Check.SEAL_NOT_BEHIND, behind_s if behind_s > SEAL_BEHIND_S else 0, "seconds behind: an open transaction?"
        ),
    ]


def _of_months(months: list[sealed_usage.Difference], billed: int) -> list[Finding]:
    usage = [found for found in months if found.usage]
    unexplained = sum(abs(found.cost) for found in months) + billed
    names = ", ".join([*(found.month for found in months if found.cost), *(["invoices"] if billed else [])])
    return [
        Finding(Check.USAGE_IS_BOOKED, len(usage), f"months: {', '.join(found.month for found in usage[:12])}"),
        Finding(
            Check.PROVIDER_COST_EXPLAINED, unexplained, f"nano-USD of providers' cost that nothing explains: {names}"
        ),
    ]


async def posted_to(tx: AsyncConnection, ledger_account: LedgerAccountId) -> int:
    """What is posted to a ledger account: its sealed sum, and what is not sealed yet. Wants a snapshot."""
    tail, position = await _unsealed(tx)
    return int(await tx.scalar(text(_POSTED_TO.format(tail=tail)), {**position, "account": ledger_account}) or 0)


async def _unsealed(tx: AsyncConnection) -> tuple[str, dict[str, object]]:
    """The condition of the entries behind the last seal, and its parameters."""
    head = await last_batch(tx)
    position: dict[str, object] = {"entry": head.last_entry if head else _NIL}
    if head is None or not head.last_xact:
        return _TAIL, position
    return _TAIL_AFTER, {**position, "xact": head.last_xact}


async def check_redis(
    db: Database, projection: Projection, before: set[AccountId]
) -> tuple[list[Finding], set[AccountId]]:
    """Check what Redis has; an account is wrong that was ``before``, too. Returns the accounts that differ now."""
    differing = {found.account_id for found in await mismatches(db, projection)}
    wrong = differing & before
    overdue: dict[AccountId, int] = {}
    due_ms = int((db.clock.now().timestamp() - OVERDUE_S) * 1000)
    assert projection.redis is not None
    async for account_id in accounts_in_redis(projection):
        if holds := await count_overdue(projection, account_id, due_ms):
            overdue[account_id] = holds
    accounts, holders = (
        f"of accounts such as {wire(AccountId, min(found))}" if found else "" for found in (wrong, overdue)
    )
    findings = [
        Finding(Check.REDIS_IS_POSTGRES, len(wrong), f"credit {accounts}"),
        Finding(Check.HOLDS_NOT_OVERDUE, sum(overdue.values()), f"holds {holders}"),
    ]
    return findings, differing


async def check_all(db: Database) -> list[Finding]:
    """Check all that was ever booked, in one pass each."""
    async with db.transaction(snapshot=True) as tx:
        head = await last_batch(tx)
        position = {"xact": head.last_xact if head else None, "entry": head.last_entry if head else _NIL}
        sealed = (await tx.execute(_SEALED_SUMS, position)).one()
        unbalanced, entry = (await tx.execute(_UNBALANCED)).one()
        months = list((await tx.execute(_USAGE_IS_LEDGER)).scalars())
        gaps = await gaps_in_numbers(tx)
        chain = await verify(tx)
    return [
        Finding(
            Check.SEALED_SUMS,
            int(sealed.wrong),
            f"ledger accounts whose sealed sum is not that of their postings, such as {sealed.such}",
        ),
        Finding(Check.ENTRIES_BALANCE, unbalanced, f"entries do not sum to zero, such as {_named('entry', entry)}"),
        Finding(Check.USAGE_IS_LEDGER, len(months), f"accounts' months: {', '.join(months[:12])}"),
        Finding(Check.NUMBERS_WITHOUT_GAP, len(gaps), f"series of documents with a gap: {', '.join(gaps[:12])}"),
        Finding(Check.CHAIN_WHOLE, int(chain.wrong_batch is not None), f"batch {chain.wrong_batch}: {chain.message}"),
    ]


async def gaps_in_numbers(tx: AsyncConnection) -> list[str]:
    """The series of documents, each with its seller, that lack a number or have one too many."""
    return list((await tx.execute(GAPS)).scalars())


async def record(tx: AsyncConnection, findings: list[Finding]) -> None:
    """Keep what was found, in the place of what was found before; what is wrong is mailed to finance, once a day."""
    for finding in sorted(findings, key=lambda finding: finding.check):
        message = finding.message if finding.wrong else ""
        if finding.wrong:
            now = await now_of(tx)
            mail = CheckFailed(check=finding.check.value, wrong=finding.wrong, at=now)
            await enqueue(tx, mail, Staff.FINANCE, dedupe=f"check:{finding.check.value}:{now:%Y-%m-%d}")
        await tx.execute(_RECORD, {"name": finding.check, "wrong": finding.wrong, "message": message})


async def read_results(tx: AsyncConnection) -> list[Result]:
    """The last result of every check."""
    rows = {row.name: row for row in await tx.execute(_RESULTS)}
    return [
        Result(check, rows[check].wrong, rows[check].message, rows[check].checked_at)
        if check in rows
        else Result(check, None, "", None)
        for check in Check
    ]


def _named(prefix: str, text_id: str | None) -> str:
    """An id that Postgres gave as text, as it is on the wire."""
    return "" if text_id is None else f"{prefix}_{text_id.replace('-', '')}"
