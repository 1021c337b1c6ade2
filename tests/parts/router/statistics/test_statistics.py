"""Statistics of endpoints: counted once, whatever happens to Postgres, and summed as often as one likes."""

from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random

import asyncpg
import pytest
from sqlalchemy import text

from router.routing.public_reasons import OUTCOMES
from router.statistics.collect import StatisticsCollector, client_of, text_of_network
from router.statistics.counts import (
    CALLS_MIN,
    LATENCY_BOUNDS_MS,
    Counts,
    Fault,
    Size,
    attempt_fault,
    bucket_of,
    call_fault,
    percentile,
    says_nothing,
)
from router.statistics.read import Span, read_endpoint_statistics, read_model_days, read_state
from router.statistics.sums import forget_statistics, sum_statistics
from router.values import AttemptRecord, Lane, Trace
from store.postgres import Database
from tests.builders.values import a_key, a_model, an_endpoint

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 11, 28, 12, 3, tzinfo=UTC)
ENDPOINT, MODEL = an_endpoint(), a_model()


def a_trace(outcome: str = "answered", took_ms: float = 100.0, lane: Lane = Lane.INTERACTIVE) -> Trace:
    attempt = AttemptRecord(ENDPOINT, "first", 0.0, took_ms, outcome)
    return Trace(key=a_key(), model=MODEL, lane=lane, attempts=[attempt])


async def test_what_was_counted_is_read_by_span_size_and_fault_however_often_it_is_summed(db: Database) -> None:
    collector = StatisticsCollector()
    for days in (0, 3, 20):
        at = NOW - timedelta(days=days)
        for _ in range(30):
            collector.count_call(at, 200, "", a_trace())
        collector.count_call(at, 503, "provider_unavailable", a_trace("Broken"))
        collector.count_call(at, 400, "input_too_long", a_trace("TooLong"))
        collector.count_call(at, 200, "", a_trace(lane=Lane.BATCH, took_ms=9_000))
        collector.count_call(at, 200, "", a_trace("canceled"))
        collector.count_call(at, 402, "credit_exhausted", Trace(key=a_key(), model=MODEL))
        collector.count_call(at, 503, "store_unavailable", Trace(key=a_key()))
    connection = await db.connect()
    await collector.write(connection, NOW)
    await connection.close()
    # What is older than a day was summed on its day.
    for days in (20, 3, 0, 0):
        assert await sum_statistics(db, NOW - timedelta(days=days))
    async with db.transaction() as tx:
        found = (await read_endpoint_statistics(tx))[ENDPOINT.id]
        days_of = await read_model_days(tx, (NOW - timedelta(days=30)).date())
        state = await read_state(tx)
    spans: dict[Span, int] = {"24h": 1, "7d": 2, "30d": 3}
    for span, times in spans.items():
        total = found.total(span)
        assert (total.answered, total.providers, total.customers, total.ours) == (31 * times, times, times, 0)
        assert total.availability == pytest.approx(31 / 32)
        assert sum(total.latency) == 30 * times, "the batch lane has no latency"
        assert 80 < (found.latency_ms(span, 0.95, Size.SMALL) or 0) <= 113
        assert found.latency_ms(span, 0.95, Size.LARGE) is None
    today = days_of[MODEL.id][NOW.date()]
    assert (today.answered, today.providers, today.customers) == (32, 1, 2)
    assert days_of[""][NOW.date()].ours == 1
    assert not state.is_late(NOW + timedelta(minutes=1))
    assert state.is_late(NOW + timedelta(minutes=9))
    await forget_statistics(db, NOW + timedelta(days=500))
    async with db.transaction() as tx:
        assert not await tx.scalar(text("SELECT count(*) FROM endpoint_days")) + await tx.scalar(
            text("SELECT count(*) FROM model_statistics")
        )


async def test_statistics_that_were_not_written_are_kept_and_those_that_were_are_not_written_again(
    db: Database,
) -> None:
    collector = StatisticsCollector()
    gone = await db.connect()
    for _ in range(2):
        collector.count_call(NOW, 200, "", a_trace())
        collector.note_use(a_key().id, NOW, lambda: "203.0.113.77", b"openai-python/1.2 x")
    await gone.close()
    with pytest.raises(asyncpg.InterfaceError):
        await collector.write(gone, NOW)
    collector.count_call(NOW, 200, "", a_trace())
    connection = await db.connect()
    for _ in range(2):
        await collector.write(connection, NOW)
    rows = await connection.fetch("SELECT answered, latency FROM endpoint_statistics")
    uses = await connection.fetch("SELECT network::text, client FROM key_uses")
    await connection.close()
    assert [(row["answered"], sum(row["latency"])) for row in rows] == [(3, 3)]
    assert [tuple(use) for use in uses] == [("203.0.113.0/24", "openai-python")] * 2


async def test_a_keys_last_use_is_noted_once_a_minute_and_never_goes_back(db: Database) -> None:
    collector, key = StatisticsCollector(), a_key().id
    connection = await db.connect()
    for seconds, address in ((0, "192.0.2.1"), (30, "192.0.2.2"), (61, "2001:db8:1:2::3"), (-600, "198.51.100.1")):
        collector.note_use(key, NOW + timedelta(seconds=seconds), partial(str, address), b"curl/8")
        await collector.write(connection, NOW)
    [use] = await connection.fetch("SELECT used_at, network::text FROM key_uses")
    await connection.close()
    assert tuple(use) == (NOW + timedelta(seconds=61), "2001:db8:1::/48")


def test_every_outcome_is_somebodys_fault_or_nobodys() -> None:
    customers = {outcome for outcome in OUTCOMES if attempt_fault(outcome) is Fault.CUSTOMERS}
    ours = {outcome for outcome in OUTCOMES if attempt_fault(outcome) is Fault.OURS}
    silent = {outcome for outcome in OUTCOMES if says_nothing(outcome)}
    assert customers == {"CallerFault", "TooLong"}
    assert ours == {"Misconfigured", "CredentialRefused", "ModelMissing"}
    assert silent == {"canceled", "PassedOver", "BeyondQuota"}
    assert call_fault(200, "") is None
    assert call_fault(429, "rate_limited_requests") is Fault.CUSTOMERS
    assert call_fault(503, "store_unavailable") is Fault.OURS
    assert call_fault(504, "upstream_timeout") is Fault.PROVIDERS


def test_a_percentile_is_in_the_bucket_of_the_call_that_it_names_and_too_few_have_none() -> None:
    random = Random(3)
    for _ in range(50):
        took = sorted(random.lognormvariate(4.5, 1) for _ in range(random.randint(CALLS_MIN, 400)))
        counts = Counts()
        for one in took:
            counts.latency[bucket_of(one)] += 1
        for share in (0.5, 0.95):
            estimate = percentile(counts.latency, share)
            exact = took[max(0, -(-int(share * 100) * len(took) // 100) - 1)]
            assert estimate is not None
            assert abs(bucket_of(estimate) - bucket_of(exact)) <= 1 or exact > LATENCY_BOUNDS_MS[-1]
    assert percentile([CALLS_MIN - 1] + [0] * 23, 0.5) is None
    assert Counts(answered=CALLS_MIN - 1).availability is None


def test_what_a_client_sends_names_a_product_and_a_network_or_nothing() -> None:
    assert client_of(b"OpenAI/Python 1.2") == "OpenAI"
    assert client_of(b"") is None
    assert client_of("né/1".encode()) is None
    assert client_of(b"x" * 900) == "x" * 64
    assert text_of_network("unix") is None
    assert text_of_network(None) is None
