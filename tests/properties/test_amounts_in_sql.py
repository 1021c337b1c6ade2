"""The database writes a change's amounts for exports as the process writes them for the API."""

import asyncio
import json
from typing import Any

import asyncpg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.changes.amounts import facts_in_usd
from tests.builders.audit_facts import FACTS

NAMES = st.sampled_from(
    (
        "amount",
        "period",
        "amount_nano",
        "amount_usd",
        "nano",
        "nano_nano_mtok",
        "nanos",
        "total",
        "day",
        "caps",
        "x",
        "_nano_",
    )
)
AMOUNTS = st.integers(-(2**63), 2**63 - 1) | st.sampled_from((0, -1, 10**9, 5 * 10**8, 1_500_000_000))
LEAVES = AMOUNTS | st.booleans() | st.none() | st.sampled_from(("month", "7", "", 1.5, -0.25))
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=12
)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(("caps.set", "key.edit")), JSON), min_size=30, max_size=60))
def test_exports_have_the_audit_s_money_as_the_api_has_it(
    module_database_url: str, changes: list[tuple[str, Any]]
) -> None:
    async def read() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(module_database_url)
        try:
            written = [(action, json.dumps(facts)) for action, facts in [*changes, *(case[:2] for case in FACTS)]]
            found: list[asyncpg.Record] = await connection.fetch(
                "SELECT action, facts::text AS facts, facts_in_usd(action, facts)::text AS shown"
                " FROM unnest($1::text[], $2::jsonb[]) c (action, facts)",
                *map(list, zip(*written, strict=True)),
            )
            return found
        finally:
            await connection.close()

    rows = asyncio.run(read())
    assert len(rows) == len(changes) + len(FACTS)
    for row in rows:
        assert json.loads(row["shown"]) == facts_in_usd(row["action"], json.loads(row["facts"])), row["facts"]
