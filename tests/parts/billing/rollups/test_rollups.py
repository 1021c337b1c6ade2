"""Sums of usage are those of its events to the nano, whatever dies, comes late, or is summed twice."""

import asyncio
import itertools
import random
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import msgspec
import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.books import Check
from billing.rollups import fill
from billing.rollups.columns import LATENCY_BOUNDS_MS
from billing.rollups.compare import check_sums, compare_days
from billing.rollups.fill import add_before, add_pending, read_state, rebuild_day
from billing.rollups.plan import (
    BY_DAY,
    BY_KEY,
    BY_KEY_MODEL,
    BY_KEY_QUARTER_HOUR,
    BY_MODEL,
    BY_MODEL_QUARTER_HOUR,
    TABLES,
    Horizons,
    choose_tables,
    day_begins,
    days_of,
    plan_sum,
)
from billing.rollups.read import sum_rolled, sum_rolled_buckets
from billing.usage import GroupBy, UsageFilter, sum_buckets, sum_usage
from store.ids import AccountId, KeyId, ModelId, ProviderId, new_id
from store.postgres import Database
from tests.builders.database import insert_model

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ACCOUNTS = [AccountId(new_id()) for _ in range(2)]
KEYS = [KeyId(new_id()) for _ in range(3)]
MODELS = [ModelId("acme/one"), ModelId("acme/two")]
PROVIDERS = [ProviderId(new_id()) for _ in range(2)]
GROUPS: tuple[GroupBy, ...] = ("account", "key", "model", "hour", "day", "month", "lane", "provider")
ZONES = ["Asia/Kolkata", "Asia/Kathmandu", "America/New_York", "Pacific/Apia", "Africa/Cairo"]
# As the charge writes them: the gate and the event, in one transaction.
CHARGE = text("""
WITH ended AS (
    INSERT INTO ended_calls (request_id, outcome, account_id, occurred_at) VALUES (:id, 'charged', :account, :at)
)
INSERT INTO usage_events (request_id, occurred_at, account_id, key_id, model_id, provider_id, endpoint_id, space,
    inputs, tokens, price_id, nano_per_mtok, cost_nano, charged_nano, overdraft_nano, held_nano, provider_cost_nano,
    latency_ms, attempts)
VALUES (:id, :at, :account, :key, :model, :provider, :provider, 's', 2, :cost + 1, :price, :nano, :cost, :cost - :debt,
    :debt, :cost, 3, :latency, 1)
""")
# Somebody writes into a table of sums.
SPOIL = text("""
WITH one AS (SELECT * FROM usage_by_model_quarter_hour WHERE at >= date_trunc('day', now(), 'UTC') - interval '1 day'
    AND at < date_trunc('day', now(), 'UTC') LIMIT 1),
    spoiled AS (UPDATE usage_by_model_quarter_hour u SET tokens = u.tokens + 1 FROM one
    WHERE (u.account_id, u.at, u.model_id, u.lane) = (one.account_id, one.at, one.model_id, one.lane) RETURNING 1)
SELECT count(*) FROM spoiled
""")
PRICE, BATCH, USUAL = new_id(), 10, 20
SET_PRICE = (
    "INSERT INTO prices (id, model_id, nano_per_mtok, batch_nano_per_mtok, effective_at) VALUES ($1, $2, $3, $4, $5)"
)


def now_hour() -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


async def charge(tx: AsyncConnection, draw: random.Random, *, calls: int = 3) -> None:
    """Some calls of one commit: of now, of hours ago, or of days ago, if the month has begun by then."""
    ago = draw.choice((timedelta(0), timedelta(0), HOUR, 5 * HOUR, DAY, 6 * DAY))
    for _ in range(calls):
        at = now_hour() - ago + timedelta(minutes=draw.choice((0, 14, 15, 30, 45, 59)), microseconds=draw.randint(0, 9))
        cost = draw.choice((0, 1, 123_457))
        await tx.execute(
            CHARGE,
            {
                **{"id": new_id(max(at, now_hour() - 6 * DAY)), "at": at, "account": draw.choice(ACCOUNTS)},
                **{"key": draw.choice(KEYS), "model": draw.choice(MODELS), "provider": draw.choice(PROVIDERS)},
                **{"cost": cost, "debt": min(cost, 1), "latency": draw.choice((1, 5, 6, 90, 60_000))},
                **{"price": draw.choice((PRICE, new_id())), "nano": draw.choice((BATCH, USUAL))},
            },
        )


