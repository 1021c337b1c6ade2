"""Reads a month's usage of an account as lines: one per model, lane and price, with sums and a Merkle root.

A call's leaf is one line of text, its facts apart by tabs: id, instant, model, lane, price, tokens, cost. Postgres
computes the hashes of leaves, so that a month of a million calls is one statement. Free calls are on no line.
"""

import asyncio
from datetime import date

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.documents.document import LineUsage, month_bounds
from billing.documents.merkle import root_of, split_hashes
from store.ids import AccountId, RequestId

# A lane is the price's second amount, where it has one and the call was charged that.
_CALLS = """
    SELECT u.request_id, u.occurred_at, u.model_id, u.nano_per_mtok, u.tokens, u.cost_nano,
        CASE WHEN u.nano_per_mtok <> p.nano_per_mtok AND u.nano_per_mtok = p.batch_nano_per_mtok
            THEN 'batch' ELSE 'interactive' END AS lane
    FROM usage_events u LEFT JOIN charged_prices p ON p.id = u.price_id
    WHERE u.account_id = :account AND u.occurred_at >= :since AND u.occurred_at < :until AND u.nano_per_mtok > 0
"""
_LEAF = """concat_ws(E'\\t', 'req_' || replace(request_id::text, '-', ''),
    to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), model_id, lane, nano_per_mtok, tokens,
    cost_nano)"""
_CEIL = "div(tokens::numeric * nano_per_mtok + 999999, 1000000)"
_LINES = text(
    f"""
    SELECT model_id, lane, nano_per_mtok, count(*) AS calls, sum(tokens)::bigint AS tokens,
        sum(cost_nano)::bigint AS amount, sum({_CEIL})::bigint AS rated,
        string_agg(sha256('\\x00'::bytea || convert_to({_LEAF}, 'UTF8')), ''::bytea ORDER BY request_id) AS leaves
    FROM ({_CALLS}) calls GROUP BY 1, 2, 3 ORDER BY 1, 2 DESC, 3
    """  # noqa: S608 - constants
)
_LEAF_OF = text(
    f"SELECT {_LEAF} AS leaf, model_id, lane, nano_per_mtok FROM ({_CALLS}) calls"  # noqa: S608 - constants
    " WHERE request_id = :request"
)
_BEFORE = text(
    f"SELECT count(*) FROM ({_CALLS}) calls"  # noqa: S608 - constants
    " WHERE (model_id, lane, nano_per_mtok) = (:model, :lane, :price) AND request_id < :request"
)


class MeasuredLine(msgspec.Struct, frozen=True):
    """A line of usage with its amount and the hashes of its leaves."""

    usage: LineUsage
    amount_nano: int
    leaf_hashes: list[bytes]


class CallLeaf(msgspec.Struct, frozen=True):
    """A call as it is in a line's tree: its leaf, and its place among the line's calls."""

    leaf: str
    model: str
    lane: str
    nano_per_mtok: int
    index: int


async def measure_lines(tx: AsyncConnection, account_id: AccountId, period: date) -> list[MeasuredLine]:
    """The month's lines by model, lane and price, as usage has them now."""
    rows = await tx.execute(_LINES, _span(account_id, period))
    found = []
    for row in rows:
        # A million leaves are a second of hashing, which no event loop has.
        hashes = await asyncio.to_thread(split_hashes, row.leaves)
        usage = LineUsage(
            model=row.model_id,
            lane=row.lane,
            nano_per_mtok=row.nano_per_mtok,
            calls=row.calls,
            tokens=row.tokens,
            rounded_up_femto=row.rated * 1_000_000 - row.tokens * row.nano_per_mtok,
            waived_nano=row.rated - row.amount,
            root=(await asyncio.to_thread(root_of, hashes)).hex(),
        )
        found.append(MeasuredLine(usage, row.amount, hashes))
    return found


async def find_leaf(tx: AsyncConnection, account_id: AccountId, period: date, request_id: RequestId) -> CallLeaf | None:
    """A call of the month that cost something, as it is in its line's tree."""
    span = _span(account_id, period)
    row = (await tx.execute(_LEAF_OF, {**span, "request": request_id})).one_or_none()
    if row is None:
        return None
    group = {"model": row.model_id, "lane": row.lane, "price": row.nano_per_mtok}
    index = int(await tx.scalar(_BEFORE, {**span, **group, "request": request_id}) or 0)
    return CallLeaf(row.leaf, row.model_id, row.lane, row.nano_per_mtok, index)


def _span(account_id: AccountId, period: date) -> dict[str, object]:
    since, until = month_bounds(period)
    return {"account": account_id, "since": since, "until": until}
