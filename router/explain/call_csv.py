"""Streams the log of calls as CSV: the whole selection of a filter, the newest first, written by Postgres itself."""

from collections.abc import Awaitable, Callable

from router.explain.calls import CallFilter, conditions, id_at
from store.copy_out import copy_csv
from store.postgres import Database

WITHIN_S = 300.0
# A model's id begins with a letter or a digit, so it is no formula; a name of a key may be one.
_HEADER = """
    'req_' || encode(uuid_send(request_id), 'hex') AS id,
    replace(left((at AT TIME ZONE 'UTC')::text, 23), ' ', 'T') || 'Z' AS created_at,
    k.wire AS key, k.cell AS key_name, model_id AS model, lane,
    outcome, code, took_ms, tokens,
    (cost_nano / 1000000000)::text || '.' || CASE WHEN cost_nano % 10000000 = 0
        THEN lpad((cost_nano % 1000000000 / 10000000)::text, 2, '0')
        ELSE rtrim(lpad((cost_nano % 1000000000)::text, 9, '0'), '0') END AS cost_usd,
    attempts
"""


async def copy_calls(db: Database, which: CallFilter, take: Callable[[bytes], Awaitable[None]]) -> None:
    """Give the calls of a filter to ``take``, as CSV in blocks. Raises what asyncpg does."""
    condition, values = conditions(which)
    # The driver writes the values into the statement as literals, for COPY takes no parameters.
    arguments: list[object] = [which.account_id, id_at(which.since), id_at(which.until)]
    for name, value in values.items():
        arguments.append(value)
        condition = condition.replace(f":{name}", f"${len(arguments)}")
    query = (
        "WITH k AS MATERIALIZED (SELECT id, 'key_' || replace(id::text, '-', '') AS wire, csv_cell(name) AS cell"  # noqa: S608 - constants and numbers of parameters
        " FROM keys WHERE account_id = $1)"
        f" SELECT {_HEADER} FROM routes r LEFT JOIN k ON k.id = r.key_id"
        f" WHERE r.account_id = $1 AND request_id >= $2 AND request_id < $3 AND outcome IS NOT NULL{condition}"
        " ORDER BY request_id DESC"
    )
    await copy_csv(db, query, *arguments, take=take, within_s=WITHIN_S)
