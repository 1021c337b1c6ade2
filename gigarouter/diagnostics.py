"""Checks whether what is recorded is consistent: ledger, Redis, credentials, processes, providers. Changes nothing.

`gigarouter doctor` runs it. Each check is a function that returns a short message, or raises :class:`CheckFailed`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from billing.generation import Generation
from billing.ledger import drifted_credits, trial_balance, unbalanced_entries
from billing.money import to_usd
from billing.projection import Projection
from billing.reaper import mismatches
from gigarouter.settings import Settings
from router.registry.encryption import CredentialCipher, CredentialUnreadable
from router.registry.endpoints import list_endpoints
from router.registry.indexes import ProviderRecord
from router.registry.providers import decrypt_credential, load_provider_records
from router.values import EndpointState
from store.clock import OFF_S, describe_offset
from store.faults import CannotStart
from store.ids import AccountId, wire
from store.postgres import CONNECTION_LOST, Database
from store.redis_client import RedisClient, RedisUnavailable

# A commit in flight shows as a difference for a moment, and the resync job sets right what a crash left behind.
COMPARE_AGAIN_S = 3.0
ALIVE_WITHIN_S = 4
REACH_WITHIN_S = 5.0


class Finding(msgspec.Struct, frozen=True):
    """The result of one check: its message, and the remedy where ``ok`` is false."""

    check: str
    ok: bool
    message: str = msgspec.field(name="says")
    remedy: str = msgspec.field(name="do", default="")


class CheckFailed(Exception):
    """A check that does not hold, with a message about it and a remedy."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


Check = Callable[[], Awaitable[str]]


async def run_check(name: str, check: Check) -> Finding:
    """Run one check; a check that cannot be run is a finding, too."""
    try:
        return Finding(name, ok=True, message=await check())
    except CheckFailed as failed:
        return Finding(name, ok=False, message=failed.message, remedy=failed.remedy)
    except CannotStart as fault:
        return Finding(name, ok=False, message=str(fault))
    except (SQLAlchemyError, RedisUnavailable, *CONNECTION_LOST) as fault:
        message = f"cannot be looked at: {fault}"
        return Finding(name, ok=False, message=message, remedy="Run it again; is the server up?")


async def check_database(settings: Settings, *, has_redis: bool) -> list[Finding]:
    """Run all checks that need a migrated database, and a Redis where there is one."""
    db = Database(settings.require_database_url(), pool_size=2)
    try:
        findings = [
            await run_check("ledger", lambda: _ledger(db)),
            await run_check("usage months", lambda: _months(db)),
            await run_check("credentials", lambda: _credentials(db, settings)),
            await run_check("processes", lambda: _processes(db)),
            await run_check("clocks", lambda: _clocks(db)),
        ]
        if has_redis:
            async with _projection(db, settings) as (projection, run_id):
                findings.append(await run_check("generation", lambda: _generation(db, run_id)))
                findings.append(await run_check("balances", lambda: _balances(db, projection)))
        return [*findings, *(await _endpoints(db))]
    finally:
        await db.close()


async def _ledger(db: Database) -> str:
    async with db.transaction() as connection:
        lines = await trial_balance(connection)
        unbalanced, drifted = await unbalanced_entries(connection), await drifted_credits(connection)
    total = sum(line.amount for line in lines)
    if total or unbalanced:
        raise CheckFailed(
            f"it sums to {to_usd(total)} USD and {unbalanced} entries do not sum to zero",
            "The database was changed by hand: stop `serve`, keep the database as it is, find the entries.",
        )
    if drifted:
        accounts = ", ".join(wire(AccountId, account_id) for account_id in drifted[:5])
        raise CheckFailed(
            f"the running credit of {len(drifted)} accounts differs from its postings or grants: {accounts}",
            "Suspend these accounts (`gigarouter admin accounts suspend`) until it is found why.",
        )
    return f"{sum(line.postings for line in lines):,} postings sum to zero"


# Of usage by its table; of the ledger by the ids that its months have.
_MONTHS = """
    SELECT (SELECT count(*) FROM usage_events_default),
        to_regclass('usage_events_' || to_char(now() AT TIME ZONE 'UTC' + interval '1 month', 'YYYYMM'))::text,
        (SELECT bool_and(EXISTS (
            SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = p.oid
                AND substring(pg_get_expr(c.relpartbound, c.oid) FROM $$TO \\('([0-9a-f-]+)'\\)$$)::uuid >= first_id_at(
                    (date_trunc('month', now() AT TIME ZONE 'UTC') + interval '2 months') AT TIME ZONE 'UTC')
        )) FROM pg_class p WHERE p.relkind = 'p' AND p.relname IN ('ended_calls', 'entries', 'grant_uses', 'postings'))
"""


async def _months(db: Database) -> str:
    async with db.transaction() as connection:
        stray, table, is_ledger_ready = (await connection.execute(text(_MONTHS))).one()
    if stray or table is None or not is_ledger_ready:
        raise CheckFailed("next month has no table, or rows are outside of all months", "Is `gigarouter jobs` running?")
    return "next month is made"


async def _credentials(db: Database, settings: Settings) -> str:
    async with db.transaction() as connection:
        records = [record for record in await load_provider_records(connection) if record.sealed is not None]
    unreadable = [record.name for record in records if not _opens(record, settings)]
    if unreadable:
        raise CheckFailed(
            f"those of {', '.join(unreadable)} do not open under the secret keys",
            "Add the secret key that they were sealed under, or give the credentials again "
            "(`gigarouter admin providers edit`).",
        )
    return f"{len(records)} kept, all readable"


def _opens(record: ProviderRecord, settings: Settings) -> bool:
    try:
        decrypt_credential(record, CredentialCipher(settings.require_secret_keys()))
    except (CredentialUnreadable, ValueError, CannotStart):
        return False
    return True


