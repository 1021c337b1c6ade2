"""Measures what a commit of calls costs Postgres, beside an older revision: ``python -m bench.commits 0031``.

Two databases of one server take the same commits in turn, of 1 and of 200 calls, on one connection each. The figure is
the time that the connection's own process of Postgres was on a core (``/proc/PID/schedstat``), which a busy machine
does not change much, in microseconds a commit: the median of all rounds.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from alembic import command
from alembic.config import Config

from gigarouter.schema import migrate, migrations_folder
from store.embedded import Embedded
from store.ids import new_id
from store.postgres import Database
from tests.builders.billing import an_account

ACCOUNTS = 200
# Calls in a commit, of so many accounts, and commits in a round.
SHAPES = ((1, 1, 400), (200, 1, 20), (200, 200, 4))


class Side:
    """One database: its accounts, a lease, and a connection whose process is watched."""

    # Of the function that charges.
    ARGUMENTS = 25

    def __init__(self, url: str) -> None:
        self._db = Database(url)
        self._accounts: list[UUID] = []
        self._process = new_id()
        self._connection: Any = None

    async def make_accounts(self) -> list[UUID]:
        return [await an_account(self._db, 10**12) for _ in range(ACCOUNTS)]

    async def start(self) -> None:
        self._accounts = await self.make_accounts()
        self._connection = await self._db.connect()
        await self._connection.execute("INSERT INTO charge_leases VALUES ($1, 1)", self._process)
        await self._connection.execute("SET synchronous_commit = off")

    async def stop(self) -> None:
        await self._connection.close()
        await self._db.close()

    async def measure(self, calls: int, accounts: int, commits: int) -> float:
        """Microseconds on a core for each of these commits."""
        batches = [self._batch(calls, self._accounts[:accounts]) for _ in range(commits)]
        charge = f"SELECT * FROM charge_leased_calls({', '.join(f'${n}' for n in range(1, self.ARGUMENTS + 1))})"
        began = on_core_ns(self._connection.get_server_pid())
        for batch in batches:
            rows = await self._connection.fetch(charge, self._process, 1, *batch[: self.ARGUMENTS - 2])
            assert {row["outcome"] for row in rows} == {"charged"}
        return (on_core_ns(self._connection.get_server_pid()) - began) / 1000 / commits

    def _batch(self, calls: int, accounts: Sequence[UUID]) -> list[list[Any]]:
        payers = [accounts[n % len(accounts)] for n in range(calls)]
        entries = {payer: new_id() for payer in payers}
        columns = [[new_id() for _ in payers], payers, [entries[payer] for payer in payers], payers]
        same = ["test/model", payers[0], payers[0], "space", 1, 1_000, None, payers[0], 1_000, 1_000, 500]
        same += [datetime.now(UTC), 20, 1, None, None, None, None, 1_000]
        return [*columns, *([value] * calls for value in same)]


def on_core_ns(pid: int) -> int:
    """How long a process has been on a core."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def prepare(url: str, revision: str | None) -> None:
    """Bring a new database to a revision, else to this release's."""
    if revision is None:
        migrate(url)
        return
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    config.attributes["database_url"] = url
    command.upgrade(config, revision)


async def compare(urls: dict[str, str], rounds: int) -> None:
    sides = {name: Side(url) for name, url in urls.items()}
    for side in sides.values():
        await side.start()
    for calls, accounts, commits in SHAPES:
        figures: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(rounds + 1):
            for name in list(sides) if turn % 2 else list(sides)[::-1]:
                figures[name].append(await sides[name].measure(calls, accounts, commits))
        medians = {name: statistics.median(found[1:]) for name, found in figures.items()}
        before, after = medians.values()
        told = ", ".join(f"{name} {median:,.0f} µs" for name, median in medians.items())
        sys.stdout.write(f"a commit of {calls} calls of {accounts} accounts: {told}: {100 * after / before:.1f} %\n")
        sys.stdout.flush()
    for side in sides.values():
        await side.stop()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("before", help="the older revision")
    options.add_argument("--rounds", type=int, default=15)
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="gr-commits-") as folder, Embedded(Path(folder)) as servers:
        for name, revision in (("before", given.before), ("after", None)):
            servers.postgres.ensure_database(name)
            prepare(servers.postgres.url(name), revision)
        asyncio.run(compare({name: servers.postgres.url(name) for name in ("before", "after")}, given.rounds))


if __name__ == "__main__":
    main()
