"""Holds the statements that say what waits: how much (null: not counted), since when, a note, whether it is known.

:mod:`router.queues.read` makes one statement of all of them.
"""

from typing import Final

_NIL: Final = "'00000000-0000-0000-0000-000000000000'"
NIGHTLY: Final = (
    "'entries_balance', 'sealed_sums', 'usage_is_ledger', 'chain_whole', 'numbers_without_gap', 'usage_sums'"
)


def rows(table: str, condition: str, since: str, note: str = "''") -> str:
    """What waits as rows of one table: so many, since the earliest of them."""
    return f"SELECT count(*), min({since}), {note}, true FROM {table} WHERE {condition}"  # noqa: S608 - constants


def some(condition: str, words: str) -> str:
    """How many of the rows are so, in words; empty where none is."""
    count = f"count(*) FILTER (WHERE {condition})"
    return f"CASE WHEN {count} > 0 THEN {count} || ' {words}' ELSE '' END"


def process(kind: str) -> str:
    """When a process of a kind was seen last; each notes it every second."""
    alive = "count(*) FILTER (WHERE seen_at > now() - interval '10 s') || ' alive'"
    return f"SELECT CAST(NULL AS bigint), max(seen_at), {alive}, count(*) > 0 FROM processes WHERE kind = '{kind}'"  # noqa: S608


def books(which: str) -> str:
    """How many checks of the books found something wrong, and when the one that waits longest ran."""
    return f"""
        SELECT count(*) FILTER (WHERE wrong > 0), min(checked_at), {some("wrong > 0", "found something wrong")},
            count(*) > 0 FROM book_checks WHERE name {which} ({NIGHTLY})
    """  # noqa: S608 - constants


FAILED_ONCE: Final = some("attempts > 0", "have failed at least once")
# Calls with a cost are logged one each; refused and free ones are not, where there are too many of them.
LOG: Final = f"""
    SELECT count(*), min(occurred_at), '', EXISTS (SELECT FROM routes) FROM (
        SELECT occurred_at FROM usage_events WHERE charged_nano > 0 AND request_id > coalesce(
            (SELECT request_id FROM routes ORDER BY request_id DESC LIMIT 1), {_NIL})
        ORDER BY request_id LIMIT 10000
    ) unlogged
"""  # noqa: S608 - constants
STATISTICS: Final = """
    SELECT CAST(NULL AS bigint), min(at), '', count(*) = 2 FROM statistics_state WHERE name IN ('written', 'summed')
"""
SUMS: Final = "SELECT coalesce(sum(cardinality(request_ids)), 0)::bigint, min(since), '', true FROM usage_pending"
# What comes behind the head of the chain, in its order; entries of before it had one come by their ids.
SEAL: Final = f"""
    SELECT count(*), min(e.booked_at), '', true FROM (
        SELECT last_xact, coalesce(last_entry, {_NIL}) AS last_entry
        FROM (VALUES (1)) one LEFT JOIN (SELECT * FROM sealed_batches ORDER BY number DESC LIMIT 1) b ON true
    ) head CROSS JOIN LATERAL (
        SELECT booked_at FROM entries
            WHERE head.last_xact IS NOT NULL AND (xact, id) > (head.last_xact, head.last_entry)
        UNION ALL SELECT booked_at FROM entries
            WHERE head.last_xact IS NULL AND (xact IS NOT NULL OR id > head.last_entry)
    ) e
"""  # noqa: S608 - constants
# Work that failed is due later each time: since when it waits follows from how often it was tried.
STRIPE: Final = f"""
    SELECT count(*), min(least(due_at, now()) - make_interval(secs => CASE WHEN attempts = 0 THEN 0
            WHEN attempts < 10 THEN power(2, attempts) ELSE 1022 + 900 * (attempts - 9) END)),
        {FAILED_ONCE}, true FROM stripe_work WHERE requested > done
"""  # noqa: S608 - constants
METERS: Final = f"""
    SELECT count(*), min(CASE WHEN fault = '' THEN due_at
            ELSE coalesce(sent_at, day::timestamp AT TIME ZONE 'UTC') END), {some("fault <> ''", "were refused")}, true
    FROM metered_days d JOIN meter_mirrors m USING (account_id)
    WHERE m.is_on AND d.day >= m.since AND d.sent_revision < d.revision AND d.given_up_at IS NULL
"""  # noqa: S608 - constants
PROBES: Final = f"""
    SELECT count(*), min(s.next_at), {some("s.misses > 0", "did not answer the last time")}, true
    FROM probe_schedule s JOIN endpoints e ON e.id = s.endpoint_id
    WHERE s.next_at <= now() AND e.state IN ('live', 'draining')
"""  # noqa: S608 - constants
GIVEN_UP: Final = """
    (SELECT count(*) FROM webhook_deliveries WHERE state = 'failed' AND created_at > now() - interval '7 days')
    || ' were given up in 7 days'
"""
LAUNCHES: Final = """
    SELECT count(*), min(l.created_at), 'for ' || count(DISTINCT l.model_id) || ' models', true
    FROM launch_mails l JOIN models m ON m.id = l.model_id WHERE m.status NOT IN ('live', 'deprecated', 'retired')
"""
EXPORTS: Final = rows("exports", "state IN ('queued', 'running')", "requested_at", some("state = 'running'", "run now"))
RECHARGES: Final = rows(
    "recharges", "status IN ('new', 'open', 'declined', 'action', 'processing') AND look_at <= now()", "look_at"
)
DIFFERENCES: Final = rows(
    "differences", "gone_at IS NULL AND resolved_at IS NULL", "found_at", some("owner = ''", "have no owner")
)
MONTHS: Final = rows("periods", "state = 'closing' AND finish_requested_at IS NOT NULL", "finish_requested_at")
CLOSINGS: Final = rows("account_closings", "state = 'closing'", "requested_at", "coalesce(max(waits_for), '')")
