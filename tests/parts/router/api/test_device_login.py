"""`gigarouter login` gets a key that a member approves; the customer's commands use it, and it ends with the member."""

import asyncio
import json
import stat
import time
from pathlib import Path
from typing import Any

import pytest
import typer
from sqlalchemy import text
from typer.testing import CliRunner

from gigarouter.commands import ACCOUNT_COMMANDS, COMMANDS, login, logout, whoami
from gigarouter.commands.account import app_of, nouns
from router.identity.members import Role
from router.identity.principals import MemberPrincipal
from store.ids import AccountId, MemberId, parse
from tests.harness.members import as_member
from tests.harness.served_api import ServedApi

pytestmark = pytest.mark.anyio
PAUSE_S = 0.05


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


class Machine:
    """A customer's machine: its commands, in a thread, since the API answers in this loop."""

    def __init__(self, api: ServedApi, home: Path) -> None:
        self.environment = {"XDG_CONFIG_HOME": str(home), "GIGAROUTER_API_URL": str(api.client.base_url)}
        self.file = home / "gigarouter" / "login.json"

    async def __call__(self, *words: str, exits: int = 0) -> str:
        result = await asyncio.to_thread(self._run, words)
        assert result.exit_code == exits, f"{words}: {result.exit_code} {result.output} {result.exception!r}"
        return str(result.output)

    def _run(self, words: tuple[str, ...]) -> Any:
        app = typer.Typer()
        app.command("login")(login.command)
        app.command("logout")(logout.command)
        app.command("whoami")(whoami.command)
        app.add_typer(app_of("keys"), name="keys")
        return CliRunner().invoke(app, words, env=self.environment)


