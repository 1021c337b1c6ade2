"""Customers and operators at the API: who pays, an invoice from asking to file, its proof, nobody else's documents."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from email import message_from_bytes, policy
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from typer import Typer
from typer.testing import CliRunner

from gigarouter.commands.verify_receipt import command as verify_receipt
from gigarouter.documents_job import IssueDocuments
from gigarouter.mail_job import SendMails
from gigarouter.settings import Settings
from router.api.public import postgres
from router.api.public.documents import TOO_LARGE
from router.errors import InvalidRequest
from store.embedded import Embedded
from store.ids import AccountId, RequestId, wire
from store.postgres import Database
from tests.builders.billed_month import an_account_with_a_month, last_month, make_month
from tests.builders.billing import billing
from tests.builders.database import DatabaseBuilder
from tests.harness.admin_client import admin_command, is_money_write
from tests.harness.mail_server import mail_server
from tests.harness.served_api import Credentials, ServedApi, served

pytestmark = pytest.mark.anyio

SELLER = {
    "id": "acme",
    "prefix": "ACME",
    "legal_name": "Acme Vectors GmbH",
    "address": {"line1": "Torstraße 1", "city": "Berlin", "postcode": "10119", "country": "DE"},
    "vat_id": "DE136695976",
    "email": "billing@acme.example",
    "currency": "USD",
}
BUYER = {
    "legal_name": "شركة المثال 株式会社",
    "address": {"line1": "1 Rue", "city": "Paris", "postcode": "75001", "country": "FR"},
    "tax_ids": ["FR 40 303 265 045"],
    "emails": ["ap@customer.example"],
    "po_number": "PO-1",
}
PROFILE, DOCUMENTS = "/v1/account/billing-profile", "/v1/account/documents"


class Office:
    """A served API, a finance admin's key, an account with calls of last month that a line paid, and another's key."""

    def __init__(self, api: ServedApi, account: AccountId, other_key: str) -> None:
        self.api = api
        self.account = wire(AccountId, account)
        self.other_key = other_key
        self.jobs = IssueDocuments()

    async def send(self, method: str, path: str, body: object = None, key: str = "", **headers: str) -> httpx.Response:
        bearer = key or (self.api.operator if path.startswith("/admin") else self.api.key)
        content = b"" if body is None else json.dumps(body).encode()
        given = {"authorization": f"Bearer {bearer}"} | headers
        if path.startswith("/admin/v1") and is_money_write(method, path.removeprefix("/admin/v1")):
            given.setdefault("idempotency-key", str(uuid4()))
        return await self.api.client.request(method, path, content=content, headers=given)

    async def recorded(self, path: str) -> bytes:
        """What is there, once it is: a call is told to come back until its explanation must have been written."""
        while "retry-after" in (answer := await self.send("GET", path)).headers:  # noqa: ASYNC110 - the server knows
            await asyncio.sleep(0.2)
        assert answer.status_code == 200, answer.text
        return answer.content

    async def ask(self, method: str, path: str, body: object = None, expects: int = 200, **headers: str) -> Any:
        answer = await self.send(method, path, body, **headers)
        assert answer.status_code == expects, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    async def run_jobs(self) -> Any:
        """The newest request of the account, once the jobs process has acted."""
        await self.jobs(self.api.context)
        rows = await self.ask("GET", f"/admin/v1/document-requests?account={self.account}")
        return rows["data"][0]

    async def issue(self, **body: object) -> Any:
        wanted = {"account": self.account, "period": f"{last_month():%Y-%m}"} | body
        await self.ask("POST", "/admin/v1/documents:issue", wanted)
        return await self.run_jobs()


@pytest.fixture(scope="module")
def finance_key(installation: tuple[Settings, Credentials], module_database_url: str) -> str:
    secret_key = installation[0].secret_keys[0].get_secret_value()
    environment = {"DATABASE_URL": module_database_url, "GIGAROUTER_SECRET_KEYS": secret_key}
    made = admin_command(environment, "operators", "create", "f@example.com", "--role", "finance_admin")
    return str(made["key"])


@pytest.fixture(scope="module")
def billed(
    installation: tuple[Settings, Credentials], servers: Embedded, module_database_url: str
) -> tuple[AccountId, str]:
    """The account with a month, and its key."""

    async def charge() -> AccountId:
        async with billing(module_database_url, servers.redis_url) as b:
            await make_month(b.db)
            return await an_account_with_a_month(b, [30_000_003, 20_000_007, 10_000_011], line=10**9, has_profile=False)

    account = asyncio.run(charge())
    builder = DatabaseBuilder(module_database_url, installation[0].secret_keys[0].get_secret_value())
    return account, builder.a_key(account)


@pytest.fixture(scope="module")
async def office(
    installation: tuple[Settings, Credentials], billed: tuple[AccountId, str], finance_key: str
) -> AsyncIterator[Office]:
    settings, made = installation
    async with served(settings, Credentials(billed[1], finance_key, made.model)) as api:
        office = Office(api, billed[0], made.key)
        yield office
        office.jobs.close()


async def test_a_customer_says_who_pays_and_an_operator_on_which_terms(office: Office) -> None:
    await office.ask("POST", f"/admin/v1/accounts/{office.account}/billing-profile", BUYER | {"terms_days": 14})
    first = await office.ask("POST", PROFILE, BUYER)
    assert (first["tax_ids"], first["terms_days"]) == (["FR40303265045"], 14)
    path = f"/admin/v1/accounts/{office.account}/billing-profile"
    await office.ask("POST", path, BUYER | {"terms_days": 30})
    again = await office.ask("POST", PROFILE, BUYER | {"po_number": "PO-2"})
    assert (again["version"], again["terms_days"], again["po_number"]) == (first["version"] + 2, 30, "PO-2")
    # Nobody's name is in the audit.
    audit = await office.ask("GET", f"/admin/v1/audit?subject={office.account}")
    assert {row["action"] for row in audit["data"]} <= {"billing_profile.set", "billing_profile.erase"}
    assert "Rue" not in json.dumps(audit)
    other = await office.ask("GET", PROFILE, expects=404, key=office.other_key)
    assert other["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"tax_ids": ["DE123"]}, "tax_ids[0]"),
        ({"tax_ids": ["FR40303265045", "=1+1"]}, "tax_ids[1]"),
        ({"tax_ids": ["x" * 40] * 11}, "tax_ids"),
        ({"legal_name": " "}, "legal_name"),
        ({"legal_name": "a\nb"}, "legal_name"),
        ({"legal_name": "x" * 301}, "legal_name"),
        ({"address": BUYER["address"] | {"country": "fr"}}, "address.country"),  # type: ignore[operator]
        ({"emails": ["nobody"]}, "emails[0]"),
        ({"language": "tlh"}, "language"),
        ({"exempt_reason": "I said so"}, "exempt_reason"),
        ({"terms_days": 900}, "terms_days"),
    ],
)
async def test_a_profile_that_cannot_be_is_refused_with_its_field(
    office: Office, change: dict[str, Any], param: str
) -> None:
    refused = await office.send("POST", PROFILE, BUYER | change)
    assert refused.status_code in (400, 422), refused.text
    assert refused.json()["error"]["param"] == param


async def test_from_asking_to_file_to_proof(office: Office, tmp_path: Path) -> None:
    await office.ask("POST", PROFILE, BUYER)
    refused = await office.issue(seller="nobody")
    assert refused["fault"] == "seller-is-known (seller): there is no seller 'nobody'"
    await office.ask("POST", "/admin/v1/sellers", SELLER)
    # What was wrong is mended, and the same request is tried again: by hand, and by a new profile.
    tried = await office.ask("POST", f"/admin/v1/document-requests/{refused['id']}/retry")
    assert (tried["state"], tried["fault"]) == ("waiting", "")
    await office.ask("POST", f"/admin/v1/document-requests/{refused['id']}/retry", expects=409)
    assert (await office.run_jobs())["state"] == "refused"
    await office.ask("POST", PROFILE, BUYER | {"po_number": "PO-9"})
    states = await office.ask("GET", f"/admin/v1/document-requests?account={office.account}")
    assert "refused" not in {row["state"] for row in states["data"]}
    await office.run_jobs()
    early = await office.issue(period=f"{office.api.context.db.clock.now():%Y-%m}")
    assert (early["state"], early["fault"].split(":")[0]) == ("refused", "month-is-over (period)")
    which = f"account={office.account}&period={last_month():%Y-%m}"
    draft = await office.ask("GET", f"/admin/v1/documents:preview?{which}")
    assert (draft["total"], draft["rounding_usd"], draft["lines"][0]["exact_usd"]) == (
        "0.06",
        "-0.000000021",
        "0.060000021",
    )
    statement = await office.ask("GET", f"/admin/v1/documents:preview?{which}&kind=statement")
    assert (statement["closing_usd"], statement["opening_usd"]) == ("-0.060000021", "0.00")
    issued = await office.issue()
    assert (issued["state"], issued["fault"]) == ("issued", "")
    number = issued["number"]
    assert number in {row["number"] for row in (await office.ask("GET", DOCUMENTS))["data"]}
    # Found by what is remembered of it, from when it is issued on; by nobody else's customer.
    for path, search in ((DOCUMENTS, "po-9"), ("/admin/v1/documents", "po-9 0.06"), ("/admin/v1/documents", number)):
        found = await office.ask("GET", f"{path}?{urlencode({'search': search})}")
        assert [row["number"] for row in found["data"]] == [number], search
    assert (await office.ask("GET", f"{DOCUMENTS}?search=po-10"))["data"] == []
    assert (await office.ask("GET", f"{DOCUMENTS}?search=po-9", key=office.other_key))["data"] == []
    assert (await office.send("GET", f"{DOCUMENTS}?search=%20")).status_code == 400
    shown = await office.ask("GET", f"{DOCUMENTS}/{number}")
    assert (shown["total"], shown["tax_category"], shown["customer"]) == ("0.06", "AE", BUYER["legal_name"])
    for file in shown["files"]:
        content = (await office.send("GET", f"{DOCUMENTS}/{number}/files/{file['format']}")).content
        assert sha256(content).hexdigest() == file["sha256"]
        path = f"/admin/v1/documents/{number}/files/{file['format']}"
        encoded = await office.ask("GET", path, accept="application/json")
        assert base64.b64decode(encoded["content"]) == content == (await office.send("GET", path)).content
    verified = await office.ask("GET", f"/admin/v1/documents/{number}/verification")
    assert (verified["ok"], verified["calls"], verified["faults"]) == (True, 3, [])
    await check_proof(office, number, tmp_path)
    await office.ask("GET", f"{DOCUMENTS}/{number}", expects=404, key=office.other_key)
    for path in ("", "/files/pdf", f"/proofs/{await a_call(office)}"):
        assert (await office.send("GET", f"{DOCUMENTS}/{number}{path}", key=office.other_key)).status_code == 404
    assert (await office.ask("GET", DOCUMENTS, key=office.other_key))["data"] == []
    await office.ask("POST", f"/admin/v1/documents/{number}/credit", {"reason": "Wrong"})
    note = await office.run_jobs()
    assert note["state"] == "issued"
    assert (await office.ask("GET", f"/admin/v1/documents/{note['number']}/verification"))["ok"]
    again = await office.ask("POST", f"/admin/v1/documents/{number}/credit", {"reason": "Wrong"}, expects=409)
    assert note["number"] in again["error"]["message"]
    await check_correction(office, (await office.issue(seller="acme"))["number"])


async def check_correction(office: Office, number: str) -> None:
    """A customer corrects who is billed: shown first, done once, by a credit note and a new invoice."""
    correct = f"{DOCUMENTS}/{number}/correct"
    same = await office.ask("POST", correct, expects=409)
    assert "correct those first" in same["error"]["message"]
    await office.ask("POST", PROFILE, BUYER | {"legal_name": "Corrected SA", "po_number": "PO-9"})
    for _ in range(2):
        would = await office.ask("POST", f"{correct}?dry_run=1", expects=202)
        assert would["changes"] == [
            {"field": "legal_name", "before": BUYER["legal_name"], "after": "Corrected SA"},
        ]
    assert (await office.ask("GET", f"{DOCUMENTS}/{number}"))["corrected_by"] is None
    await office.ask("POST", correct, expects=404, key=office.other_key)
    first, second = [await office.ask("POST", correct, expects=202) for _ in range(2)]
    assert first["request"] == second["request"]
    new = await office.run_jobs()
    old = await office.ask("GET", f"{DOCUMENTS}/{number}")
    assert old["corrected_by"]
    shown = await office.ask("GET", f"{DOCUMENTS}/{new['number']}")
    assert (shown["kind"], shown["customer"], shown["total"]) == ("invoice", "Corrected SA", old["total"])
    await office.ask("POST", correct, expects=409)


async def test_a_question_that_takes_too_long_is_refused_and_no_outage(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No wait helps, so it is no 503, which clients repeat: of usage as of documents."""
    monkeypatch.setattr(postgres, "STATEMENT_S_MAX", 0.05)

    async def ask(connection: AsyncConnection) -> None:
        await connection.execute(text("SELECT pg_sleep(60)"))

    for too_large, advice in ((postgres.TOO_MANY_CALLS, "a shorter time"), (TOO_LARGE, "fewer documents")):
        with pytest.raises(InvalidRequest, match=advice) as refused:
            await postgres.read(office.api.context, ask, too_large=too_large)
        assert (refused.value.param, refused.value.retry_after_s) == (too_large.param, None)


