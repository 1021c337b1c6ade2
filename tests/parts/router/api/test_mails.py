"""Operators see what became of each mail, send one again or not at all, and bring in bounces."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from sqlalchemy import text

from gigarouter.local_admin import local_app
from gigarouter.settings import Settings
from mail import Recipient, enqueue
from mail.kinds import KeyCreated, SignInCode
from store.postgres import Database

pytestmark = pytest.mark.anyio

KEY = KeyCreated(key="key_1", name="nightly", prefix="gr_live_ab", by="gigarouter")


class Desk:
    """What an operator asks on the machine."""

    def __init__(self, http: httpx.AsyncClient, db: Database) -> None:
        self.http, self.db = http, db

    async def ask(self, method: str, path: str, body: dict[str, object] | None = None, expects: int = 200) -> Any:
        answer = await self.http.request(method, path, json=body)
        assert answer.status_code == expects, answer.text
        return answer.json()

    async def mails(self, query: str = "") -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = (await self.ask("GET", f"/mails{query}"))["data"]
        return rows


@pytest.fixture
async def desk(database_url: str) -> AsyncIterator[Desk]:
    db = Database(database_url)
    keys = [SecretStr(Fernet.generate_key().decode())]
    async with local_app(Settings(database_url=SecretStr(database_url), secret_keys=keys)) as machine:
        transport = httpx.ASGITransport(machine)
        async with httpx.AsyncClient(transport=transport, base_url="http://local/admin/v1") as http:
            yield Desk(http, db)
    await db.close()


async def test_a_mail_that_failed_is_sent_again_and_one_that_waits_can_be_dropped(desk: Desk) -> None:
    async with desk.db.transaction() as tx:
        await enqueue(tx, KEY, Recipient("ann@customer.example"), dedupe="1")
        await enqueue(tx, KEY, Recipient("bob@customer.example"), dedupe="2")
        await enqueue(tx, SignInCode(code="1", path="/"), Recipient("cy@customer.example"), dedupe="3")
        failed = text("UPDATE mails SET state = 'failed', fault = '554 no', until = now() WHERE dedupe IN ('1', '3')")
        await tx.execute(failed)
    code, bob, ann = [one["id"] for one in await desk.mails()]
    assert [one["address"] for one in await desk.mails("?state=failed&kind=key_created")] == ["ann@customer.example"]
    assert len(await desk.mails("?address=ANN@customer.example")) == 1
    again = await desk.ask("POST", f"/mails/{ann}/retry")
    assert (again["state"], again["fault"]) == ("waiting", "")
    async with desk.db.transaction() as tx:
        assert await tx.scalar(text("SELECT until > now() + interval '23 hours' FROM mails WHERE dedupe = '1'"))
    await desk.ask("POST", f"/mails/{code}/retry", expects=409)
    await desk.ask("POST", f"/mails/{bob}/drop", {"reason": " "}, expects=400)
    dropped = await desk.ask("POST", f"/mails/{bob}/drop", {"reason": "It is wrong."})
    assert (dropped["state"], dropped["next_at"]) == ("dropped", None)
    again_body: dict[str, object] = {"reason": "Again."}
    for verb, body in (("drop", again_body), ("retry", None)):
        await desk.ask("POST", f"/mails/{bob}/{verb}", body, expects=409)
    await desk.ask("POST", f"/mails/mail_{'0' * 32}/retry", expects=404)
    audit = await desk.ask("GET", "/audit")
    assert {row["action"] for row in audit["data"]} == {"mail.retry", "mail.drop"}


async def test_bounces_are_brought_in_and_an_address_comes_off_the_list_with_a_reason(desk: Desk) -> None:
    bounces: dict[str, object] = {"addresses": ["Gone@x.example", "gone@x.example", "full@x.example"]}
    assert (await desk.ask("POST", "/stopped-addresses", bounces))["added"] == ["gone@x.example", "full@x.example"]
    assert (await desk.ask("POST", "/stopped-addresses", bounces))["added"] == []
    wrongs: list[dict[str, object]] = [{"addresses": ["a@b, c@d"]}, {"addresses": []}]
    for wrong in (*wrongs, {"addresses": ["a@b.example"], "topic": "chess"}):
        refused = await desk.http.post("/stopped-addresses", json=wrong)
        assert refused.status_code in (400, 422), refused.text
    off: dict[str, object] = {"address": "GONE@x.example", "reason": "It works again."}
    await desk.ask("POST", "/stopped-addresses/remove", off)
    await desk.ask("POST", "/stopped-addresses/remove", off, expects=404)
    pages = [await desk.ask("GET", "/stopped-addresses?limit=1")]
    assert [row["address"] for row in pages[0]["data"]] == ["full@x.example"]
    audit = await desk.ask("GET", "/audit")
    assert "gone@x.example" not in str(audit), "an audit row is for good, and an address is a person's"
