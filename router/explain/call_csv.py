"""Streams the log of calls as CSV: the whole selection of a filter, the newest first, written by Postgres itself.

Nothing is sorted and nothing is joined, so that rows leave as they are read, in the order of the account's index.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from sqlalchemy import text

from router.explain.calls import CallFilter, conditions, id_at
from store.copy_out import copy_csv
from store.ids import AccountId, KeyId, wire
from store.postgres import Database

WITHIN_S = 300.0
# The names of so many keys are constants of the statement; those of more are looked up, which takes a tenth longer.
CONSTANT_KEYS_MAX: Final = 16
# Rows are in the account's index as they are in the table, which Postgres takes for dearer than reading everybody's.
# A zone that is named in the query is looked up for each row.
SETTINGS: Final = ("SET LOCAL random_page_cost = 1", "SET LOCAL timezone = 'UTC'")

_KEYS = text("SELECT id, csv_cell(name) AS cell FROM keys WHERE account_id = :account LIMIT :limit")
_LOOK_UP = """
    LEFT JOIN LATERAL (
        SELECT 'key_' || replace(id::text, '-', '') AS wire, csv_cell(name) AS cell FROM keys
        WHERE id = r.key_id AND account_id = $1 OFFSET 0
    ) k ON true
"""
# A model's id begins with a letter or a digit, so it is no formula; a name of a key may be one. An amount that does not
# end in a zero has its nine decimals, without a search for zeros to trim.
_HEADER = """
    'req_' || encode(uuid_send(request_id), 'hex') AS id,
    replace(at::timestamp::text, ' ', 'T') || 'Z' AS created_at,
    {key} AS key, {name} AS key_name, model_id AS model, lane,
    outcome, code, took_ms, tokens,
    CASE WHEN cost_nano % 10 <> 0 THEN cost_nano * 0.000000001
        WHEN cost_nano % 10000000 = 0 THEN cost_nano / 10000000 * 0.01
        ELSE trim_scale(cost_nano * 0.000000001) END AS cost_usd,
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
    source, header = "routes r" + _LOOK_UP, _HEADER.format(key="k.wire", name="k.cell")
    if (cells := await _key_cells(db, which.account_id)) is not None:
        source, header = "routes r", _HEADER.format(**_constants(cells, arguments))
    query = (
        f"SELECT {header} FROM {source}"  # noqa: S608 - constants
        f" WHERE r.account_id = $1 AND request_id >= $2 AND request_id < $3 AND outcome IS NOT NULL{condition}"
        " ORDER BY request_id DESC"
    )
    await copy_csv(db, query, *arguments, take=take, within_s=WITHIN_S, settings=SETTINGS)


async def _key_cells(db: Database, account_id: AccountId) -> dict[KeyId, str] | None:
    """The name of each key of an account, harmless in a spreadsheet; None where it has many."""
    async with db.transaction() as tx:
        found = (await tx.execute(_KEYS, {"account": account_id, "limit": CONSTANT_KEYS_MAX + 1})).all()
    return {row.id: row.cell for row in found} if len(found) <= CONSTANT_KEYS_MAX else None


def _constants(cells: dict[KeyId, str], arguments: list[object]) -> dict[str, str]:
    """The SQL of a call's key and of its name, which are appended to the arguments."""
    keys = names = ""
    for key_id, cell in cells.items():
        place = len(arguments)
        arguments += [key_id, wire(KeyId, key_id), cell]
        keys += f" WHEN ${place + 1} THEN ${place + 2}::text"
        names += f" WHEN ${place + 1} THEN ${place + 3}::text"
    # A key that is newer than what was read has its id alone.
    made = "'key_' || replace(key_id::text, '-', '')"
    if not cells:
        return {"key": made, "name": "NULL"}
    return {"key": f"CASE key_id{keys} ELSE {made} END", "name": f"CASE key_id{names} END"}