async def test_an_issued_document_is_mailed_once_to_each_address(office: Office) -> None:
    """In the face of a server that defers, refuses one address for good, and dies in the middle."""
    addresses = ["ap@customer.example", "gone@customer.example", "boss@customer.example"]
    await office.ask("POST", "/admin/v1/sellers", SELLER)
    await office.ask("POST", PROFILE, BUYER | {"emails": addresses, "language": "de"})
    assert (await office.issue(kind="statement"))["state"] == "issued"
    db = office.api.context.db
    async with mail_server(refuses={"gone@customer.example"}, deferrals=1) as (port, received):
        settings = Settings(smtp_url=SecretStr(f"smtp://127.0.0.1:{port}"))
        for _ in range(4):
            await SendMails(settings)(office.api.context)
            async with db.transaction() as tx:
                await tx.execute(text("UPDATE mails SET run_after = now() WHERE state = 'waiting'"))
    mails = [message_from_bytes(one, policy=policy.default) for one in received]
    mine = [mail for mail in mails if "Kontoauszug ACME-ST-" in mail["Subject"]]
    assert sorted(mail["To"] for mail in mine) == ["ap@customer.example", "boss@customer.example"]
    assert len({mail["Message-ID"] for mail in mine}) == 2
    [attached] = list(mine[0].iter_attachments())
    assert attached.get_content().startswith(b"%PDF")
    async with db.transaction() as tx:
        rows = await tx.execute(text("SELECT address, state, attempts FROM mails WHERE kind = 'document' ORDER BY 1"))
        states = {row.address: (row.state, row.attempts) for row in rows if row.address != "ap@customer.example"}
    assert states["boss@customer.example"][0] == "sent"
    assert states["gone@customer.example"][0] == "failed"


