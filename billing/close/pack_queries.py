"""The statements behind the closing papers. ``:since`` is a transaction number from before the month began."""

from sqlalchemy import text

from billing.books import GAPS

_SINCE = "(e.xact IS NULL OR e.xact >= CAST(CAST(:since AS text) AS xid8))"
SINCE = text("""
    SELECT last_xact::text FROM sealed_batches WHERE sealed_at < :before ORDER BY number DESC LIMIT 1
""")
HEAD = text(
    "SELECT number, encode(digest, 'hex') AS digest, sealed_at FROM sealed_batches ORDER BY number DESC LIMIT 1"
)
TRIAL = text(f"""
    WITH head AS (
        SELECT coalesce(last_xact, '0') AS xact, last_entry FROM sealed_batches ORDER BY number DESC LIMIT 1
    ), recent AS (
        SELECT p.ledger_account_id AS id, sum(p.amount_nano) FILTER (WHERE e.period > :period) AS later,
            sum(p.amount_nano) FILTER (WHERE e.period = :period) AS of_month
        FROM head, entries e JOIN postings p ON p.entry_id = e.id
        WHERE {_SINCE} AND e.period >= :period AND (coalesce(e.xact, '0'), e.id) <= (head.xact, head.last_entry)
        GROUP BY 1
    )
    SELECT l.kind, l.detail, sum(s.amount_nano - coalesce(r.later, 0)) AS closing,
        sum(coalesce(r.of_month, 0)) AS movement
    FROM sealed_balances s JOIN ledger_accounts l ON l.id = s.ledger_account_id LEFT JOIN recent r ON r.id = l.id
    GROUP BY 1, 2 HAVING bool_or(s.amount_nano - coalesce(r.later, 0) <> 0 OR r.of_month <> 0) ORDER BY 1, 2
""")  # noqa: S608
# Where the customer was when the call was made, by the version of the billing profile of that time. Who had none then,
# or whose profile was erased, is nowhere.
_PROFILES = """
    LEFT JOIN (
        SELECT account_id, facts #>> '{address,country}' AS country, created_at AS since,
            coalesce(lead(created_at) OVER (PARTITION BY account_id ORDER BY version), 'infinity') AS until
        FROM billing_profiles
    ) b ON b.account_id = u.account_id AND u.occurred_at >= b.since AND u.occurred_at < b.until
"""
_USED = """
    SELECT u.model_id AS model, coalesce(p.name, u.provider_id::text) AS provider,
        coalesce(b.country, 'unknown') AS country,
        to_char(u.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM') AS month, count(*) AS calls, sum(u.tokens) AS tokens,
        sum(coalesce(u.promotional_nano, 0) + coalesce(u.goodwill_nano, 0)) AS given,
        sum(u.cost_nano - coalesce(u.promotional_nano, 0) - coalesce(u.goodwill_nano, 0)) AS revenue,
        sum(u.provider_cost_nano) AS cost
"""
# What occurred in the month and is booked in it, and what is booked in it of months that were closed.
USED = text(f"""
    {_USED} FROM usage_events u LEFT JOIN providers p ON p.id = u.provider_id {_PROFILES}
    WHERE u.occurred_at >= :begins AND u.occurred_at < :ends
        AND NOT EXISTS (SELECT FROM late_entries l WHERE l.entry_id = u.entry_id)
    GROUP BY 1, 2, 3, 4
    UNION ALL
    {_USED} FROM late_entries l JOIN usage_events u ON u.account_id = l.account_id AND u.entry_id = l.entry_id
        AND u.occurred_at >= l.call_period::timestamp AT TIME ZONE 'UTC'
        AND u.occurred_at < (l.call_period + interval '1 month') AT TIME ZONE 'UTC'
    LEFT JOIN providers p ON p.id = u.provider_id {_PROFILES}
    WHERE l.booked_period = :period GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
""")  # noqa: S608
OTHER_REVENUE = text(f"""
    SELECT sum(p.amount_nano) AS amount FROM entries e JOIN postings p ON p.entry_id = e.id
    JOIN ledger_accounts l ON l.id = p.ledger_account_id AND l.kind = 'revenue'
    WHERE {_SINCE} AND e.period = :period AND e.kind <> 'usage'
""")  # noqa: S608
# What a grant had left at the month's end: what it has now, and what was taken of it in later months. One that was
# given in a later month had nothing, or less than that where a call of the month was charged from it.
_GRANTS = f"""
    WITH uses AS (
        SELECT u.grant_id, coalesce(sum(u.amount_nano) FILTER (WHERE e.period > :period), 0) AS later,
            coalesce(sum(u.amount_nano) FILTER (WHERE e.period = :period AND e.kind = 'usage'), 0) AS used,
            coalesce(sum(u.amount_nano) FILTER (WHERE e.period = :period AND e.kind IN ('grant', 'debt')), 0)
                AS paid_debt,
            coalesce(sum(u.amount_nano) FILTER (WHERE e.period = :period AND e.kind IN ('expiry', 'minimum')), 0)
                AS expired,
            coalesce(sum(u.amount_nano) FILTER (WHERE e.period = :period
                AND e.kind NOT IN ('usage', 'grant', 'debt', 'expiry', 'minimum')), 0) AS taken_back
        FROM entries e JOIN grant_uses u ON u.entry_id = e.id WHERE {_SINCE} AND e.period >= :period GROUP BY 1
    ), lots AS (
        SELECT g.kind, g.granted_at,
            g.remaining_nano + coalesce(u.later, 0) - CASE WHEN g.granted_at < :ends THEN 0 ELSE g.amount_nano END
                AS closing,
            CASE WHEN g.granted_at >= :begins AND g.granted_at < :ends THEN g.amount_nano ELSE 0 END AS granted,
            coalesce(u.used, 0) AS used, coalesce(u.paid_debt, 0) AS paid_debt, coalesce(u.expired, 0) AS expired,
            coalesce(u.taken_back, 0) AS taken_back
        FROM grants g LEFT JOIN uses u ON u.grant_id = g.id
        WHERE g.remaining_nano > 0 OR u.grant_id IS NOT NULL
    )
"""  # noqa: S608
_FLOWS = """
    sum(closing + used + paid_debt + expired + taken_back - granted) AS opening, sum(granted) AS granted,
        sum(used) AS used, sum(paid_debt) AS paid_debt, sum(expired) AS expired, sum(taken_back) AS taken_back,
        sum(closing) AS closing
"""
# A kind that had nothing in the month, neither before nor after it, is no row.
_MOVED = (
    "HAVING bool_or(closing <> 0 OR granted <> 0 OR used <> 0 OR paid_debt <> 0 OR expired <> 0 OR taken_back <> 0)"
)
DEFERRED = text(f"{_GRANTS} SELECT kind, {_FLOWS} FROM lots GROUP BY 1 {_MOVED} ORDER BY 1")  # noqa: S608
# The age is that at the month's end, so that each grant is in one row, from opening to closing.
AGED = text(f"""
    {_GRANTS}
    SELECT kind, age, count(*) FILTER (WHERE closing <> 0) AS grants, {_FLOWS}
    FROM (
        SELECT dated.*, CASE WHEN days <= 30 THEN '0-30' WHEN days <= 90 THEN '31-90'
            WHEN days <= 180 THEN '91-180' WHEN days <= 365 THEN '181-365' ELSE 'over 365' END AS age
        FROM (SELECT *, extract(epoch FROM CAST(:ends AS timestamptz) - granted_at) / 86400 AS days FROM lots) dated
    ) aged GROUP BY 1, 2
    {_MOVED}
    ORDER BY 1, 2
""")  # noqa: S608
# What was charged and given back of each jurisdiction's tax, as it is in the ledger.
TAX = text(f"""
    WITH head AS (
        SELECT coalesce(last_xact, '0') AS xact, last_entry FROM sealed_batches ORDER BY number DESC LIMIT 1
    ), recent AS (
        SELECT p.ledger_account_id AS id, sum(p.amount_nano) FILTER (WHERE e.period > :period) AS later,
            sum(p.amount_nano) FILTER (WHERE e.period = :period AND p.amount_nano > 0) AS charged,
            -sum(p.amount_nano) FILTER (WHERE e.period = :period AND p.amount_nano < 0) AS taken_off
        FROM head, entries e JOIN postings p ON p.entry_id = e.id
            JOIN ledger_accounts l ON l.id = p.ledger_account_id AND l.kind = 'tax_payable'
        WHERE {_SINCE} AND e.period >= :period AND (coalesce(e.xact, '0'), e.id) <= (head.xact, head.last_entry)
        GROUP BY 1
    )
    SELECT l.detail AS jurisdiction, coalesce(sum(r.charged), 0) AS charged, coalesce(sum(r.taken_off), 0) AS taken_off,
        sum(s.amount_nano - coalesce(r.later, 0)) AS closing
    FROM sealed_balances s JOIN ledger_accounts l ON l.id = s.ledger_account_id AND l.kind = 'tax_payable'
    LEFT JOIN recent r ON r.id = l.id GROUP BY 1 ORDER BY 1
""")  # noqa: S608
# Documents by their own day; a credit note takes off. Amounts are nano-USD of their cents.
REGISTER = text("""
    SELECT name, kind, issued_on, account, corrects, category, rate, jurisdiction,
        sign * net_cents * 10000000 AS net, sign * tax_cents * 10000000 AS tax, sign * total_cents * 10000000 AS total
    FROM (
        SELECT d.name, d.kind, d.issued_on, 'acct_' || replace(d.account_id::text, '-', '') AS account, d.total_cents,
            coalesce((SELECT c.name FROM documents c WHERE c.id = d.corrects), '') AS corrects,
            CASE d.kind WHEN 'credit_note' THEN -1 WHEN 'statement' THEN 0 ELSE 1 END AS sign,
            CAST(draft ->> 'net_cents' AS bigint) AS net_cents, CAST(draft ->> 'tax_cents' AS bigint) AS tax_cents,
            coalesce(draft #>> '{tax,category}', '') AS category,
            coalesce(CAST(draft #>> '{tax,rate}' AS int), 0) AS rate,
            coalesce(draft #>> '{tax,jurisdiction}', '') AS jurisdiction
        FROM documents d, LATERAL (SELECT convert_from(d.facts, 'UTF8')::jsonb -> 'draft' AS draft) read
        WHERE d.issued_on >= :period AND d.issued_on < CAST(:ends AS timestamptz)::date
    ) drafts ORDER BY name
""")
RECEIVABLE = text("""
    SELECT age, count(*) AS invoices, sum(amount) AS amount
    FROM (
        SELECT amount, CASE WHEN days <= 0 THEN 'not due' WHEN days <= 30 THEN '1-30' WHEN days <= 60 THEN '31-60'
            WHEN days <= 90 THEN '61-90' ELSE 'over 90' END AS age
        FROM (
            SELECT CAST(:ends AS timestamptz)::date - 1 - r.due_on AS days, r.total_nano - coalesce((
                SELECT sum(p.amount_nano) FROM receivable_payments p JOIN entries e ON e.id = p.entry_id
                WHERE p.receivable_id = r.id AND e.period <= :period), 0) AS amount
            FROM receivables r JOIN entries e ON e.id = r.entry_id WHERE e.period <= :period
        ) due
    ) aged WHERE amount <> 0 GROUP BY 1 ORDER BY 1
""")
LATE = text("""
    SELECT to_char(l.call_period, 'YYYY-MM') AS called, to_char(l.booked_period, 'YYYY-MM') AS booked,
        count(DISTINCT l.entry_id) AS entries, count(u.request_id) AS calls, coalesce(sum(u.cost_nano), 0) AS cost
    FROM late_entries l LEFT JOIN usage_events u ON u.account_id = l.account_id AND u.entry_id = l.entry_id
        AND u.occurred_at >= l.call_period::timestamp AT TIME ZONE 'UTC'
        AND u.occurred_at < (l.call_period + interval '1 month') AT TIME ZONE 'UTC'
    WHERE l.call_period = :period OR l.booked_period = :period GROUP BY 1, 2 ORDER BY 1, 2
""")
# By the names under which ``pack_tables`` and ``pack_checks`` have their rows, in the order in which they are read.
QUERIES = {
    "trial": TRIAL,
    "used": USED,
    "other": OTHER_REVENUE,
    "deferred": DEFERRED,
    "aged": AGED,
    "receivable": RECEIVABLE,
    "late": LATE,
    "head": HEAD,
    "tax": TAX,
    "register": REGISTER,
    "gaps": GAPS,
}
