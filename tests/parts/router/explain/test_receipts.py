"""Explanations reach Postgres off the call's path: bounded, whole, and whatever happens to Postgres meanwhile."""

import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest
from sqlalchemy import text
from typing_extensions import override

from router.explain import receipts
from router.explain.explanation import CompletedCall
from router.explain.receipts import ReceiptBuffer, find_call, rotate_weeks
from router.values import Trace
from store.ids import RequestId, new_id
from store.postgres import Connection, Database
from tests.builders.values import NOW, a_hold, a_key

pytestmark = pytest.mark.anyio
KEY = a_key()


def a_call(request_id: UUID | None = None, *, refused: bool = False, message: str = "") -> CompletedCall:
    trace = Trace(key=KEY, hold=None if refused else a_hold())
    return CompletedCall(RequestId(request_id or new_id()), NOW, 200, 1.0, trace, "x" if message else "", message)


def id_at(instant: datetime) -> UUID:
    """An id as if it were made then."""
    rest = new_id().int & ((1 << 80) - 1)
    return UUID(int=(int(instant.timestamp() * 1000) << 80) | rest)


async def count(db: Database, table: str = "routes") -> int:
    async with db.transaction() as tx:
        return int(await tx.scalar(text(f"SELECT count(*) FROM {table}")))


class Unreliable(Database):
    """Postgres, when it is there; ``forgets`` commits and says that the connection was lost."""

    is_away = False
    forgets = False

    @override
    async def connect(self, *, command_timeout_s: float = 10.0) -> Connection:
        if self.is_away:
            raise ConnectionRefusedError
        connection = await super().connect(command_timeout_s=command_timeout_s)
        return Forgetful(connection, self)


class Forgetful:
    def __init__(self, connection: Connection, owner: Unreliable) -> None:
        self._connection = connection
        self._owner = owner

    async def copy_records_to_table(self, *arguments: object, **named: object) -> None:
        await self._connection.copy_records_to_table(*arguments, **named)
        if self._owner.forgets:
            self._owner.forgets = False
            raise asyncpg.ConnectionDoesNotExistError

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


NewBuffer = Callable[..., ReceiptBuffer]


@pytest.fixture
async def new_buffer() -> AsyncIterator[NewBuffer]:
    """Buffers whose connections end with the test, as they do with their process."""
    opened: list[ReceiptBuffer] = []

    def new(*arguments: Any) -> ReceiptBuffer:
        opened.append(ReceiptBuffer(*arguments))
        return opened[-1]

    yield new
    for buffer in opened:
        buffer._disconnect()


async def test_a_call_is_found_before_and_after_it_is_written(db: Database, new_buffer: NewBuffer) -> None:
    kept = new_buffer(db)
    ended = a_call()
    kept.add(ended)
    before = await find_call(db, ended.request_id, kept)
    assert await kept.flush()
    after = await find_call(db, ended.request_id)
    assert before == after
    assert after is not None
    assert after.account_id == KEY.account_id
    assert kept.find(ended.request_id) is None


async def test_more_than_one_copy_takes_arrive_whole_and_in_their_week(db: Database, new_buffer: NewBuffer) -> None:
    kept = new_buffer(db)
    for _ in range(2 * receipts.COPY_MAX + 1):
        kept.add(a_call())
    await kept.flush()
    assert await count(db) == kept.stored == 2 * receipts.COPY_MAX + 1
    assert await count(db, "routes_default") == 0


async def test_while_postgres_is_away_calls_wait_up_to_a_bound_and_arrive_once(
    database_url: str, monkeypatch: pytest.MonkeyPatch, new_buffer: NewBuffer
) -> None:
    monkeypatch.setattr(receipts, "BUFFER_MAX", 5)
    db = Unreliable(database_url)
    kept = new_buffer(db)
    db.is_away = True
    for number in range(7):
        kept.add(a_call())
        if number == 2:
            assert not await kept.flush()
    assert not await kept.flush()
    assert kept.lost == 2
    db.is_away, db.forgets = False, True
    assert not await kept.flush(), "the commit was not heard of"
    assert await kept.flush()
    assert await count(db) == 5
    await db.close()


async def test_a_flood_of_refused_calls_leaves_a_sample_and_no_call_that_was_admitted_is_missed(
    db: Database, new_buffer: NewBuffer
) -> None:
    kept = new_buffer(db)
    for _ in range(500):
        kept.add(a_call(refused=True))
    for _ in range(30):
        kept.add(a_call())
    await kept.flush()
    assert await count(db) == receipts.REFUSALS_MAX + 30
    assert kept.skipped == 500 - receipts.REFUSALS_MAX
    kept.add(a_call(refused=True))
    await kept.flush()
    assert await count(db) == receipts.REFUSALS_MAX + 31