@pytest.fixture
def machine(api: ServedApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    sleep = time.sleep
    monkeypatch.setattr("gigarouter.commands.login.time.sleep", lambda _: sleep(PAUSE_S))
    return Machine(api, tmp_path)


async def a_member(api: ServedApi, role: Role, name: str) -> MemberPrincipal:
    account = (await api.client.get("/v1/account", headers=bearer(api.key))).json()["id"]
    body = {"account": account, "email": f"{name}@example.com", "role": role.value}
    made = await api.client.post("/admin/v1/members", headers=bearer(api.operator), json=body)
    assert made.status_code == 201, made.text
    member_id = MemberId(parse(MemberId, made.json()["id"]))
    return MemberPrincipal(member_id=member_id, account_id=AccountId(parse(AccountId, account)), role=role)


async def waiting_code(api: ServedApi, logging_in: "asyncio.Task[str]") -> str:
    async with asyncio.timeout(20):
        while True:
            assert not logging_in.done(), logging_in.result()
            async with api.context.db.transaction() as tx:
                found = await tx.scalar(text("SELECT user_code FROM device_logins WHERE state = 'waiting'"))
            if found:
                return str(found)
            await asyncio.sleep(PAUSE_S)


async def test_a_command_line_logs_in_makes_a_key_and_logs_out(api: ServedApi, machine: Machine) -> None:
    assert "gigarouter login" in await machine("whoami", exits=2)
    member = await a_member(api, Role.DEVELOPER, "dev")
    logging_in = asyncio.create_task(machine("login", "--scope", "keys:write", "--scope", "billing:write"))
    code = await waiting_code(api, logging_in)
    async with as_member(api.context, member) as page:
        typed = f"{code[:4].lower()} {code[4:].lower()}"
        shown = (await page.get(f"/v1/device/logins/{typed}")).json()
        assert (shown["user_code"], shown["client"]) == (f"{code[:4]}-{code[4:]}", "gigarouter login")
        assert (shown["scopes"], shown["grantable"]) == (["keys:write", "billing:write"], ["keys:write"])
        approved = await page.post(f"/v1/device/logins/{code}/approve", json={})
        assert approved.json()["scopes"] == ["keys:write"], approved.text
        again = await page.post(f"/v1/device/logins/{code}/deny")
        assert again.status_code in (404, 409)
    said = await logging_in
    assert f"{code[:4]}-{code[4:]}" in said
    assert stat.S_IMODE(machine.file.stat().st_mode) == 0o600
    key = json.loads(machine.file.read_text())["key"]
    assert key not in said

    me = json.loads(await machine("whoami", "--json"))
    assert (me["kind"], me["scopes"]) == ("management_key", ["keys:read", "keys:write"])
    made = json.loads((await machine("keys", "create", "--name", "laptop", "--json")).partition("\nThe secret")[0])
    listed = json.loads(await machine("keys", "list", "--json"))["data"]
    assert made["id"] in [row["id"] for row in listed]
    edited = json.loads(await machine("keys", "edit", made["id"], "--name", "desk", "--json"))
    assert edited["name"] == "desk"

    # The key acts for the member: it has what the role has at the moment.
    member_path = f"/admin/v1/members/mem_{member.member_id.hex}"
    tag = (await api.client.get(member_path, headers=bearer(api.operator))).headers["etag"]
    demoted = await api.client.patch(
        member_path, headers=bearer(api.operator) | {"if-match": tag}, json={"role": "finance"}
    )
    assert demoted.status_code == 200, demoted.text
    assert "needs keys:read" in await machine("keys", "list", exits=3)

    await machine("logout")
    assert not machine.file.exists()
    assert (await api.client.get("/v1/principal", headers=bearer(key))).status_code == 401


async def test_a_code_is_denied_used_once_and_guessed_by_nobody(api: ServedApi) -> None:
    member = await a_member(api, Role.OWNER, "owner")
    begun = (await api.client.post("/v1/device/code", json={"scope": "usage:read"})).json()
    assert begun["verification_uri_complete"].endswith(f"/device?code={begun['user_code']}")
    ask = {"device_code": begun["device_code"]}
    codes = [(await api.client.post("/v1/device/token", json=ask)).json()["error"]["code"] for _ in range(2)]
    assert codes == ["authorization_pending", "slow_down"]
    assert (await api.client.post("/v1/device/code", json={"scope": "owner"})).status_code == 400
    async with as_member(api.context, member) as page:
        assert (await page.get("/v1/device/logins/BBBBBBBB")).status_code == 404
        await page.post(f"/v1/device/logins/{begun['user_code']}/approve", json={})
    answers = [await api.client.post("/v1/device/token", json=ask) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 400]
    assert answers[1].json()["error"]["code"] == "expired_token"
    key = bearer(answers[0].json()["access_token"])
    assert (await api.client.get("/v1/usage", headers=key)).status_code == 200
    other = (await api.client.post("/v1/device/code", json={})).json()
    assert (await api.client.get(f"/v1/device/logins/{other['user_code']}", headers=key)).status_code == 403
    async with as_member(api.context, member) as page:
        await page.post(f"/v1/device/logins/{other['user_code']}/deny")
    denied = await api.client.post("/v1/device/token", json={"device_code": other["device_code"]})
    assert denied.json()["error"]["code"] == "access_denied"
    async with api.context.db.transaction() as tx:
        stored = (await tx.execute(text("SELECT digest::text, user_code FROM device_logins"))).all()
    assert begun["device_code"] not in str(stored)


async def test_an_oauth_client_sends_forms_and_reads_errors_as_its_rfc_has_them(api: ServedApi) -> None:
    async def ask(path: str, expects: int, **fields: str) -> dict[str, Any]:
        answer = await api.client.post(f"/v1/device/{path}", data=fields)
        assert answer.status_code == expects, answer.text
        assert answer.headers["cache-control"] == "no-store"
        found: dict[str, Any] = answer.json()
        return found

    member = await a_member(api, Role.OWNER, "oauth")
    begun = await ask("code", 200, client_id="client of café", scope="usage:read", unknown="is ignored")
    grant = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "client_id": "client"}
    poll = {**grant, "device_code": begun["device_code"]}
    assert [(await ask("token", 400, **poll))["error"] for _ in range(2)] == ["authorization_pending", "slow_down"]
    refused = await ask("code", 400, scope="owner é")
    assert (refused["error"], refused["error_description"].isascii()) == ("invalid_scope", True)
    assert (await ask("token", 400, **poll | {"grant_type": "password"}))["error"] == "unsupported_grant_type"
    assert (await ask("token", 400, **grant))["error"] == "invalid_request"
    assert (await ask("token", 400, **poll | {"device_code": "none"}))["error"] == "expired_token"
    twice = await api.client.post(
        "/v1/device/token",
        content=b"device_code=a&device_code=b",
        headers={"content-type": "application/x-www-form-urlencoded; charset=utf-8"},
    )
    assert twice.json()["error"] == "invalid_request"
    async with as_member(api.context, member) as page:
        await page.post(f"/v1/device/logins/{begun['user_code']}/approve", json={})
    token = await ask("token", 200, **poll)
    assert (token["token_type"], token["scope"]) == ("Bearer", "usage:read")
    assert (await api.client.get("/v1/usage", headers=bearer(token["access_token"]))).status_code == 200


def test_every_noun_of_the_customers_api_is_a_command() -> None:
    assert set(nouns()) <= set(ACCOUNT_COMMANDS)
    assert set(ACCOUNT_COMMANDS) - set(nouns()) <= {"members", "invitations"}
    assert not set(ACCOUNT_COMMANDS) & set(COMMANDS)
