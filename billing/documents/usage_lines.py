"""Reads a month's usage of an account as lines: one per model, lane and price, with sums and a Merkle root.

A call's leaf is one line of text, its facts apart by tabs: id, instant, model, lane, price, tokens, cost. Postgres
computes the sums and the hashes of leaves, and sends them by blocks from a cursor: a month of any number of calls takes
the memory of a few blocks. Free calls are on no line.
"""

import asyncio
from datetime import date
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.documents.document import LineUsage, month_bounds
from billing.documents.merkle import BLOCK, TreeBlocks, split_hashes
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
_GROUP = "model_id, lane, nano_per_mtok"
# The blocks of a line come one after the other. Columns before the window, so that what is sorted is narrow.
_BLOCKS = f"""
    SELECT {_GROUP}, block, count(*) AS calls, sum(tokens)::bigint AS tokens, sum(cost_nano)::bigint AS amount,
        sum({_CEIL})::bigint AS rated,
        string_agg(sha256('\\x00'::bytea || convert_to({_LEAF}, 'UTF8')), ''::bytea ORDER BY request_id) AS leaves
    FROM (
        SELECT *, (row_number() OVER (PARTITION BY {_GROUP} ORDER BY request_id) - 1) / {BLOCK} AS block
        FROM ({_CALLS}) calls
    ) numbered {{where}} GROUP BY {_GROUP}, block ORDER BY model_id, lane DESC, nano_per_mtok, block
"""  # noqa: S608 - constants
_OF_LINE = "WHERE (model_id, lane, nano_per_mtok) = (:model, :lane, :price)"
_ALL_BLOCKS, _BLOCKS_OF_LINE = text(_BLOCKS.format(where="")), text(_BLOCKS.format(where=_OF_LINE))
# So many blocks are in memory at a time.
_FETCHED = 4
_LEAF_OF = text(
    f"SELECT {_LEAF} AS leaf, model_id, lane, nano_per_mtok FROM ({_CALLS}) calls"  # noqa: S608 - constants
    " WHERE request_id = :request"
)
_BEFORE = text(
    f"SELECT count(*) FROM ({_CALLS}) calls"  # noqa: S608 - constants
    " WHERE (model_id, lane, nano_per_mtok) = (:model, :lane, :price) AND request_id < :request"
)


class MeasuredLine(msgspec.Struct, frozen=True):
    """A line of usage with its amount."""

    usage: LineUsage
    amount_nano: int


class CallLeaf(msgspec.Struct, frozen=True):
    """A call as it is in a line's tree: its leaf, and its place among the line's calls."""

    leaf: str
    model: str
    lane: str
    nano_per_mtok: int
    index: int


class _Sums:
    """What the blocks of a line add up to."""

    def __init__(self) -> None:
        self.calls = self.tokens = self.amount = self.rated = 0
        self.tree = TreeBlocks()

    def add(self, block: Any) -> None:  # noqa: ANN401 - a row
        """Add a block, and hash its leaves: four milliseconds."""
        self.calls += block.calls
        self.tokens += block.tokens
        self.amount += block.amount
        self.rated += block.rated
        self.tree.add(split_hashes(block.leaves))

    def line(self, group: tuple[str, str, int]) -> MeasuredLine:
        """The whole line."""
        model, lane, nano_per_mtok = group
        usage = LineUsage(
            model=model,
            lane=lane,
            nano_per_mtok=nano_per_mtok,
            calls=self.calls,
            tokens=self.tokens,
            rounded_up_femto=self.rated * 1_000_000 - self.tokens * nano_per_mtok,
            waived_nano=self.rated - self.amount,
            root=self.tree.root().hex(),
        )
        return MeasuredLine(usage, self.amount)


async def measure_lines(tx: AsyncConnection, account_id: AccountId, period: date) -> list[MeasuredLine]:
    """The month's lines by model, lane and price, as usage has them now."""
    sums: dict[tuple[str, str, int], _Sums] = {}
    rows = await tx.stream(_ALL_BLOCKS, _span(account_id, period), execution_options={"yield_per": _FETCHED})
    async for block in rows:
        group = (block.model_id, block.lane, block.nano_per_mtok)
        await asyncio.to_thread(sums.setdefault(group, _Sums()).add, block)
    return [one.line(group) for group, one in sums.items()]


async def measure_path(tx: AsyncConnection, account_id: AccountId, period: date, leaf: CallLeaf) -> list[bytes]:
    """The path from a call's leaf to the root of its line, as usage has it now."""
    tree = TreeBlocks(leaf.index)
    line = {"model": leaf.model, "lane": leaf.lane, "price": leaf.nano_per_mtok}
    found = {**_span(account_id, period), **line}
    rows = await tx.stream(_BLOCKS_OF_LINE, found, execution_options={"yield_per": _FETCHED})
    async for block in rows:
        await asyncio.to_thread(tree.add, split_hashes(block.leaves))
    return tree.path()


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