class Crash(Exception):
    """The process is gone."""


class Mortal(Database):
    """A database whose user dies before a statement of its choice; what was not committed then is gone."""

    dies_before: int | None = None

    def __init__(self, url: str) -> None:
        super().__init__(url)
        event.listen(self.engine.sync_engine, "before_cursor_execute", self._die)

    def _die(self, *_: object) -> None:
        if self.dies_before is not None:
            self.dies_before -= 1
            if self.dies_before < 0:
                self.dies_before = None
                raise Crash


def a_question(draw: random.Random) -> tuple[UsageFilter, list[GroupBy]]:
    since = now_hour() - draw.choice((DAY, 7 * DAY, 5 * HOUR)) + timedelta(minutes=draw.choice((0, 15, 44)))
    which = UsageFilter(
        since,
        since + draw.choice((HOUR, DAY, 9 * DAY)),
        account_id=draw.choice((None, ACCOUNTS[0])),
        key_ids=draw.choice((None, None, tuple(KEYS[:2]))),
        model_ids=draw.choice((None, None, (MODELS[0],))),
        provider_id=draw.choice((None, None, PROVIDERS[0])),
        lane=draw.choice((None, None, "batch", "interactive")),
    )
    return which, draw.sample(GROUPS, draw.randint(1, 3))


async def compare(db: Database, draw: random.Random, questions: int) -> None:
    """The sums and the events say the same, of one snapshot."""
    async with db.transaction(snapshot=True) as tx:
        for _ in range(questions):
            which, groups = a_question(draw)
            assert await sum_rolled(tx, which, groups) == await sum_usage(tx, which, groups), (which, groups)
            width = draw.choice((60, 900, 3_600, 86_400))
            buckets = await sum_rolled_buckets(tx, which, width, ["model"], limit=10_000)
            assert buckets == await sum_buckets(tx, which, width, ["model"], limit=10_000)


async def turn(db: Mortal, draw: random.Random) -> None:
    """What jobs do, until they die."""
    db.dies_before = draw.choice((None, None, draw.randint(0, 9)))
    try:
        match draw.randint(0, 3):
            case 0:
                await rebuild_day(db, (now_hour() - draw.choice((timedelta(0), DAY))).date())
            case 1:
                await add_before(db, steps_max=draw.randint(1, 4))
            case _:
                await add_pending(db)
    except Crash:
        pass
    finally:
        db.dies_before = None


