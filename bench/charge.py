"""Measures what a charge costs with all of the ledger's periods, chains and months and with three caps, beside before.

A call's figure is the time on a core of Postgres' process for its share of a commit, and of Redis' main thread for its
admission and its charge. Before is the schema of revision 0016 and the scripts of a commit that knew a key's one cap;
both have the same calls, in rounds that are interleaved, and the figure is the median of all rounds.
"""

import asyncio
import statistics
import sys
import tempfile
from pathlib import Path
from uuid import UUID

import asyncpg
import redis
from typing_extensions import override

from bench import caps, commits
from store.embedded import Embedded
from store.ids import new_id

BEFORE, SCRIPTS = "0016", "b0f12b4"
# Calls of a commit, each of another account, and commits of a round.
CALLS, COMMITS = 20, 10
BAR = 95
_ACCOUNT = """
    INSERT INTO accounts (id, name) VALUES ($1, 'bench');
"""
_LEDGER = """
    INSERT INTO ledger_accounts (id, kind, account_id, posted_nano, version)
    SELECT gen_random_uuid(), kind, $1, CASE kind WHEN 'customer_credit' THEN 1000000000000 END,
        0
    FROM unnest(ARRAY['customer_credit', 'customer_overdraft']) kind
"""
_GRANT = """
    INSERT INTO grants (id, account_id, kind, amount_nano, remaining_nano, source_ref)
    VALUES (gen_random_uuid(), $1, 'purchased', 1000000000000, 1000000000000, 'bench:' || gen_random_uuid())
"""


class Before(commits.Side):
    """The schema of before: accounts are written as it has them, and a charge does not know what was held."""

    ARGUMENTS = 24

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._url = url

    @override
    async def make_accounts(self) -> list[UUID]:
        owner = await asyncpg.connect(self._url)
        await owner.execute("SET session_replication_role = replica")
        made = [new_id() for _ in range(commits.ACCOUNTS)]
        for account in made:
            for statement in (_ACCOUNT, _LEDGER, _GRANT):
                await owner.execute(statement, account)
        await owner.close()
        return made


async def compare_charges(servers: Embedded, rounds: int) -> float:
    """How many of the calls of before now cost as much, in percent; prints what it is made of."""
    ledgers = {"before": Before(servers.postgres.url("before")), "now": commits.Side(servers.postgres.url("now"))}
    for ledger in ledgers.values():
        await ledger.start()
    client: redis.Redis = redis.Redis.from_url(servers.redis_url)
    scripts = {
        "before": caps.Side("one cap", client, SCRIPTS, caps.admission_before(caps.AMOUNT)),
        "now": caps.Side("three caps", client, None, caps.admission(3)),
    }
    postgres: dict[str, list[float]] = {name: [] for name in ledgers}
    for turn in range(rounds + 1):
        for name in list(ledgers) if turn % 2 else list(ledgers)[::-1]:
            postgres[name].append(await ledgers[name].measure(CALLS, CALLS, COMMITS) / CALLS)
            scripts[name].times.append(scripts[name].measure())
    for ledger in ledgers.values():
        await ledger.stop()
    costs = {}
    for name in ledgers:
        ours, theirs = statistics.median(postgres[name][1:]), statistics.median(scripts[name].times[1:])
        costs[name] = ours + theirs
        sys.stdout.write(f"  {name:<7} {ours:6.0f} µs of Postgres and {theirs:4.0f} µs of Redis a call\n")
    return 100 * costs["before"] / costs["now"]


def main(rounds: int) -> None:
    """Compare on servers of their own, and print the row."""
    with tempfile.TemporaryDirectory(prefix="gr-charge-") as folder, Embedded(Path(folder)) as servers:
        for side, revision in (("before", BEFORE), ("now", None)):
            servers.postgres.ensure_database(side)
            commits.prepare(servers.postgres.url(side), revision)
        percent = asyncio.run(compare_charges(servers, rounds))
    sys.stdout.write(
        f"charge with all of the ledger and three caps: {percent:.0f} % of the calls of before (>= {BAR})\n"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
