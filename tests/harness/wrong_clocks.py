"""The attack on money by wrong wall clocks: of a serve and of jobs, off by any offset, and a jump while calls run."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

from cryptography.fernet import Fernet

from billing.money import NanoUSD
from billing.values import Cap, CapPeriod
from gigarouter import jobs
from gigarouter.diagnostics import CheckFailed, _clocks
from gigarouter.wiring import process
from router.context import RouterContext
from router.identity.key_commands import create_key
from router.identity.key_views import KeySpec
from store.clock import Clock
from store.ids import AccountId
from tests.builders.database import WIDE, DatabaseBuilder
from tests.builders.settings import settings_of
from tests.harness.fake_upstream import Reply, Upstream
from tests.harness.served_api import Credentials, ServedApi, served

COST = 10
CALLS = 10
PATIENCE_S = 20.0
BODY = {"model": "tests/counted", "input": list(range(COST))}
MONEY_JOBS = {"reap overdue holds", "set accounts anew that fell behind", "expire grants", "make usage months"}
EARLY, LATE = "now() - interval '30 minutes'", "now() + interval '30 minutes'"


class Machine:
    """A machine whose wall clock is off."""

    def __init__(self, offset: timedelta) -> None:
        self.offset_s = offset.total_seconds()
        self.clock = Clock(lambda: time.time() + self.offset_s)


async def call(api: ServedApi, key: str) -> tuple[int, str]:
    answer = await api.raw("POST", "/v1/embeddings", f"authorization: Bearer {key}".encode(), body=BODY)
    return answer.status, "" if answer.status == 200 else str(answer.error["code"])


async def call_until_decided(api: ServedApi, key: str) -> tuple[int, str]:
    """The outcome of a call, repeated while it is 503: this machine was too busy for a heartbeat."""
    until = time.monotonic() + PATIENCE_S
    while (outcome := await call(api, key))[0] == 503 and time.monotonic() < until:  # noqa: ASYNC110
        await asyncio.sleep(0.2)
    return outcome


async def until_it_is_said(context: RouterContext, api: ServedApi, offset_s: float) -> None:
    """Until the clock of a process is known, with its next heartbeat, to be off by what it is now."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        is_known = abs(api.context.db.clock.offset_s - offset_s) < 1
        try:
            await _clocks(context.db)
        except CheckFailed as said:
            if is_known and "PostgreSQL's" in str(said):
                return
        await asyncio.sleep(0.2)
    raise AssertionError(f"{api.context.db.clock.offset_s} is measured, and {offset_s} is right; or doctor is content")


async def work(context: RouterContext) -> None:
    """The jobs that touch money, again and again."""
    table = [job for job in jobs.table() if job.name in MONEY_JOBS]
    assert len(table) == len(MONEY_JOBS)
    while True:
        for job in table:
            await job.run(context)
        await asyncio.sleep(0.05)


class _Keys:
    """Keys of one account: free, with a cap of one call a day or a month, one that ends soon, one that has ended."""

    def __init__(self, database: DatabaseBuilder, account: AccountId, now: datetime) -> None:
        self._database, self._account = database, account
        soon = now + timedelta(minutes=30)
        self.free = self._made()
        self.daily = self._made(caps=(Cap(NanoUSD(COST), CapPeriod.DAY),))
        self.monthly = self._made(caps=(Cap(NanoUSD(COST), CapPeriod.MONTH),))
        self.ending = self._made(expires_at=soon)
        self.ended = self._made(expires_at=soon)
        newest = "(SELECT id FROM keys ORDER BY created_at DESC LIMIT 1)"
        database.value(f"UPDATE keys SET expires_at = {EARLY} WHERE id = {newest} RETURNING 1")

    def _made(self, **spec: object) -> str:
        async def command(work: object) -> str:
            wide = KeySpec(name="tests", limits=WIDE, allow_token_ids=True, **spec)  # type: ignore[arg-type]
            return (await create_key(work, self._account, wide)).text  # type: ignore[arg-type]

        return self._database.as_app(command)


def harm_nothing(database_url: str, redis_url: str, serve_offset: timedelta, jobs_offset: timedelta) -> None:
    """Fails where a process whose clock is off ends a call, spends anew, expires or dates anything wrongly.

    While calls run, the offsets change places. ``CALLS`` are made.
    """
    secret = Fernet.generate_key().decode()
    database, settings = DatabaseBuilder(database_url, secret), settings_of(database_url, redis_url, secret)
    now = datetime.now(UTC)
    with Upstream().in_thread() as upstream:
        model = database.a_model("tests/counted", nano_per_mtok=1_000_000, vocabulary=1_000)
        database.an_endpoint(model, upstream.base_url)
        account = database.an_account(1_000)
        database.rows("ALTER TABLE grants DISABLE TRIGGER USER")
        database.value(f"UPDATE grants SET expires_at = {LATE} RETURNING 1")
        keys = _Keys(database, account, now)
        made = Credentials(keys.free, "", "tests/counted")
        right, wrong, other = Machine(timedelta()), Machine(serve_offset), Machine(jobs_offset)

        async def story() -> None:
            async with served(settings, made, right.clock) as api:
                assert [await call_until_decided(api, key) for key in (keys.daily, keys.monthly)] == [(200, "")] * 2
            async with served(settings, made, wrong.clock) as api, process(settings, "jobs", other.clock) as context:
                assert await context.generation.ready(20)
                assert context.projection.redis is not None
                assert await context.projection.redis.wait_connected(20)
                working = asyncio.create_task(work(context))
                statuses = [(await call_until_decided(api, key))[0] for key in (keys.daily, keys.monthly)]
                assert statuses == [403] * 2, f"caps are spent anew: {statuses}"
                statuses = [(await call_until_decided(api, key))[0] for key in (keys.ending, keys.ended)]
                assert statuses == [200, 401], f"keys end by a clock: {statuses}"
                upstream.always = Reply(delay_s=1.5)
                running = [asyncio.create_task(call(api, keys.free)) for _ in range(4)]
                await asyncio.sleep(0.5)
                wrong.offset_s, other.offset_s = other.offset_s, wrong.offset_s
                answers = await asyncio.gather(*running)
                assert answers == [(200, "")] * 4, f"calls end by a clock: {answers}"
                await until_it_is_said(context, api, jobs_offset.total_seconds())
                working.cancel()

        asyncio.run(story())
    _assert_booked_as_it_was(database, now)


def _assert_booked_as_it_was(database: DatabaseBuilder, now: datetime) -> None:
    booked = database.rows("SELECT tableoid::regclass::text AS month, occurred_at, charged_nano FROM usage_events")
    assert [row["charged_nano"] for row in booked] == [COST] * 7
    assert {abs(row["occurred_at"] - now) < timedelta(minutes=2) for row in booked} == {True}
    assert "usage_events_default" not in {row["month"] for row in booked}
    assert {row["outcome"] for row in database.rows("SELECT outcome FROM ended_calls")} == {"charged"}
    days = {row["period"] for row in database.rows("SELECT period FROM key_spend WHERE length(period) = 10")}
    assert days <= {f"{now:%Y-%m-%d}", f"{now + timedelta(minutes=2):%Y-%m-%d}"}
    assert database.value("SELECT remaining_nano FROM grants") == 1_000 - 7 * COST, "credit that has not expired"
