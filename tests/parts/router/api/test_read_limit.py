"""What a key reads beside its calls is limited, per key, and the answer says when there is room again."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from gigarouter.settings import Settings
from router.api.read_limit import KEYS_MAX, WINDOW_S, ReadLimit
from router.errors import RequestLimit
from store.ids import KeyId, new_id
from tests.harness.served_api import Credentials, ServedApi, served

pytestmark = pytest.mark.anyio

PER_MINUTE = 60


@pytest.fixture
async def api(installation: tuple[Settings, Credentials]) -> AsyncIterator[ServedApi]:
    settings, made = installation
    async with served(settings, made, reads_per_minute=PER_MINUTE) as running:
        yield running


async def test_reads_beyond_the_limit_are_429_until_the_time_that_is_said(api: ServedApi) -> None:
    statuses = [(await api.raw("GET", "/v1/account", api.bearer)).status for _ in range(PER_MINUTE)]
    assert set(statuses) == {200}
    while (refused := await api.raw("GET", "/v1/account", api.bearer)).status == 200:
        pass
    assert (refused.status, refused.error["type"]) == (429, "requests")
    assert refused.headers["retry-after"] == "1"
    while (head := await api.raw("HEAD", "/v1/account", api.bearer)).status == 200:
        pass
    assert (head.status, head.body) == (429, b"")
    assert (await api.embed(api.bearer)).status == 200, "calls have limits of their own"
    assert (await api.raw("POST", "/v1/quote", api.bearer, body={"model": api.model, "input": "x"})).status == 200
    assert (await api.raw("GET", "/health")).status == 200
    operator = b"authorization: Bearer " + api.operator.encode()
    assert (await api.raw("GET", "/admin/v1/accounts", operator)).status == 200
    await asyncio.sleep(int(refused.headers["retry-after-ms"]) / 1000)
    assert (await api.raw("GET", "/v1/account", api.bearer)).status == 200


def test_the_time_that_is_said_is_exact_and_a_refusal_costs_nothing() -> None:
    limit, key, now_s = ReadLimit(PER_MINUTE), KeyId(new_id()), 1000.0
    for _ in range(PER_MINUTE):
        limit.count(key, now_s)
    for waited_s in (0.0, 0.25, 0.5):
        with pytest.raises(RequestLimit) as refused:
            limit.count(key, now_s + waited_s)
        assert refused.value.retry_after_s == pytest.approx(WINDOW_S / PER_MINUTE - waited_s)
    limit.count(key, now_s + WINDOW_S / PER_MINUTE)
    limit.count(KeyId(new_id()), now_s)


def test_over_any_time_no_more_than_the_rate_passes() -> None:
    limit, key, passed = ReadLimit(PER_MINUTE), KeyId(new_id()), 0
    for step in range(10 * 600):
        try:
            limit.count(key, step / 10)
            passed += 1
        except RequestLimit:
            continue
    assert passed == PER_MINUTE + 10 * PER_MINUTE - 1


def test_keys_that_no_longer_read_are_forgotten() -> None:
    limit = ReadLimit()
    for step in range(3 * KEYS_MAX):
        limit.count(KeyId(new_id()), float(step))
    assert len(limit._until_s) <= KEYS_MAX