async def test_free_calls_and_refusals_fill_a_days_bytes_and_no_more_and_paid_ones_are_never_missed(
    db: Database, monkeypatch: pytest.MonkeyPatch, new_buffer: NewBuffer
) -> None:
    monkeypatch.setattr(receipts, "FREE_BYTES_PER_DAY", 10_000)
    kept = new_buffer(db)
    free = a_hold(amount_max=0)
    for at in (NOW, NOW + timedelta(days=1)):
        for _ in range(20):
            for _ in range(10):
                kept.add(msgspec.structs.replace(a_call(), at=at, trace=Trace(key=KEY, hold=free)))
                kept.add(msgspec.structs.replace(a_call(refused=True), at=at))
            kept.add(msgspec.structs.replace(a_call(), at=at))
            await kept.flush()
    stored = await count(db)
    assert kept.skipped == 2 * 420 - stored > 600
    async with db.transaction() as tx:
        size = await tx.scalar(text("SELECT sum(length(route::text)) FROM routes"))
    # What is in one flush goes beyond the bound.
    paid = 2 * 20 * 1_000
    assert 2 * 10_000 < size < 2 * (10_000 + 20 * 1_000) + paid


async def test_a_row_that_cannot_be_written_does_not_stop_the_others(
    db: Database, monkeypatch: pytest.MonkeyPatch, new_buffer: NewBuffer
) -> None:
    monkeypatch.setattr(
        receipts, "encode_explanation", lambda e: '"\\u0000"' if e.status == 500 else json.dumps({"status": 1})
    )
    kept = new_buffer(db)
    for status in (200, 500, 200):
        kept.add(msgspec.structs.replace(a_call(), status=status))
    assert await kept.flush()
    assert (await count(db), kept.stored, kept.lost) == (2, 2, 1)


async def test_secrets_in_a_providers_words_are_not_kept(db: Database, new_buffer: NewBuffer) -> None:
    kept = new_buffer(db, lambda words: words.replace("sk-secret", "[redacted]"))
    ended = msgspec.structs.replace(a_call(message="failed"), detail="401 for sk-secret")
    kept.add(ended)
    await kept.flush()
    recorded = await find_call(db, ended.request_id)
    assert recorded is not None
    assert recorded.explanation is not None
    assert recorded.explanation.error is not None
    assert recorded.explanation.error.detail == "401 for [redacted]"


async def test_weeks_are_made_ahead_and_dropped_when_all_of_them_is_too_old(
    db: Database, new_buffer: NewBuffer
) -> None:
    today = datetime.now(UTC)
    kept = new_buffer(db)
    old, late = a_call(id_at(today - timedelta(days=40))), a_call(id_at(today + timedelta(days=70)))
    # Five weeks are there from the start; on a Sunday they end in 29 days.
    fresh = [a_call(id_at(today + timedelta(days=days))) for days in (-25, 0, 25)]
    for ended in (old, late, *fresh):
        kept.add(ended)
    await kept.flush()
    assert await count(db, "routes_default") >= 3, "there are no weeks for these yet"

    await rotate_weeks(db, today.date() + timedelta(days=50))
    assert (await find_call(db, late.request_id)) is not None
    assert await count(db) == 2
    await rotate_weeks(db, today.date() + timedelta(days=50))
    assert await count(db, "routes_default") == 0


async def test_an_explanation_is_gone_after_its_days_and_not_before(db: Database, new_buffer: NewBuffer) -> None:
    made = date.today()  # noqa: DTZ011 - any day will do
    kept = new_buffer(db)
    ended = a_call(id_at(datetime(made.year, made.month, made.day, 12, tzinfo=UTC)))
    kept.add(ended)
    await kept.flush()
    await rotate_weeks(db, made + timedelta(days=receipts.KEPT_DAYS))
    assert await find_call(db, ended.request_id) is not None
    await rotate_weeks(db, made + timedelta(days=receipts.KEPT_DAYS + 8))
    assert await find_call(db, ended.request_id) is None


async def test_nobody_but_the_product_may_drop_explanations(db: Database) -> None:
    asked = text("SELECT has_function_privilege(:who, 'drop_route_weeks(date)', 'EXECUTE')")
    async with db.transaction() as tx:
        assert await tx.scalar(asked, {"who": "gigarouter_app"})
        assert not await tx.scalar(asked, {"who": "public"})