async def _processes(db: Database) -> str:
    statement = (
        "SELECT kind, count(*) FROM processes WHERE seen_at > now() - make_interval(secs => :secs) GROUP BY kind"
    )
    async with db.transaction() as connection:
        rows = (await connection.execute(text(statement), {"secs": ALIVE_WITHIN_S})).all()
    counts = {str(row[0]): int(row[1]) for row in rows}
    missing = [kind for kind in ("serve", "jobs") if not counts.get(kind)]
    if missing:
        start = " and ".join(f"`gigarouter {kind}`" for kind in missing)
        raise CheckFailed(f"no {' and no '.join(missing)} is running", f"Start {start}; `gigarouter up` starts all.")
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))


async def _clocks(db: Database) -> str:
    """Compare the wall clocks of this machine and of every living process with Postgres'."""
    statement = (
        "SELECT kind, clock_offset_s FROM processes WHERE clock_offset_s IS NOT NULL"
        " AND seen_at > now() - make_interval(secs => :secs) ORDER BY kind, id"
    )
    async with db.transaction() as connection:
        rows = (await connection.execute(text(statement), {"secs": ALIVE_WITHIN_S})).all()
    offsets = [("this machine", db.clock.offset_s), *((f"a {row.kind}", row.clock_offset_s) for row in rows)]
    off = [f"{name}'s clock is {describe_offset(offset_s)}" for name, offset_s in offsets if abs(offset_s) > OFF_S]
    if off:
        raise CheckFailed(
            f"{'; '.join(off)}. Money goes by PostgreSQL's clock, so none is lost, but logs are dated wrongly",
            "Let NTP set the clock of that machine, or of PostgreSQL's where all of them are off.",
        )
    return f"{len(offsets)} within {OFF_S:g} s of PostgreSQL's"


@asynccontextmanager
async def _projection(db: Database, settings: Settings) -> AsyncIterator[tuple[Projection, str]]:
    """Redis as the product sees it, only read: a new connection here starts no generation."""
    run_ids: list[str] = []

    async def note_run_id(run_id: str) -> None:
        run_ids.append(run_id)

    projection = Projection(db, Generation(db, "doctor"))
    projection.redis = RedisClient(settings.require_redis_url(), (), note_run_id)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(projection.redis.run())
        try:
            await projection.redis.wait_connected(REACH_WITHIN_S)
            yield projection, run_ids[-1] if run_ids else ""
        finally:
            running.cancel()


async def _generation(db: Database, run_id: str) -> str:
    async with db.transaction() as connection:
        row = (await connection.execute(text("SELECT generation, run_id FROM hot_generation"))).one()
    if row.run_id not in ("", run_id):
        raise CheckFailed(
            f"PostgreSQL counts generation {row.generation} for another Redis than the one that answers",
            "Start `gigarouter serve`: it begins the next generation. Do all processes have the same REDIS_URL?",
        )
    return f"{row.generation}, of the Redis that answers"


async def _balances(db: Database, projection: Projection) -> str:
    differing = {found.account_id for found in await mismatches(db, projection)}
    if differing:
        await asyncio.sleep(COMPARE_AGAIN_S)
        still = [found for found in await mismatches(db, projection) if found.account_id in differing]
        if still:
            raise CheckFailed(
                f"{len(still)} accounts differ between Redis and PostgreSQL, such as "
                f"{wire(AccountId, still[0].account_id)}: {to_usd(still[0].redis_balance)} and "
                f"{to_usd(still[0].balance)} USD",
                "`gigarouter jobs` sets them anew within seconds; if it runs and they stay, suspend the accounts.",
            )
    return "Redis and PostgreSQL agree"


async def _endpoints(db: Database) -> list[Finding]:
    async with db.transaction() as connection:
        live = [view.endpoint for view in await list_endpoints(connection) if view.endpoint.state is EndpointState.LIVE]
        records = {record.id: record for record in await load_provider_records(connection)}
    if not live:
        remedy = "`gigarouter admin endpoints create` and `activate` make one."
        return [Finding("endpoints", ok=False, message="none is live, so no call can be answered", remedy=remedy)]
    findings: list[Finding] = []
    for provider_id in sorted({endpoint.provider_id for endpoint in live}):
        record, count = records[provider_id], sum(endpoint.provider_id == provider_id for endpoint in live)
        findings.append(await run_check(f"provider {record.name}", partial(_reach, record, count)))
    return findings


async def _reach(record: ProviderRecord, count: int) -> str:
    """Check that the provider's port answers, and that a worker is ready. Embeds nothing, since that may cost money."""
    endpoints = f"{count} live endpoint{'s' if count > 1 else ''}"
    if not record.enabled:
        raise CheckFailed(
            f"switched off with {endpoints}", f"`gigarouter admin providers edit {record.name} --enabled`"
        )
    if record.base_url is None:
        return f"{endpoints}; at its vendor's own address, not looked at"
    parts = urlsplit(record.base_url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(REACH_WITHIN_S):
            reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=parts.scheme == "https")
            try:
                status = await _ready(reader, writer, parts.hostname or "") if record.kind == "worker" else b"200"
            finally:
                writer.close()
    except (OSError, TimeoutError) as fault:
        raise CheckFailed(
            f"{record.base_url} cannot be reached: {str(fault) or 'no answer'}", "Is it up, and the URL right?"
        ) from fault
    if status != b"200":
        raise CheckFailed(
            f"the worker at {record.base_url} is not ready ({status.decode()})", "Look into the worker's log."
        )
    return f"{endpoints}, reachable"


async def _ready(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> bytes:
    writer.write(f"GET /ready HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    await writer.drain()
    return (await reader.readline()).split(b" ")[1:2][0]
