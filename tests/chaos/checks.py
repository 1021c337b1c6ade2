"""What must hold after recovery, each as one function that names every breach; silence is success.

Postgres is asked as its owner, past every role and pool of the product's.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import asyncpg
import redis

from billing.projection import account_key
from store.ids import AccountId
from tests.chaos.load import Call, End

# A fault of ours may only ever look like this to a caller; 409 is a repeat that met its own first run.
FAULT_STATUSES = frozenset({409, 502, 503, 504})


class Books:
    """Everything the checks read from Postgres, read at one instant."""

    def __init__(self) -> None:
        self.usage: dict[UUID, list[asyncpg.Record]] = {}
        self.ended: dict[UUID, asyncpg.Record] = {}
        self.credit: dict[UUID, asyncpg.Record] = {}
        self.idempotent: dict[str, asyncpg.Record] = {}
        self.breaches: list[str] = []
        self.generation = 0


async def read(database_url: str) -> Books:
    """One repeatable-read snapshot of the ledger, with the sums that Postgres itself can check."""
    books = Books()
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            for row in await connection.fetch("SELECT * FROM usage_events"):
                books.usage.setdefault(row["request_id"], []).append(row)
            books.ended = {row["request_id"]: row for row in await connection.fetch("SELECT * FROM ended_calls")}
            credit = "SELECT * FROM ledger_accounts WHERE kind = 'customer_credit'"
            books.credit = {row["account_id"]: row for row in await connection.fetch(credit)}
            books.idempotent = {row["key"]: row for row in await connection.fetch("SELECT * FROM idempotency")}
            books.generation = await connection.fetchval("SELECT generation FROM hot_generation")
            for sentence, query in LEDGER.items():
                books.breaches += [f"{sentence}: {dict(row)}" for row in await connection.fetch(query)]
    finally:
        await connection.close()
    return books


# Each query finds the rows that break its sentence.
LEDGER = {
    "every entry's legs sum to zero": """
        SELECT entry_id, sum(amount_nano) AS off FROM postings GROUP BY 1 HAVING sum(amount_nano) <> 0""",
    "the trial balance is zero": "SELECT sum(amount_nano) AS off FROM postings HAVING sum(amount_nano) <> 0",
    "a balance is the sum of its postings": """
        SELECT l.account_id, l.posted_nano, coalesce(sum(p.amount_nano), 0) AS postings FROM ledger_accounts l
        LEFT JOIN postings p ON p.ledger_account_id = l.id WHERE l.kind = 'customer_credit'
        GROUP BY l.id HAVING l.posted_nano <> coalesce(sum(p.amount_nano), 0)""",
    "a balance is never negative": "SELECT account_id, posted_nano FROM ledger_accounts WHERE posted_nano < 0",
    "a balance is what is left of its grants": """
        SELECT l.account_id, l.posted_nano, coalesce(sum(g.remaining_nano), 0) AS grants FROM ledger_accounts l
        LEFT JOIN grants g ON g.account_id = l.account_id WHERE l.kind = 'customer_credit'
        GROUP BY l.id HAVING l.posted_nano <> coalesce(sum(g.remaining_nano), 0)""",
    "nothing is booked to overdraft, since no call cost more than was held": """
        SELECT request_id, cost_nano, charged_nano FROM usage_events WHERE overdraft_nano <> 0""",
    "usage and ledger agree, account by account": """
        SELECT u.account_id, u.charged, e.posted FROM
            (SELECT account_id, sum(charged_nano) AS charged FROM usage_events GROUP BY 1) u
        FULL JOIN
            (SELECT e.account_id, -sum(p.amount_nano) AS posted FROM entries e JOIN postings p ON p.entry_id = e.id
             JOIN ledger_accounts l ON l.id = p.ledger_account_id AND l.kind = 'customer_credit'
             WHERE e.kind = 'usage' GROUP BY 1) e USING (account_id)
        WHERE coalesce(u.charged, 0) <> coalesce(e.posted, 0)""",
    "a call was charged if and only if it has a usage row": """
        SELECT coalesce(e.request_id, u.request_id) AS request_id, e.outcome FROM
            (SELECT * FROM ended_calls WHERE outcome = 'charged') e
        FULL JOIN usage_events u USING (request_id)
        WHERE e.request_id IS NULL OR u.request_id IS NULL""",
    "versions of an account have no gap": """
        SELECT l.account_id, l.version, count(p.version) AS postings, max(p.version) AS newest FROM ledger_accounts l
        LEFT JOIN postings p ON p.ledger_account_id = l.id AND p.version IS NOT NULL WHERE l.kind = 'customer_credit'
        GROUP BY l.id HAVING l.version <> count(p.version) OR l.version <> coalesce(max(p.version), 0)""",
    "the default partition stays empty": "SELECT request_id FROM usage_events_default",
}


def against_calls(books: Books, calls: list[Call], answers_of_upstream: int) -> Iterator[str]:
    """What callers saw, against what was recorded."""
    for call in calls:
        request_id = _uuid(call.request_id)
        rows = books.usage.get(request_id, []) if request_id else []
        if call.end is End.ANSWERED and call.idempotency_key is None:
            yield from _answered(call, rows)
        elif call.end is End.ANSWERED:
            yield from _repeated(call, books)
        elif call.end is End.REFUSED:
            yield from _refused(call, rows)
    for request_id, rows in books.usage.items():
        if len(rows) != 1:
            yield f"{request_id} has {len(rows)} usage rows"
    if len(books.usage) > answers_of_upstream:
        yield f"{len(books.usage)} calls were charged and the upstream answered {answers_of_upstream}"
    ids = Counter(call.request_id for call in calls if call.request_id and call.idempotency_key is None)
    yield from (f"request id {request_id} was given to {count} calls" for request_id, count in ids.items() if count > 1)


def _answered(call: Call, rows: list[asyncpg.Record]) -> Iterator[str]:
    if len(rows) != 1:
        yield f"an answered call has {len(rows)} usage rows: {call}"
        return
    if rows[0]["tokens"] != call.tokens:
        yield f"{rows[0]['tokens']} tokens were recorded, and the caller was told {call.tokens}: {call}"
    cost = -(-call.tokens * rows[0]["nano_per_mtok"] // 1_000_000)
    if rows[0]["cost_nano"] != cost:
        yield f"{rows[0]['cost_nano']} nano-USD were charged for what costs {cost}: {call}"


def _repeated(call: Call, books: Books) -> Iterator[str]:
    stored = books.idempotent.get(call.idempotency_key or "")
    if stored is None or stored["state"] != "done":
        yield f"an answered Idempotency-Key has no stored outcome: {call}"
        return
    charges = len(books.usage.get(stored["request_id"], []))
    if charges != 1:
        yield f"an answered Idempotency-Key was charged {charges} times: {call}"


def _refused(call: Call, rows: list[asyncpg.Record]) -> Iterator[str]:
    if rows and call.idempotency_key is None and call.code != "not_recorded":
        yield f"a refused call was charged: {call}"
    out_of_credit = call.status == 402 and not call.caller.rich
    # Credit that a killed call held is there again when its hold is overdue; until then it is "try again", never "pay".
    credit_held = call.code == "credit_held" and not call.caller.rich
    if call.status not in FAULT_STATUSES and not out_of_credit and not credit_held:
        yield f"an outage looked like a fault of the caller's, or like a bug: {call}"


def against_redis(books: Books, redis_url: str, accounts: Sequence[AccountId]) -> Iterator[str]:
    """At rest: each account's projection is Postgres' balance and version, with nothing held."""
    client = redis.Redis.from_url(redis_url, decode_responses=True)
    try:
        for account in accounts:
            fields: dict[Any, Any] = client.hgetall(account_key(account))
            yield from _projection(account, books.credit[account], fields, books.generation)
    finally:
        client.close()


def _projection(account: UUID, row: asyncpg.Record, fields: dict[str, Any], generation: int) -> Iterator[str]:
    if not fields or "loaded" not in fields:
        yield f"account {account} is not loaded after a call of its own: {fields}"
        return
    expected = {"gen": generation, "bal": row["posted_nano"], "ver": row["version"], "held": 0}
    for name, value in expected.items():
        if int(fields.get(name) or 0) != value:
            yield f"account {account}: Redis has {name}={fields.get(name)}, Postgres says {value}"
    for name, value in fields.items():
        if name[:2] in ("h:", "d:") or (name[:2] in ("k:", "c:") and int(value) != 0):
            yield f"account {account}: {name}={value} is left after all calls have ended"


def _uuid(request_id: str) -> UUID | None:
    try:
        return UUID(hex=request_id.rpartition("_")[2])
    except ValueError:
        return None
