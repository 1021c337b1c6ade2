"""The log of calls: whatever is filtered and however it is paged, it is what was logged, newest first."""

import csv
import io
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any

import pytest
from sqlalchemy import text

from billing.money import to_usd
from router.explain import call_csv
from router.explain.call_csv import copy_calls
from router.explain.call_log import COLUMNS, Outcome, duration_class
from router.explain.calls import CallFilter, LoggedCall, calls_query, list_calls
from store.ids import AccountId, KeyId, ModelId, RequestId, new_id, wire
from store.postgres import Database

pytestmark = pytest.mark.anyio

NOW = datetime.now(UTC).replace(microsecond=0)
ACCOUNT, OTHER = AccountId(new_id()), AccountId(new_id())
KEYS = [KeyId(new_id()) for _ in range(3)]
MODELS = [ModelId("acme/one"), ModelId("acme/two")]
CODES = {Outcome.REFUSED: ["credit_exhausted", "license_restricted"], Outcome.FAILED: ["provider_unavailable"]}
# The third key is none of which the names were read.
NAMES = ['=1+1, "one"\nof\r\t\\many,', "two\\"]
SHOWN = ['\'=1+1, "one"\nof\r\t\\many,', "two\\", ""]
INSERT_KEY = text("""
INSERT INTO keys (id, account_id, name, handle, last4, digest, use, requests_per_minute, tokens_per_minute, concurrency)
VALUES (:id, :account, :name, CAST(:handle AS text), 'abcd', sha256(convert_to(:handle, 'UTF8')), 'commercial', 60, 60,
    2)
""")
CALLS = 600


def a_logged_call(random: Random, number: int) -> LoggedCall:
    outcome = random.choices(list(Outcome), (90, 3, 5, 2, 1))[0]
    at = NOW - timedelta(seconds=number, microseconds=number % 7)
    answered = outcome is Outcome.ANSWERED
    return LoggedCall(
        request_id=RequestId(new_id(at)),
        at=at,
        key_id=random.choice(KEYS),
        model_id=random.choice(MODELS),
        lane="interactive",
        outcome=outcome.value,
        code=random.choice(CODES.get(outcome, [""])),
        took_ms=int(random.expovariate(1 / 200)),
        tokens=7 if answered else None,
        cost_nano=random.choice((70_000_000, 3, 1_000_000_007)) if answered else None,
        attempts=1,
    )


async def log_calls(db: Database, calls: Sequence[LoggedCall], account: AccountId = ACCOUNT) -> None:
    connection = await db.connect()
    rows = [
        (
            *(call.request_id, account, f'{{"request_id": "{call.request_id}"}}', call.at, call.key_id, call.model_id),
            *(call.lane, call.outcome, call.code, call.took_ms, duration_class(call.took_ms), call.tokens),
            *(call.cost_nano, call.attempts),
        )
        for call in calls
    ]
    await connection.copy_records_to_table("routes", records=rows, columns=COLUMNS)
    await connection.close()


async def insert_keys(db: Database) -> None:
    async with db.transaction() as tx:
        await tx.execute(text("INSERT INTO accounts (id, name) VALUES (:id, 'Acme')"), {"id": ACCOUNT})
        for place, name in enumerate(NAMES):
            key = {"id": KEYS[place], "account": ACCOUNT, "name": name, "handle": f"abcdefg{place}"}
            await tx.execute(INSERT_KEY, key)


FILTERS: list[dict[str, Any]] = [
    {},
    {"key_ids": (KEYS[0],)},
    {"key_ids": (KEYS[0], KEYS[2])},
    {"model_id": MODELS[1]},
    {"outcome": Outcome.ANSWERED},
    {"outcome": Outcome.FAILED},
    {"outcome": Outcome.REPLAYED, "key_ids": (KEYS[1],)},
    {"code": "license_restricted"},
    {"code": "license_restricted", "model_id": MODELS[0], "outcome": Outcome.REFUSED},
    {"slower_than_ms": 500},
    {"slower_than_ms": 511, "outcome": Outcome.ANSWERED},
    {"slower_than_ms": 200, "key_ids": (KEYS[0],), "model_id": MODELS[0]},
    {"code": "no_such_code"},
    {"model_id": ModelId("acme/none"), "slower_than_ms": 0},
    {"since": NOW - timedelta(seconds=300), "until": NOW - timedelta(seconds=99)},
]


def matches(which: CallFilter, call: LoggedCall) -> bool:
    return (
        which.since <= call.at < which.until
        and (which.key_ids is None or call.key_id in which.key_ids)
        and (which.model_id is None or call.model_id == which.model_id)
        and (which.outcome is None or call.outcome == which.outcome)
        and (which.code is None or call.code == which.code)
        and (which.slower_than_ms is None or call.took_ms > which.slower_than_ms)
    )