@pytest.mark.parametrize("seed", range(2))
def test_sums_are_the_events_whoever_dies_and_however_late_calls_are(
    database_url: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = random.Random(seed)
    monkeypatch.setattr(fill, "COMMITS_MAX", 3)

    async def story() -> None:
        db, jobs = Database(database_url), Mortal(database_url)
        owner = Database(database_url, as_owner=True)
        async with owner.transaction() as tx:
            await insert_model(tx, MODELS[0])
            await tx.exec_driver_sql(SET_PRICE, (PRICE, MODELS[0], USUAL, BATCH, now_hour()))
        for _ in range(8):
            async with db.transaction() as tx:
                await charge(tx, draw)
            await turn(jobs, draw)
        for number in range(8):
            if number == 3:
                await upgrade(owner)
            # A commit that takes as long as several turns of the jobs.
            async with db.transaction() as late:
                await charge(late, draw)
                for _ in range(draw.randint(0, 3)):
                    async with db.transaction() as tx:
                        await charge(tx, draw)
                    await turn(jobs, draw)
            await turn(jobs, draw)
            await compare(db, draw, 6)
        while await add_pending(db):
            pass
        await add_before(db, within_s=60)
        async with db.transaction() as tx:
            state = await read_state(tx)
            assert state.horizons == Horizons(fill.EVERYTHING, fill.EVERYTHING, fill.EVERYTHING)
            assert await tx.scalar(text("SELECT count(*) FROM usage_pending")) == 0
            for table in TABLES:
                assert await tx.scalar(text(f"SELECT sum(charged) FROM {table.name}")) == await tx.scalar(
                    text("SELECT sum(charged_nano) FROM usage_events")
                )
        await compare(db, draw, 60)
        async with db.transaction() as tx:
            await check_zones(tx)
            await check_latency(tx)
        for one in (db, jobs, owner):
            await one.close()

    asyncio.run(story())


async def upgrade(owner: Database) -> None:
    """Tables by quarter-hour, and by key and model, come to sums of before, as migrations 0072 and 0087 leave them."""
    async with owner.transaction() as tx:
        for table in (BY_KEY_MODEL, BY_KEY_QUARTER_HOUR, BY_MODEL_QUARTER_HOUR):
            await tx.execute(text(f"TRUNCATE {table.name}"))
        await tx.execute(
            text("UPDATE usage_rollup SET quarter_hours_from = NULL, key_models_from = NULL, turns = turns + 6")
        )


async def check_zones(tx: AsyncConnection) -> None:
    """The days of a zone are the sums of its calls, where its midnight cuts an hour of UTC, too: from sums alone."""
    which = UsageFilter(now_hour() - 8 * DAY, now_hour() + HOUR, account_id=ACCOUNTS[0])
    events = (await tx.execute(text("SELECT * FROM usage_events WHERE account_id = :a"), {"a": ACCOUNTS[0]})).all()
    for name in ZONES:
        zone = ZoneInfo(name)
        for group, format in (("day", "%Y-%m-%d"), ("month", "%Y-%m")):
            expected: Counter[tuple[str, KeyId]] = Counter()
            for call in events:
                expected[f"{call.occurred_at.astimezone(zone):{format}}", call.key_id] += call.charged_nano
            found = {
                (str(row.day or row.month), row.key_id): row.charged
                for row in await sum_rolled(tx, which, [group, "key"], zone=zone)  # type: ignore[list-item]
            }
            assert found == expected, (name, group)
        one = msgspec.structs.replace(which, key_ids=[events[0].key_id])
        of_key = {
            (str(row.day), row.model_id): row.charged for row in await sum_rolled(tx, one, ["day", "model"], zone=zone)
        }
        calls: Counter[tuple[str, ModelId]] = Counter()
        for call in events:
            if call.key_id == events[0].key_id:
                calls[f"{call.occurred_at.astimezone(zone):%Y-%m-%d}", call.model_id] += call.charged_nano
        assert of_key == calls, name


async def check_latency(tx: AsyncConnection) -> None:
    which = UsageFilter(now_hour() - 8 * DAY, now_hour() + HOUR)
    expected: Counter[int] = Counter()
    for took in await tx.scalars(text("SELECT latency_ms FROM usage_events")):
        expected[sum(took > bound for bound in LATENCY_BOUNDS_MS)] += 1
    for group in ("key", "model", "provider"):
        found: Counter[int] = Counter()
        for row in await sum_rolled(tx, which, [group], latency=True):
            found.update(dict(enumerate(row.latency or ())))
        assert +found == expected


def test_a_plan_has_every_instant_of_the_span_once() -> None:
    draw = random.Random(1)
    for _ in range(300):
        since = datetime(2026, 3, 25, tzinfo=UTC) + draw.randint(0, 10_000) * timedelta(minutes=1)
        until = since + draw.randint(1, 20_000) * timedelta(minutes=1)
        complete = [(since + draw.choice((-DAY, 50 * HOUR))).replace(minute=0) for _ in range(3)]
        horizons = Horizons(*(draw.choice((None, at)) for at in complete))
        boundaries = draw.choice(([], days_of(since, until, ZoneInfo(draw.choice(ZONES)))))
        tables = choose_tables(
            draw.choice(({"key_id"}, {"model_id"}, {"provider_id"}, {"key_id", "model_id"})),
            grain=draw.choice((HOUR, DAY)),
        )
        plan = plan_sum(since, until, tables, horizons, boundaries)
        spans = list(plan.events)
        for read in plan.tables:
            horizon, spans = horizons.of(read.table), [*spans, *read.ranges]
            for range_ in read.ranges:
                at = range_[0]
                assert horizon is not None
                assert at >= horizon
                while at < range_[1]:
                    assert not any(at < cut < at + read.table.grain for cut in boundaries)
                    at += read.table.grain
                assert at == range_[1], "rows are whole"
        spans.sort()
        assert (spans[0][0], spans[-1][1]) == (since, until)
        assert all(one[1] == two[0] for one, two in itertools.pairwise(spans))


def test_days_of_any_zone_are_read_from_sums_alone() -> None:
    now = datetime(2026, 11, 28, 11, 7, tzinfo=UTC)
    everything = Horizons(fill.EVERYTHING, fill.EVERYTHING, fill.EVERYTHING)
    for name in available_timezones():
        zone = ZoneInfo(name)
        since, until = (day_begins(date(2026, month, 1), zone) for month in (10, 12))
        tables = choose_tables({"model_id", "lane"}, grain=DAY)
        plan = plan_sum(since, until, tables, everything, days_of(since, until, zone))
        assert not plan.events, name
        hours = sum((end - start for read in plan.tables for start, end in read.ranges), timedelta())
        assert hours == until - since
    cut = plan_sum(now - 3 * DAY, now, choose_tables({"key_id"}, grain=DAY), everything)
    assert [read.table for read in cut.tables] == [BY_DAY, BY_KEY, BY_KEY_QUARTER_HOUR]
    assert sum((end - start for start, end in cut.events), timedelta()) < timedelta(minutes=30)


def test_the_tables_with_what_is_wanted_are_chosen() -> None:
    assert choose_tables({"key_id"}, grain=HOUR) == (BY_KEY, BY_KEY_QUARTER_HOUR)
    assert choose_tables({"lane"}, grain=HOUR) == (BY_MODEL, BY_MODEL_QUARTER_HOUR)
    assert choose_tables({"lane"}, grain=timedelta(minutes=30)) == (BY_MODEL_QUARTER_HOUR,)
    assert choose_tables({"key_id", "model_id"}, grain=DAY) == (BY_DAY, BY_KEY_MODEL)
    assert choose_tables({"key_id", "lane"}, grain=HOUR) == (BY_KEY_MODEL,)
    assert choose_tables({"provider_id"}, grain=HOUR) == ()
    assert choose_tables({"key_id"}, grain=timedelta(minutes=1)) == ()


def test_jobs_of_before_quarter_hours_are_refused_and_take_nothing(database_url: str) -> None:
    """Beside jobs of now they would add calls to the older tables alone."""

    async def story() -> None:
        db = Database(database_url)
        async with db.transaction() as tx:
            await charge(tx, random.Random(3))

        async def old_turn() -> None:
            async with db.transaction() as tx:
                await tx.execute(text("DELETE FROM usage_pending"))
                await tx.execute(
                    text("UPDATE usage_rollup SET complete_from = now(), data_to = now(), turns = turns + 1")
                )

        with pytest.raises(DBAPIError, match="older version"):
            await old_turn()
        assert await add_pending(db) == 3
        await db.close()

    asyncio.run(story())


def test_a_night_finds_the_day_that_was_spoiled_builds_it_anew_and_says_so_for_a_day(database_url: str) -> None:
    draw = random.Random(7)

    async def story() -> None:
        db = Database(database_url)
        async with db.transaction() as tx:
            for _ in range(12):
                await charge(tx, draw)
        await add_pending(db)
        assert (await compare_days(db)).compared == 0, "nothing is compared before the sums have the whole day"
        await add_before(db, within_s=60)
        first = await compare_days(db)
        assert (first.rebuilt, first.wrong) == ([], [])
        assert (await check_sums(db)).wrong == 0
        # A late call of yesterday waits for its turn; a row of sums is spoiled meanwhile.
        async with db.transaction() as tx:
            for _ in range(12):
                await charge(tx, draw)
            assert await tx.scalar(SPOIL) == 1
        due = await compare_days(db)
        assert due.compared == 1, "what was compared and is not changed is compared one day a night"
        await add_pending(db)
        found = await check_sums(db)
        assert (found.check, found.wrong) == (Check.USAGE_SUMS, 1)
        assert str((now_hour() - DAY).date()) in found.message
        assert (await check_sums(db)).wrong == 1, "who looks in the morning sees it, too"
        await compare(db, draw, 20)
        await db.close()

    asyncio.run(story())
