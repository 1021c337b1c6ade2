"""Above a limit a second operator is needed: one proposes, another one approves what was proposed, once."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from gigarouter.local_admin import local_context
from gigarouter.settings import Settings
from router.api.app import create_local_app
from router.changes.audit import Actor
from store.postgres import Database

pytestmark = pytest.mark.anyio
REFUSED, CONFLICT, DONE, LATER = 403, 409, 200, 202


class Office:
    """Operators of one installation: ``await office("ann", "POST", "/accounts", {…}, 201)``."""

    def __init__(self, db: Database, settings: Settings) -> None:
        self.db, self._context = db, local_context(settings, db)
        self._clients: dict[str, httpx.AsyncClient] = {}

    async def ask(self, who: str, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
        if who not in self._clients:
            app = create_local_app(self._context, Actor(f"cli:{who}"))
            self._clients[who] = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://local")
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        content = b"" if body is None else json.dumps(body).encode()
        return await self._clients[who].request(method, f"/admin/v1{path}", content=content, headers=given)

    async def __call__(
        self, who: str, method: str, path: str, body: object = None, expects: int = DONE, **headers: str
    ) -> Any:
        answer = await self.ask(who, method, path, body, **headers)
        assert answer.status_code == expects, answer.text
        return answer.json()

    async def proposed(self, path: str, body: object, method: str = "POST") -> str:
        """What Ann proposes; its path."""
        found = await self("ann", method, path, body, LATER)
        assert found["state"] == "open"
        return f"/finance/proposals/{found['id']}"

    async def credit(self) -> str:
        row = (await self("ann", "GET", "/accounts/Acme"))["credit_usd"]
        return str(row)

    async def count(self, table: str) -> int:
        async with self.db.transaction() as tx:
            return int(await tx.scalar(text(f"SELECT count(*) FROM {table}")) or 0)


@pytest.fixture
async def office(database_url: str) -> AsyncIterator[Office]:
    settings = Settings.model_validate(
        {
            "database_url": database_url,
            "secret_keys": Fernet.generate_key().decode(),
            "second_person_grant_usd": 100,
            "second_person_line_usd": 500,
        }
    )
    async with AsyncExitStack() as stack:
        db = Database(database_url, pool_size=6)
        stack.push_async_callback(db.close)
        office = Office(db, settings)
        await office("ann", "POST", "/accounts", {"name": "Acme"}, 201)
        yield office


def a_grant(amount: str, source: str = "fair") -> dict[str, object]:
    return {"amount_usd": amount, "source": source, "kind": "goodwill", "note": "as agreed"}


async def test_what_is_above_the_limit_is_done_when_another_operator_approves_it(office: Office) -> None:
    grants = "/accounts/Acme/grants"
    dry = await office.ask("ann", "POST", f"{grants}?dry_run=1", a_grant("100.01"))
    assert (dry.status_code, dry.headers["x-gigarouter-second-person"]) == (DONE, "true")
    first = await office.ask("ann", "POST", grants, a_grant("100.01"), idempotency_key="k")
    again = await office.ask("ann", "POST", grants, a_grant("100.01"), idempotency_key="k")
    assert first.status_code == again.status_code == LATER
    assert first.json() == again.json()
    assert (await office("ann", "POST", grants, a_grant("100.02"), 422, idempotency_key="k"))["error"]["code"] == (
        "idempotency_mismatch"
    )
    proposal = first.json()
    assert first.headers["location"] == f"/admin/v1/finance/proposals/{proposal['id']}"
    assert (proposal["amount_usd"], proposal["body"]["source"]) == ("100.01", "fair")
    assert proposal["would_answer"]["remaining_usd"] == "100.01"
    assert proposal["would_change"][0]["after"]["amount_usd"] == "100.01"
    assert (await office.credit(), await office.count("proposals")) == ("0.00", 1)
    one = f"/finance/proposals/{proposal['id']}"
    assert (await office("ann", "POST", f"{one}/approve", {}, REFUSED))["error"]["code"] == "not_allowed"
    await office("ann", "POST", f"{one}/reject", {"reason": "mine"}, REFUSED)
    would = await office("bob", "POST", f"{one}/approve?dry_run=1", {})
    assert (would["state"], await office.credit()) == ("approved", "0.00")
    decided = await office("bob", "POST", f"{one}/approve", {"note": "seen"}, idempotency_key="b")
    assert decided == await office("bob", "POST", f"{one}/approve", {"note": "seen"}, idempotency_key="b")
    assert (decided["state"], decided["decided_by"], decided["outcome"]["amount_usd"]) == (
        "approved",
        "cli:bob",
        "100.01",
    )
    assert await office.credit() == "100.01"
    audit = (await office("ann", "GET", "/audit?limit=4"))["data"]
    assert [(row["actor"], row["action"]) for row in audit if row["action"] != "account.open"] == [
        ("cli:bob", "proposal.approve"),
        ("cli:bob", "credit.grant"),
        ("cli:ann", "proposal.create"),
    ]
    assert (await office("ann", "GET", "/finance/proposals?open=1"))["data"] == []


async def test_of_two_who_decide_at_once_one_does(office: Office) -> None:
    one = await office.proposed("/accounts/Acme/grants", a_grant("200.00"))
    bob, eve, ray = await asyncio.gather(
        office.ask("bob", "POST", f"{one}/approve", {}),
        office.ask("eve", "POST", f"{one}/approve", {}),
        office.ask("ray", "POST", f"{one}/reject", {"reason": "no"}),
    )
    assert sorted(answer.status_code for answer in (bob, eve, ray)) == [DONE, CONFLICT, CONFLICT]
    for change in ("note = 'x', state = 'rejected'", "body = '{}'", "decided_by = proposed_by"):
        async with office.db.transaction() as tx:
            with pytest.raises(DBAPIError):
                await tx.execute(text(f"UPDATE proposals SET {change}"))
    is_approved = ray.status_code == CONFLICT
    assert await office.credit() == ("200.00" if is_approved else "0.00")


async def test_what_would_do_something_else_by_now_is_refused_with_the_difference(office: Office) -> None:
    """A line that was changed meanwhile, a source that was granted meanwhile, an operator who left, a week."""
    await office("ann", "POST", "/finance/lines/Acme/open", {"limit_usd": "100.00"})
    one = await office.proposed("/finance/lines/Acme", {"limit_usd": "600.00"}, "PATCH")
    await office("eve", "PATCH", "/finance/lines/Acme", {"limit_usd": "300.00"})
    refused = (await office("bob", "POST", f"{one}/approve", {}, CONFLICT))["error"]
    assert refused["code"] == "version_conflict"
    assert refused["details"]["difference"] == [
        {"field": "0.line.change.before.limit_usd", "proposed": "100.00", "now": "300.00"}
    ]
    assert (await office("ann", "GET", "/finance/lines/Acme"))["limit_usd"] == "300.00"
    await office("bob", "POST", f"{one}/reject", {"reason": "out of date"})

    one = await office.proposed("/accounts/Acme/grants", a_grant("200.00"))
    await office("eve", "POST", "/accounts/Acme/grants", a_grant("5.00"), 201)
    assert (
        "granted for 'fair' before" in (await office("bob", "POST", f"{one}/approve", {}, CONFLICT))["error"]["message"]
    )
    owner = Database(office.db.url, as_owner=True)
    async with owner.transaction() as tx:
        await tx.execute(text("SET LOCAL session_replication_role = replica"))
        await tx.execute(text("UPDATE proposals SET expires_at = now() WHERE state = 'open'"))
    await owner.close()
    assert (await office("bob", "POST", f"{one}/approve", {}, CONFLICT))["error"]["message"].startswith("It expired")
    assert (await office("bob", "GET", one))["state"] == "expired"


async def test_a_sum_is_not_split_and_what_is_lowered_needs_nobody(office: Office) -> None:
    for number, status in ((1, 201), (2, 201), (3, LATER)):
        await office("ann", "POST", "/accounts/Acme/grants", a_grant("40.00", f"part {number}"), status)
    # Another operator, or another account, has a limit of their own.
    await office("bob", "POST", "/accounts/Acme/grants", a_grant("40.00", "part 4"), 201)
    await office("ann", "POST", "/accounts", {"name": "Other"}, 201)
    await office("ann", "POST", "/accounts/Other/grants", a_grant("40.00", "part 5"), 201)
    # Ten a month is a hundred and twenty a year; three months of it and what she gave before are above the limit, too.
    monthly = {"account": "Other", "amount_usd": "10.00", "first_month": "2099-01"}
    await office.proposed("/finance/grant-schedules", monthly)
    await office("ann", "POST", "/finance/grant-schedules", monthly | {"last_month": "2099-03"}, 201)
    await office.proposed("/finance/grant-schedules", monthly | {"last_month": "2099-04"})
    prepaid = {"account": "Other", "reason": "signed", "commitment_usd": "31.00", "unused": "stays"}
    made = await office("ann", "POST", "/finance/contracts", prepaid, 201)
    await office.proposed(f"/finance/contracts/{made['id']}/fund", {"reference": "wire"})
    one = await office.proposed("/finance/lines/Acme/open", {"limit_usd": "900.00"})
    await office("bob", "POST", f"{one}/approve", {})
    assert (await office("ann", "PATCH", "/finance/lines/Acme", {"limit_usd": "800.00"}))["limit_usd"] == "800.00"