async def a_call(office: Office) -> str:
    async with office.api.context.db.transaction() as tx:
        return wire(RequestId, await tx.scalar(text("SELECT min(request_id::text)::uuid FROM usage_events")))


async def check_proof(office: Office, number: str, folder: Path) -> None:
    """With the files that a customer has, and with each of them changed."""
    call = await a_call(office)
    sources = {
        "document": f"{DOCUMENTS}/{number}/files/json",
        "proof": f"{DOCUMENTS}/{number}/proofs/{call}",
        "receipt": f"/v1/requests/{call}",
    }
    files = {name: await office.recorded(path) for name, path in sources.items()}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    app = Typer()
    app.command()(verify_receipt)
    proved = CliRunner().invoke(app, [str(folder / name) for name in files])
    assert proved.exit_code == 0, proved.output
    assert f"Proved: {call} is call 1 of 3 on line 1" in proved.stdout
    changes = {
        "proof": (b"30000003", b"30000004"),
        "receipt": (b'"cost":"0.030000003"', b'"cost":"0.020000003"'),
        "document": (b'"calls":3', b'"calls":4'),
    }
    for name, (before, after) in changes.items():
        assert before in files[name], files[name]
        (folder / name).write_bytes(files[name].replace(before, after))
        changed = CliRunner().invoke(app, [str(folder / one) for one in files])
        assert (changed.exit_code, "Not proved" in changed.stderr) == (1, True), changed.output
        (folder / name).write_bytes(files[name])


