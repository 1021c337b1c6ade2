"""An invoice is imported by operators, compared with what calls cost, settled as an entry, and paid: once each."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from cryptography.fernet import Fernet

from billing.books import Check, check_frequently
from billing.ledger import trial_balance
from billing.reconciliation import provider_run
from billing.reconciliation.undelivered import count_days, read_drift
from gigarouter.local_admin import local_app
from gigarouter.settings import Settings
from store.ids import ProviderId, new_id, parse
from store.postgres import Database
from tests.builders.billing import charge_as_older_release
from tests.builders.database import add_account, insert_model

pytestmark = pytest.mark.anyio

MAP = '[columns]\nday = "day"\nmodel = "model"\namount = "usd"\n[format]\ntolerance_usd = "0.000000001"\n'
TODAY = datetime.now(UTC).date()
MONTH = f"{TODAY:%Y-%m}"
HALF_A_DAY = datetime.combine(TODAY, datetime.min.time(), UTC)


class Finance:
    """``await finance("POST", "/provider-invoices", {…})`` below ``/admin/v1/finance``."""

    def __init__(self, app: Any, db: Database, owner: asyncpg.Connection, provider: str) -> None:
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://local")
        self.db = db
        self.owner = owner
        self.provider = provider

    async def __call__(self, method: str, path: str, body: object = None, expects: int = 200) -> Any:
        content = b"" if body is None else json.dumps(body).encode()
        answer = await self.client.request(method, f"/admin/v1{path}", content=content)
        assert answer.status_code == expects, answer.text
        return answer.json()

    async def invoice(self, text: str, number: str = "R-1", total: str = "", expects: int = 201, dry: str = "") -> Any:
        rows = [line.split(",") for line in text.split()]
        content = "day,model,usd\n" + "".join(",".join(row) + "\n" for row in rows)
        nano = sum(round(float(row[2]) * 10**9) for row in rows)
        body = {
            "provider": "acme",
            "number": number,
            "period": MONTH,
            "total_usd": total or f"{nano / 10**9:.9f}",
            "file": base64.b64encode(content.encode()).decode(),
        }
        return await self("POST", f"/finance/provider-invoices{dry}", body, expects)

    async def sums(self) -> dict[str, int]:
        query = """SELECT l.kind || CASE WHEN l.detail <> '' THEN ':provider' ELSE '' END, sum(p.amount_nano)::bigint
            FROM postings p JOIN ledger_accounts l ON l.id = p.ledger_account_id
            WHERE l.kind LIKE 'provider%' OR l.kind IN ('rounding', 'bank') GROUP BY 1"""
        return {name: amount for name, amount in await self.owner.fetch(query) if amount}


@pytest.fixture
async def finance(database_url: str) -> AsyncIterator[Finance]:
    """A provider with two models, whose calls of today cost 150 and 40 nano-USD there."""
    secret = Fernet.generate_key().decode()
    values = {"database_url": database_url, "secret_keys": secret, "allowed_private_networks": "127.0.0.0/8"}
    db = Database(database_url)
    owner = await asyncpg.connect(database_url)
    async with local_app(Settings.model_validate(values)) as app:
        f = Finance(app, db, owner, "")
        provider = await f("POST", "/providers", {"name": "acme", "kind": "sandbox"}, 201)
        f.provider = provider["id"]
        await _two_models(f)
        async with db.transaction() as tx:
            account = await add_account(tx, 10_000)
        await charge_as_older_release(db, account, [(200, HALF_A_DAY), (100, HALF_A_DAY), (80, HALF_A_DAY)])
        await owner.execute("SET session_replication_role = replica")
        await owner.execute(
            "UPDATE usage_events SET provider_id = $1, model_id = CASE cost_nano WHEN 80 THEN 'org/two' ELSE 'org/one'"
            " END, provider_tokens = tokens + 5",
            parse(ProviderId, f.provider),
        )
        yield f
        await f.client.aclose()
    await owner.close()
    await db.close()


async def _two_models(f: Finance) -> None:
    owner = Database(f.db.url, as_owner=True)
    async with owner.transaction() as tx:
        for model in ("org/one", "org/two"):
            await insert_model(tx, model)
    await owner.close()
    for model, upstream in (("org/one", "one"), ("org/two", "two")):
        body = {"model": model, "provider": "acme", "upstream_model": upstream, "cost_usd_per_mtok": "1.00"}
        await f("POST", "/endpoints", body, 201)


async def _queue(f: Finance, query: str = "") -> dict[str, Any]:
    rows = (await f("GET", f"/finance/differences{query}"))["data"]
    return {row["object"].rpartition(":")[2]: row for row in rows}


LINES = f"{TODAY},one,0.000000170 {TODAY},two,0.000000040 {TODAY},three,0.000000009"


async def test_whatever_is_wrong_is_told_with_its_place_before_anything_is_written(finance: Finance) -> None:
    """A dry run writes nothing either; a file, a number and days that were imported are told, and change nothing."""
    f = finance
    assert "no map" in (await f.invoice(f"{TODAY},one,0.1", expects=409))["error"]["message"]
    bad = await f("POST", "/finance/invoice-maps", {"provider": "acme", "map": "[columns]"}, 400)
    assert bad["error"]["param"] == "map"
    stored = [await f("POST", "/finance/invoice-maps", {"provider": "acme", "map": MAP}) for _ in range(2)]
    assert [one["version"] for one in stored] == [1, 1]

    wrong = await f.invoice(f"{TODAY},one,0.000000170 {TODAY},one,0.000000170", expects=400)
    assert "Line 3, column 1: it is the same as line 2" in wrong["error"]["message"]
    assert wrong["error"]["details"]["file_faults"][0]["line"] == 3
    short = await f.invoice(LINES, total="1.00", expects=400)
    assert "and the invoice to 1.00" in short["error"]["message"]
    tried = await f.invoice(LINES, expects=200, dry="?dry_run=1")
    assert [(row["model"], row["verdict"]) for row in tried["compared"]] == [
        ("org/one", "billed_more"),
        ("org/two", "equal"),
        ("three", "unknown_model"),
    ]
    assert (await f("GET", "/finance/provider-invoices"))["data"] == []
    assert await _queue(f) == {}

    made = await f.invoice(LINES)
    for number in ("R-1", "R-2"):
        again = await f.invoice(LINES, number=number, expects=409)
        assert f"imported before, as {made['id']}" in again["error"]["message"]
    other = await f.invoice(f"{TODAY},one,0.000000001", number="R-2", expects=409)
    assert "has days up to" in other["error"]["message"]


async def test_an_invoice_is_compared_settled_and_paid_once(finance: Finance) -> None:
    f = finance
    await f("POST", "/finance/invoice-maps", {"provider": "acme", "map": MAP})
    made = await f.invoice(LINES)
    queue = await _queue(f)
    assert {name: (row["kind"], row["amount_usd"]) for name, row in queue.items()} == {
        "org/one": ("billed_more", "0.00000002"),
        "three": ("unknown_model", "0.000000009"),
    }
    # However often it is compared, each is one row; a metric and a line of the books say how much nothing explains.
    for _ in range(2):
        assert await provider_run.reconcile(f.db) == (3, 2)
    assert {row["id"] for row in (await _queue(f)).values()} == {row["id"] for row in queue.values()}
    wrong_now = {found.check: found.wrong for found in await check_frequently(f.db)}
    assert (wrong_now[Check.PROVIDER_COST_EXPLAINED], wrong_now[Check.DIFFERENCES_RESOLVED]) == (29, 2)

    # None is resolved without an entry or a reason; one is found right by evidence.
    one, three = (f"/finance/differences/{queue[name]['id']}" for name in ("org/one", "three"))
    await f("POST", f"{three}/resolve", {}, 400)
    await f("POST", f"{three}/resolve", {"entry": "entry_" + "0" * 32}, 404)
    assert (await f("PATCH", one, {"owner": "Ada", "note": "asked them"}))["owner"] == "Ada"
    assert list(await _queue(f, "?owner=Ada")) == ["org/one"]
    assert (await f("POST", f"{three}/resolve", {"reason": "a model of last year"}))["state"] == "resolved"
    await f("POST", f"{three}/resolve", {"reason": "again"}, 409)
    refused = await f("POST", f"/finance/provider-invoices/{made['id']}/settle", {}, 409)
    assert "Nothing explains 1 of its lines" in refused["error"]["message"]
    settle = f"/finance/provider-invoices/{made['id']}/settle"
    tried = await f("POST", f"{settle}?dry_run=1", {"reason": "paid"})
    assert [(leg["ledger_account"], leg["amount_usd"]) for leg in tried["postings"]] == [
        ("provider_payable", "-0.00000019"),
        ("provider_payable", "0.000000219"),
        ("rounding", "-0.000000029"),
    ]
    settled = await f("POST", settle, {"reason": "too small to ask for"})
    assert (settled["accrued_usd"], settled["total_usd"]) == ("0.00000019", "0.000000219")
    resolved = await f("GET", one)
    assert (resolved["state"], resolved["entry"]) == ("resolved", settled["entry"])
    await f("POST", settle, {"reason": "again"}, 409)
    assert await f.sums() == {"provider_cost": -190, "provider_payable:provider": 219, "rounding": -29}
    paid = await f("POST", f"/finance/provider-invoices/{made['id']}/pay", {"reference": "SEPA 7"})
    assert paid["paid_at"] is not None
    await f("POST", f"/finance/provider-invoices/{made['id']}/pay", {"reference": "SEPA 7"}, 409)
    assert await f.sums() == {"provider_cost": -190, "bank": 219, "rounding": -29}
    async with f.db.transaction() as tx:
        assert sum(line.amount for line in await trial_balance(tx)) == 0
    assert (await f("POST", f"/finance/provider-invoices/{made['id']}/void", {}, 409))["error"]["code"] == "conflict"


async def test_a_voided_invoice_leaves_number_file_and_days_free_and_a_variance_is_an_account_of_its_own(
    finance: Finance,
) -> None:
    f = finance
    await f("POST", "/finance/invoice-maps", {"provider": "acme", "map": MAP})
    lines = f"{TODAY},one,0.1 {TODAY},two,0.2"
    first = await f.invoice(lines)
    await f("POST", f"/finance/provider-invoices/{first['id']}/void", {"reason": "a draft"})
    assert await _queue(f) == {}
    second = await f.invoice(lines)
    assert [row["state"] for row in (await f("GET", "/finance/provider-invoices?provider=acme"))["data"]] == [
        "imported",
        "void",
    ]
    await f("POST", f"/finance/provider-invoices/{second['id']}/settle", {"reason": "a test"})
    assert await f.sums() == {
        "provider_cost": -190,
        "provider_payable:provider": 300_000_000,
        "provider_variance": -299_999_810,
    }


async def test_what_is_billed_and_was_never_delivered_is_recorded_as_what_it_is(finance: Finance) -> None:
    """From the log of routes, which is kept for weeks: a hedge that lost, a rejected answer, a late one."""
    f = finance
    endpoints = {row["model_id"]: row["id"] for row in await f.owner.fetch("SELECT id, model_id FROM endpoints")}
    answered = await f.owner.fetchval("SELECT request_id FROM usage_events WHERE cost_nano = 200")
    await f.owner.execute("UPDATE usage_events SET endpoint_id = $1 WHERE cost_nano = 200", endpoints["org/one"])

    def attempt(model: str, outcome: str, why: str = "first") -> dict[str, str]:
        return {"endpoint": str(endpoints[model]), "outcome": outcome, "why": why}

    calls = [
        (answered, 20, [attempt("org/two", "canceled"), attempt("org/one", "answered", "hedge")]),
        (new_id(HALF_A_DAY), 30, [attempt("org/one", "BadAnswer"), attempt("org/one", "TimedOut", "next")]),
        (new_id(HALF_A_DAY), 40, [attempt("org/one", "Throttled"), attempt("org/one", "answered", "next")]),
        (new_id(HALF_A_DAY), 50, [attempt("org/one", "answered")]),
        (new_id(HALF_A_DAY), 60, [attempt("org/one", "ConnectFailed")]),
    ]
    for request_id, tokens, attempts in calls:
        route = {"at": HALF_A_DAY.isoformat(), "tokens": tokens, "attempts": attempts}
        await f.owner.execute("INSERT INTO routes (request_id, route) VALUES ($1, $2)", request_id, json.dumps(route))
    for _ in range(2):
        async with f.db.transaction() as tx:
            await count_days(tx, TODAY, TODAY + timedelta(days=1))
    query = "SELECT model_id, cause, attempts, tokens, cost_nano FROM undelivered_attempts ORDER BY 1, 2"
    assert [tuple(row) for row in await f.owner.fetch(query)] == [
        ("org/one", "rejected", 1, 30, 30_000),
        ("org/one", "timed_out", 1, 30, 30_000),
        ("org/two", "hedge", 1, 20, 20_000),
    ]
    await f.owner.execute("UPDATE token_drift SET day = day - 1")
    async with f.db.transaction() as tx:
        (seen,) = await read_drift(tx)
    assert (seen.provider, round(seen.share, 6)) == ("acme", round(395 / 380 - 1, 6))
    await f.owner.execute("UPDATE token_drift SET day = day + 1")
    drift = await f.owner.fetch("SELECT day, calls, tokens, provider_tokens FROM token_drift")
    assert [tuple(row) for row in drift] == [(TODAY, 3, 380, 395)]
    await f("POST", "/finance/invoice-maps", {"provider": "acme", "map": MAP})
    made = await f.invoice(f"{TODAY},one,0.000030150 {TODAY},two,0.000020041")
    assert [(row["undelivered_usd"], row["verdict"]) for row in made["compared"]] == [
        ("0.00003", "undelivered"),
        ("0.00002", "undelivered"),
    ]
    assert await _queue(f) == {}


def test_days_of_an_invoice_are_those_of_utc() -> None:
    span = provider_run.span_of(date(2026, 11, 1), date(2026, 12, 1))
    assert (span["begins"].isoformat(), span["ends"].isoformat()) == (
        "2026-11-01T00:00:00+00:00",
        "2026-12-01T00:00:00+00:00",
    )


async def test_two_at_once_have_one_effect(finance: Finance) -> None:
    """Two import one file, two settle it, two pay it: each time one is told that the other was faster."""
    f = finance
    await f("POST", "/finance/invoice-maps", {"provider": "acme", "map": MAP})
    body = {"provider": "acme", "number": "R-1", "period": MONTH, "total_usd": "0.000000190"}
    rows = f"day,model,usd\n{TODAY},one,0.000000150\n{TODAY},two,0.000000040\n"
    body["file"] = base64.b64encode(rows.encode()).decode()

    async def twice(path: str, body: object) -> str:
        async def ask() -> httpx.Response:
            content = json.dumps(body).encode()
            return await f.client.post(f"/admin/v1/finance/provider-invoices{path}", content=content)

        first, second = sorted(await asyncio.gather(ask(), ask()), key=lambda answer: answer.status_code)
        assert (first.is_success, second.status_code) == (True, 409), (first.text, second.text)
        return str(first.json()["id"])

    made = await twice("", body)
    await twice(f"/{made}/settle", {})
    await twice(f"/{made}/pay", {"reference": "SEPA"})
    assert await f.sums() == {"provider_cost": -190, "bank": 190}
