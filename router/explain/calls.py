"""Lists the calls of an account from the log of calls: newest first, by filters, page by page.

Each filter that can find few among many has an index. Where two are combined, the one that finds less is read by its
index and the other looked at row by row, at most :data:`SCANNED_MAX` of them: a page then ends early and says how far
it has come, so that no question is long.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from router.explain.call_log import Outcome, duration_class, outcome_of
from router.explain.explanation import decode_explanation
from store.ids import AccountId, KeyId, ModelId, RequestId

SCANNED_MAX = 10_000
# Of an integer column.
CLASSES = 31

_COLUMNS = "request_id, at, key_id, model_id, lane, outcome, code, took_ms, tokens, cost_nano, attempts"

_END = "SELECT count(*) AS scanned, (array_agg(request_id ORDER BY request_id))[1] AS last FROM ({source}) calls"


class CallFilter(msgspec.Struct, frozen=True):
    """Which calls of an account, over ``[since, until)``; None: all. ``slower_than_ms``: those that took longer."""

    account_id: AccountId
    since: datetime
    until: datetime
    key_ids: tuple[KeyId, ...] | None = None
    model_id: ModelId | None = None
    outcome: Outcome | None = None
    code: str | None = None
    slower_than_ms: int | None = None


class LoggedCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call as the log has it; ``tokens`` and ``cost_nano`` are None where nothing was charged."""

    request_id: RequestId
    at: datetime
    key_id: KeyId | None
    model_id: str | None
    lane: str
    outcome: str
    code: str
    took_ms: int
    tokens: int | None
    cost_nano: int | None
    attempts: int


class CallPage(msgspec.Struct, frozen=True):
    """Calls, the newest first. ``searched_to``: the last one that was looked at, where the page ended early."""

    calls: list[LoggedCall]
    searched_to: RequestId | None = None


def id_at(instant: datetime) -> RequestId:
    """The smallest request id of an instant, or of any later one."""
    # An id has 48 bits of milliseconds since 1970, and no call is older.
    return RequestId(UUID(int=max(0, int(instant.timestamp() * 1000)) << 80))


async def list_calls(tx: AsyncConnection, which: CallFilter, before: RequestId | None, limit: int) -> CallPage:
    """List at most ``limit`` calls before a request id, newest first."""
    query, values = calls_query(which, before, limit)
    calls = [_call(row) for row in await tx.execute(text(query), values)]
    source, looked_at = _source(which)
    if len(calls) == limit or not looked_at:
        return CallPage(calls)
    end = (await tx.execute(text(_END.format(source=source)), values)).one()
    return CallPage(calls, RequestId(end.last) if end.scanned >= SCANNED_MAX else None)


def calls_query(which: CallFilter, before: RequestId | None, limit: int) -> tuple[str, dict[str, Any]]:
    """The query of a page, and its values."""
    source, looked_at = _source(which)
    _, _, values = _conditions(which)
    values |= {"since": id_at(which.since), "before": before or id_at(which.until)}
    values |= {"account": which.account_id, "limit": limit}
    return (
        f"SELECT * FROM ({source}) calls WHERE true{looked_at} ORDER BY request_id DESC LIMIT :limit",  # noqa: S608
        values,
    )


def _source(which: CallFilter) -> tuple[str, str]:
    """The calls that are read by an index, and the conditions that are then looked at row by row."""
    indexed, looked_at, _ = _conditions(which)
    if which.slower_than_ms is not None and not indexed:
        return _slow_calls(which.slower_than_ms, looked_at), ""
    # The limit has to stand inside, where the rows are sorted: there an index gives them in order, and no more of them.
    most = f"{SCANNED_MAX:d}" if looked_at else ":limit"
    return (
        f"SELECT {_COLUMNS}, CASE WHEN outcome IS NULL THEN route::text END AS route FROM routes"  # noqa: S608
        f" WHERE account_id = :account AND request_id >= :since AND request_id < :before{indexed}"
        f" ORDER BY request_id DESC LIMIT {most}",
        looked_at,
    )


def conditions(which: CallFilter) -> tuple[str, dict[str, Any]]:
    """All conditions of a filter beside account and time, and their values."""
    indexed, looked_at, values = _conditions(which)
    return indexed + looked_at, values


def _conditions(which: CallFilter) -> tuple[str, str, dict[str, Any]]:
    """The condition that an index answers, those that are looked at row by row, and their values."""
    found: list[tuple[str, dict[str, Any]]] = []
    if which.code is not None:
        found.append((" AND code = :code AND code <> ''", {"code": which.code}))
    if which.outcome is not None and which.outcome is not Outcome.ANSWERED:
        found.append((" AND outcome = :outcome AND outcome <> 'answered'", {"outcome": which.outcome.value}))
    if which.key_ids is not None and len(which.key_ids) == 1:
        found.append((" AND key_id = :key", {"key": which.key_ids[0]}))
    elif which.key_ids is not None:
        found.append((" AND key_id = ANY(CAST(:keys AS uuid[]))", {"keys": list(which.key_ids)}))
    if which.model_id is not None:
        found.append((" AND model_id = :model", {"model": which.model_id}))
    indexed = found[0][0] if found else ""
    looked_at = "".join(condition for condition, _ in found[1:])
    values = {name: value for _, given in found for name, value in given.items()}
    if which.outcome is Outcome.ANSWERED:
        looked_at += " AND outcome = 'answered'"
    if which.slower_than_ms is not None:
        looked_at += " AND took_ms > :slow"
        values["slow"] = which.slower_than_ms
    return indexed, looked_at, values


def _slow_calls(slower_than_ms: int, looked_at: str) -> str:
    """The newest calls of each class of duration that has slower ones: one range of the index each."""
    classes = ", ".join(f"({number})" for number in range(duration_class(slower_than_ms), CLASSES + 1))
    return (
        f"SELECT found.* FROM (VALUES {classes}) AS of_class (number) CROSS JOIN LATERAL ("  # noqa: S608
        f"SELECT {_COLUMNS}, NULL AS route FROM routes WHERE account_id = :account AND request_id >= :since"
        f" AND request_id < :before AND (duration_class, request_id) >= (of_class.number, CAST(:since AS uuid))"
        f" AND (duration_class, request_id) < (of_class.number, CAST(:before AS uuid)){looked_at}"
        # A range and an order of class and id together: only the index of classes has them, whatever is estimated.
        " ORDER BY duration_class DESC, request_id DESC LIMIT :limit) found"
    )


def _call(row: Any) -> LoggedCall:  # noqa: ANN401 - a row of SQLAlchemy's
    if row.route is None:
        return LoggedCall(**{name: getattr(row, name) for name in LoggedCall.__struct_fields__})
    # A release that knew no columns wrote it: its explanation has them.
    explained = decode_explanation(row.route)
    return LoggedCall(
        request_id=explained.request_id,
        at=explained.at,
        key_id=explained.key,
        model_id=explained.model or None,
        lane=explained.lane.value,
        outcome=outcome_of(explained).value,
        code=explained.error.code if explained.error is not None else "",
        took_ms=explained.timings.total_us // 1000,
        tokens=explained.tokens,
        cost_nano=explained.cost_nano,
        attempts=len(explained.attempts),
    )