async def test_an_erased_profile_is_gone_and_its_documents_stay(office: Office) -> None:
    await office.ask("POST", PROFILE, BUYER | {"legal_name": "Forget Me Ltd"})
    path = f"/admin/v1/accounts/{office.account}/billing-profile/erase"
    assert (await office.ask("POST", path, {"reason": "they asked"}))["versions"] >= 1
    assert (await office.send("GET", PROFILE)).status_code == 404
    owner = Database(office.api.context.db.url, as_owner=True)
    async with owner.transaction() as tx:
        assert await tx.scalar(text("SELECT count(*) FROM billing_profiles")) == 0
    await owner.close()
    await office.ask("POST", path, expects=404)


async def test_a_seller_keeps_its_prefix_and_has_it_alone(office: Office) -> None:
    await office.ask("POST", "/admin/v1/sellers", SELLER)
    await office.ask("POST", "/admin/v1/sellers", SELLER | {"footer": "New"})
    for change in ({"prefix": "OTHER"}, {"id": "other"}):
        refused = await office.ask("POST", "/admin/v1/sellers", SELLER | change, expects=409)
        assert refused["error"]["param"] == "prefix"
    rate = {"currency": "EUR", "per_usd": "0.9123", "on_day": "2026-10-30", "source": "ECB"}
    await office.ask("POST", "/admin/v1/exchange-rates", rate)
    await office.ask("POST", "/admin/v1/exchange-rates", rate, expects=409)
    for wrong in ("0", "-1", "NaN", "1e3", "٣", "0.12345678901"):
        await office.ask(
            "POST", "/admin/v1/exchange-rates", rate | {"per_usd": wrong, "on_day": "2026-10-29"}, expects=400
        )