def a_filter(**fields: Any) -> CallFilter:
    span = {"since": NOW - timedelta(days=30), "until": NOW + timedelta(seconds=1)}
    return CallFilter(ACCOUNT, **(span | fields))


async def all_pages(db: Database, which: CallFilter, limit: int) -> list[LoggedCall]:
    found: list[LoggedCall] = []
    before = None
    async with db.transaction() as tx:
        while True:
            page = await list_calls(tx, which, before, limit)
            found += page.calls
            before = page.calls[-1].request_id if len(page.calls) == limit else page.searched_to
            if before is None:
                return found


async def test_every_filter_finds_what_was_logged_page_by_page_and_as_csv(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = Random(5)
    calls = [a_logged_call(random, number) for number in range(CALLS)]
    call_of = {wire(RequestId, call.request_id): call for call in calls}
    await insert_keys(db)
    await log_calls(db, calls)
    await log_calls(db, [a_logged_call(random, number) for number in range(50)], OTHER)
    for most in (10_000, 40):
        # Few rows are looked at, too: then pages end early, and the next one goes on.
        monkeypatch.setattr("router.explain.calls.SCANNED_MAX", most)
        for fields in FILTERS:
            which = a_filter(**fields)
            expected = [call for call in calls if matches(which, call)]
            assert await all_pages(db, which, 100) == expected, fields
            if most == 10_000:
                body = io.BytesIO()

                async def take(block: bytes, body: io.BytesIO = body) -> None:
                    body.write(block)

                await copy_calls(db, which, take)
                looked_up = io.BytesIO()
                with monkeypatch.context() as many_keys:
                    many_keys.setattr(call_csv, "CONSTANT_KEYS_MAX", 1)
                    await copy_calls(db, which, partial(take, body=looked_up))
                names = [list(csv.DictReader(io.StringIO(one.getvalue().decode()))) for one in (body, looked_up)]
                for row in (row for found in names for row in found):
                    key_id = call_of[row["id"]].key_id
                    assert key_id is not None
                    assert row["key_name"] == SHOWN[KEYS.index(key_id)]
                rows = list(csv.DictReader(io.StringIO(body.getvalue().decode())))
                assert [row["id"] for row in rows] == [wire(RequestId, call.request_id) for call in expected]
                assert [datetime.fromisoformat(row["created_at"]) for row in rows] == [call.at for call in expected]
                assert all(re.fullmatch(r"[^ ]{10}T[^ ]+Z", row["created_at"]) for row in rows)
                assert [row["cost_usd"] for row in rows] == [
                    "" if call.cost_nano is None else to_usd(call.cost_nano) for call in expected
                ]


async def test_a_filter_that_finds_nothing_reads_an_index_and_no_calls(db: Database) -> None:
    random = Random(5)
    await log_calls(db, [a_logged_call(random, number) for number in range(5_000)])
    owner = Database(db.url, as_owner=True)
    async with owner.engine.connect() as connection:
        await (await connection.execution_options(isolation_level="AUTOCOMMIT")).execute(text("ANALYZE routes"))
    await owner.close()
    async with db.transaction() as tx:
        nothing: list[dict[str, Any]] = [
            {"code": "no_such_code"},
            {"outcome": Outcome.CANCELED, "since": NOW - timedelta(days=9), "until": NOW - timedelta(days=8)},
            {"key_ids": (KeyId(new_id()),)},
            {"model_id": ModelId("acme/none")},
            {"slower_than_ms": 1 << 20},
        ]
        for fields in nothing:
            query, values = calls_query(a_filter(**fields), None, 51)
            plan = (await tx.execute(text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}"), values)).scalar_one()
            assert plan[0]["Plan"]["Actual Rows"] == 0
            assert "slower_than_ms" not in fields or "routes_slow" in str(plan)
            assert plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"] < 250, fields


async def test_calls_of_a_release_that_knew_no_columns_are_listed_by_their_explanation(db: Database) -> None:
    old = RequestId(new_id(NOW - timedelta(minutes=5)))
    told = f"""{{"request_id": "{old}", "at": "{NOW.isoformat()}", "status": 402, "key": "{KEYS[0]}", "model":
        "acme/one", "timings": {{"total_us": 12500}}, "error": {{"code": "credit_exhausted", "message": "…"}}}}"""
    async with db.transaction() as tx:
        await tx.execute(
            text("INSERT INTO routes (request_id, account_id, route) VALUES (:id, :account, CAST(:route AS jsonb))"),
            {"id": old, "account": ACCOUNT, "route": told},
        )
        [call] = (await list_calls(tx, a_filter(), None, 10)).calls
    assert (call.request_id, call.key_id, call.model_id) == (old, KEYS[0], "acme/one")
    assert (call.outcome, call.code, call.took_ms, call.cost_nano) == ("refused", "credit_exhausted", 12, None)
