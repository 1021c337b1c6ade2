"""The attack on money by wrong wall clocks: of a serve and of jobs, off by any offset, and a jump while calls run."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.fernet import Fernet

from billing.money import NanoUSD
from billing.values import Cap, CapPeriod
from gigarouter import jobs
from gigarouter.diagnostics import CheckFailed, _clocks
from gigarouter.wiring import process
from router.context import RouterContext
from router.identity.key_commands import KeySpec, create_key
from store.clock import Clock
from store.ids import AccountId
from tests.builders.database import WIDE, DatabaseBuilder
from tests.builders.settings import settings_of
from tests.harness.fake_upstream import Reply, Upstream
from tests.harness.served_api import Credentials, ServedApi, served

COST = 10
CALLS = 10
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
        self.daily = self._made(cap=Cap(NanoUSD(COST), CapPeriod.DAY))
        self.monthly = self._made(cap=Cap(NanoUSD(COST), CapPeriod.MONTH))
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
                assert [await call(api, key) for key in (keys.daily, keys.monthly)] == [(200, "")] * 2
            async with served(settings, made, wrong.clock) as api, process(settings, "jobs", other.clock) as context:
                assert await context.generation.ready(20)
                assert context.projection.redis is not None
                assert await context.projection.redis.wait_connected(20)
                working = asyncio.create_task(work(context))
                assert [(await call(api, key))[0] for key in (keys.daily, keys.monthly)] == [403] * 2, "spent anew"
                assert await call(api, keys.ending) == (200, "")
                assert (await call(api, keys.ended))[0] == 401
                upstream.always = Reply(delay_s=1.5)
                running = [asyncio.create_task(call(api, keys.free)) for _ in range(4)]
                await asyncio.sleep(0.5)
                wrong.offset_s, other.offset_s = other.offset_s, wrong.offset_s
                assert await asyncio.gather(*running) == [(200, "")] * 4, "ended by a clock"
                await asyncio.sleep(1.2)
                with pytest.raises(CheckFailed, match=r"clock is .* PostgreSQL's"):
                    await _clocks(context.db)
                assert api.context.db.clock.offset_s == pytest.approx(jobs_offset.total_seconds(), abs=1)
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
