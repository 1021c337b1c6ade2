"""A machine's clock may show anything, and jump: periods, expiries, deadlines and holds go by Postgres' time."""

import asyncio
from datetime import timedelta

import pytest
from cryptography.fernet import Fernet

from tests.builders.database import DatabaseBuilder
from tests.builders.settings import settings_of
from tests.harness.served_api import Credentials, served
from tests.harness.wrong_clocks import Machine, harm_nothing

OFFSETS = [timedelta(hours=-2), timedelta(hours=1), timedelta(days=-40), timedelta(days=40), timedelta(days=100)]


@pytest.mark.parametrize("offset", OFFSETS, ids=str)
def test_no_clock_of_a_process_harms(database_url: str, redis_url: str, offset: timedelta) -> None:
    harm_nothing(database_url, redis_url, offset, -offset)


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
