"""A machine's clock may show anything, and jump: periods, expiries, deadlines and holds go by Postgres' time."""

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
from tests.harness.served_api import Credentials, ServedApi, ready, served

COST = 10
BODY = {"model": "tests/counted", "input": list(range(COST))}
OFFSETS = [timedelta(hours=-2), timedelta(hours=1), timedelta(days=-40), timedelta(days=40), timedelta(days=100)]
MONEY_JOBS = {"reap overdue holds", "set accounts anew that fell behind", "expire grants", "make usage months"}


class Machine:
    """A machine whose wall clock is off."""

    def __init__(self, offset: timedelta) -> None:
        self.offset_s = offset.total_seconds()
        self.clock = Clock(lambda: time.time() + self.offset_s)


def a_key_with(database: DatabaseBuilder, account: AccountId, **spec: object) -> str:
    async def command(work: object) -> str:
        return (await create_key(work, account, KeySpec(name="tests", limits=WIDE, allow_token_ids=True, **spec))).text  # type: ignore[arg-type]

    return database.as_app(command)


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


@pytest.mark.parametrize("offset", OFFSETS, ids=str)
def test_no_clock_of_a_process_harms(database_url: str, redis_url: str, offset: timedelta) -> None:
    secret = Fernet.generate_key().decode()
    database, settings = DatabaseBuilder(database_url, secret), settings_of(database_url, redis_url, secret)
    now = datetime.now(UTC)
    with Upstream().in_thread() as upstream:
        model = database.a_model("tests/counted", nano_per_mtok=1_000_000, vocabulary=1_000)
        database.an_endpoint(model, upstream.base_url)
        account = database.an_account(1_000)
        database.rows("ALTER TABLE grants DISABLE TRIGGER USER")
        database.value("UPDATE grants SET expires_at = now() + interval '30 minutes' RETURNING 1")
        free, capped = (
            a_key_with(database, account),
            a_key_with(database, account, cap=Cap(NanoUSD(COST), CapPeriod.DAY)),
        )
        monthly = a_key_with(database, account, cap=Cap(NanoUSD(COST), CapPeriod.MONTH))
        ending = a_key_with(database, account, expires_at=now + timedelta(minutes=30))
        ended = a_key_with(database, account, expires_at=now + timedelta(minutes=30))
        database.value(
            "UPDATE keys SET expires_at = now() - interval '30 minutes' WHERE id = $1 RETURNING 1", _id(database)
        )
        made = Credentials(free, "", "tests/counted")
        right, wrong, other = Machine(timedelta()), Machine(offset), Machine(-offset)

        async def story() -> None:
            async with served(settings, made, right.clock) as api:
                assert [await call(api, key) for key in (capped, monthly)] == [(200, "")] * 2
            async with served(settings, made, wrong.clock) as api, process(settings, "jobs", other.clock) as context:
                await ready(context)
                working = asyncio.create_task(work(context))
                assert [(await call(api, key))[0] for key in (capped, monthly)] == [403] * 2, "spent anew"
                assert await call(api, ending) == (200, "")
                assert (await call(api, ended))[0] == 401
                upstream.always = Reply(delay_s=1.5)
                running = [asyncio.create_task(call(api, free)) for _ in range(4)]
                await asyncio.sleep(0.5)
                wrong.offset_s, other.offset_s = other.offset_s, wrong.offset_s
                assert await asyncio.gather(*running) == [(200, "")] * 4, "ended by a clock"
                await asyncio.sleep(1.2)
                with pytest.raises(CheckFailed, match=r"clock is .* PostgreSQL's"):
                    await _clocks(context.db)
                assert api.context.db.clock.offset_s == pytest.approx(-offset.total_seconds(), abs=1)
                working.cancel()

        asyncio.run(story())
    booked = database.rows("SELECT tableoid::regclass::text AS month, occurred_at, charged_nano FROM usage_events")
    assert [row["charged_nano"] for row in booked] == [COST] * 7
    assert {abs(row["occurred_at"] - now) < timedelta(minutes=2) for row in booked} == {True}
    assert "usage_events_default" not in {row["month"] for row in booked}
    assert {row["outcome"] for row in database.rows("SELECT outcome FROM ended_calls")} == {"charged"}
    days = {row["period"] for row in database.rows("SELECT period FROM key_spend WHERE length(period) = 10")}
    assert days <= {f"{now:%Y-%m-%d}", f"{now + timedelta(minutes=2):%Y-%m-%d}"}
    assert database.value("SELECT remaining_nano FROM grants") == 1_000 - 7 * COST, "credit that has not expired"


def _id(database: DatabaseBuilder) -> object:
    """The key that was made last."""
    return database.value("SELECT id FROM keys ORDER BY created_at DESC LIMIT 1")


def test_a_serve_off_by_hours_says_so(database_url: str, redis_url: str, capfd: pytest.CaptureFixture[str]) -> None:
    secret = Fernet.generate_key().decode()
    settings = settings_of(database_url, redis_url, secret)

    async def story() -> None:
        async with served(settings, Credentials("", "", ""), Machine(timedelta(hours=2)).clock) as api:
            await asyncio.sleep(1.2)
            rows = DatabaseBuilder(database_url, secret)
            offset_s = await asyncio.to_thread(rows.value, "SELECT clock_offset_s FROM processes")
            assert offset_s == pytest.approx(7_200, abs=1)
            assert api.context.db.clock.offset_s == pytest.approx(7_200, abs=1)

    asyncio.run(story())
    logged = "".join(capfd.readouterr())
    assert "clock_off" in logged
