"""A customer's own keys, from the first to the last secret, through ``/v1/keys`` and OpenAI's client."""

import asyncio
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI, AuthenticationError, PermissionDeniedError
from sqlalchemy import text

from router.identity.members import Role
from router.identity.principals import MemberPrincipal
from store.ids import AccountId, MemberId, new_id, parse, wire
from tests.harness.members import as_member
from tests.harness.served_api import ServedApi

pytestmark = pytest.mark.anyio


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


class Manager:
    """A management key that makes keys: asks, and fails on another status than is expected."""

    def __init__(self, api: ServedApi, made: dict[str, Any]) -> None:
        self.client, self.key, self.id, self.account = api.client, made["key"], made["id"], made["account"]

    async def __call__(self, method: str, path: str, body: object = None, expects: int = 200, **headers: str) -> Any:
        given = bearer(self.key) | {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await self.client.request(method, f"/v1{path}", headers=given, json=body)
        assert answer.status_code == expects, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    async def etag(self, path: str) -> str:
        return (await self.client.get(f"/v1{path}", headers=bearer(self.key))).headers["etag"]


async def a_manager(api: ServedApi, account: str, *scopes: str) -> Manager:
    body = {"account": account, "name": "robot", "scopes": scopes or ("keys:write", "members:write")}
    made = await api.client.post("/admin/v1/management-keys", headers=bearer(api.operator), json=body)
    assert made.status_code == 201, made.text
    return Manager(api, made.json())


@pytest.fixture
async def manager(api: ServedApi) -> Manager:
    account = (await api.client.get("/v1/account", headers=bearer(api.key))).json()["id"]
    return await a_manager(api, account)


async def embed(api: ServedApi, key: str) -> None:
    async with AsyncOpenAI(api_key=key, base_url=f"{api.client.base_url}/v1", max_retries=0) as client:
        await client.embeddings.create(model=api.model, input="hello")


async def until_refused(api: ServedApi, key: str) -> str:
    """The message with which a key is refused, within a second of what ends it."""
    async with asyncio.timeout(20):
        while True:
            try:
                await embed(api, key)
            except (AuthenticationError, PermissionDeniedError) as refused:
                return str(refused)
            await asyncio.sleep(0.05)


async def test_a_key_lives_from_its_making_to_its_revocation(api: ServedApi, manager: Manager) -> None:
    cap = {"amount_usd": "5.00", "period": "month"}
    made = await manager("POST", "/keys", {"name": "search", "cap": cap}, 201, idempotency_key="first")
    assert (made["state"], made["last_use"], made["cap_left_usd"]) == ("active", None, "5.00")
    await embed(api, made["key"])
    again = await manager("POST", "/keys", {"name": "search", "cap": cap}, 201, idempotency_key="first")
    assert again == made, "the same request shows the same key"

    path = f"/keys/{made['id']}"
    assert (await manager("GET", path))["key"] is None
    assert made["id"] in [row["id"] for row in (await manager("GET", "/keys?limit=5"))["data"]]

    tag = await manager.etag(path)
    edited = await manager("PATCH", path, {"name": "search 2", "use": "research"}, if_match=tag)
    assert (edited["name"], edited["use"], edited["cap_left_usd"] != "") == ("search 2", "research", True)
    error = (await manager("PATCH", path, {"name": "x"}, 409, if_match=tag))["error"]
    assert error["code"] == "version_conflict"
    tag = await manager.etag(path)
    error = (await manager("PATCH", path, {"requests_per_minute": 2_000_000_000}, 400, if_match=tag))["error"]
    assert "our operators can raise it" in error["message"]

    await manager("POST", f"{path}/pause")
    assert "is paused" in await until_refused(api, made["key"])
    await manager("POST", f"{path}/resume")
    await manager("POST", f"{path}/revoke")
    assert "was revoked" in await until_refused(api, made["key"])
    assert "final" in (await manager("POST", f"{path}/resume", expects=409))["error"]["message"]

    log = (await manager("GET", f"/audit?subject={made['id']}"))["data"]
    assert [row["action"] for row in log] == ["key.revoke", "key.resume", "key.pause", "key.change", "key.create"]
    assert {(row["actor"], row["actor_name"]) for row in log} == {(manager.id, "robot")}
    assert made["key"] not in str(log)


async def test_a_key_is_rotated_while_calls_run_and_none_fails(api: ServedApi, manager: Manager) -> None:
    old = await manager("POST", "/keys", {"name": "rotated"}, 201)
    secrets, stop, called_after = [old["key"]], asyncio.Event(), asyncio.Semaphore(0)

    async def call() -> None:
        while not stop.is_set():
            await embed(api, secrets[-1])
            if len(secrets) > 1:
                called_after.release()

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(call())
        rotated = await manager("POST", f"/keys/{old['id']}/rotate", {"overlap_hours": 1})
        # The old secret works on while the new one is brought everywhere.
        await embed(api, old["key"])
        await embed(api, rotated["key"])
        secrets.append(rotated["key"])
        async with asyncio.timeout(20):
            for _ in range(6):
                await called_after.acquire()
        stop.set()
    assert len((await manager("GET", f"/keys/{old['id']}"))["old_secrets"]) == 1
    await manager("POST", f"/keys/{old['id']}/end-old-secrets")
    assert "was revoked" in await until_refused(api, old["key"])
    await embed(api, rotated["key"])


async def test_another_accounts_keys_are_as_keys_that_there_are_not(api: ServedApi, manager: Manager) -> None:
    at_admin = bearer(api.operator)
    other = (await api.client.post("/admin/v1/accounts", headers=at_admin, json={"name": "other"})).json()["id"]
    theirs = await a_manager(api, other)
    made = await theirs("POST", "/keys", {"name": "theirs"}, 201)
    unknown = f"key_{new_id().hex}"
    for method, verb in (("GET", ""), ("PATCH", ""), *(("POST", f"/{v}") for v in ("pause", "rotate", "revoke"))):
        answers = []
        for key_id in (made["id"], unknown):
            error = await manager(method, f"/keys/{key_id}{verb}", {} if method != "GET" else None, 404, if_match='"x"')
            error["error"].pop("request_id")
            answers.append(str(error).replace(key_id, "…"))
        assert answers[0] == answers[1], f"{method} {verb}"
    assert (await theirs("GET", f"/keys/{made['id']}"))["state"] == "active"
    assert (await theirs("GET", f"/audit?actor={manager.id}"))["data"] == []


async def test_an_owner_makes_a_management_key_that_reads_and_makes_none(api: ServedApi, manager: Manager) -> None:
    account = AccountId(parse(AccountId, manager.account))
    owner = MemberPrincipal(member_id=MemberId(new_id()), account_id=account, role=Role.OWNER)
    async with as_member(api.context, owner) as page:
        spec = {"name": "reader", "scopes": ["keys:read"]}
        made = (await page.post("/v1/management-keys", json=spec)).json()
        assert made["created_by"] == wire(MemberId, owner.member_id)
        wrong = await page.post("/v1/management-keys", json={"name": "x", "scopes": ["owner"]})
        assert (wrong.status_code, "keys:read" in wrong.json()["error"]["message"]) == (400, True)
        me = (await page.get("/v1/principal")).json()
        assert (me["kind"], me["role"], "owner" in me["scopes"]) == ("member", "owner", True)
    reader = Manager(api, made)
    assert (await reader("GET", "/principal"))["scopes"] == ["keys:read"]
    await reader("GET", "/keys")
    for path, body in (("/keys", {"name": "x"}), ("/management-keys", spec)):
        assert (await reader("POST", path, body, 403))["error"]["code"] == "scope_insufficient"
    assert (await api.client.get("/v1/keys", headers=bearer(api.key))).json()["error"]["code"] == "not_allowed"
    await reader("POST", "/principal/revoke")
    assert (await api.client.get("/v1/principal", headers=bearer(made["key"]))).status_code == 401


async def test_a_customer_accepts_a_license_by_the_version_that_was_read(api: ServedApi, manager: Manager) -> None:
    listed = (await api.client.get("/v1/licenses", params={"limit": 100})).json()["data"]
    wanted = next(row for row in listed if row["text_version"])
    path = f"/licenses/{wanted['id']}/acceptance"
    state = await manager("GET", path)
    assert (state["accepted"], state["text_version"]) == (False, wanted["text_version"])
    yes = {"text_version": wanted["text_version"]}
    assert "'accepted_by' is missing" in (await manager("POST", path, yes, 400))["error"]["message"]
    old = {"text_version": "older", "accepted_by": "Ada"}
    assert "now of version" in (await manager("POST", path, old, 409))["error"]["message"]
    accepted = await manager("POST", path, yes | {"accepted_by": "Ada"})
    assert (await manager("GET", path))["acceptance"] == accepted
    assert [row["id"] for row in (await manager("GET", "/acceptances"))["data"]] == [accepted["id"]]


async def test_the_accounts_audit_is_csv_without_formulas_and_names_no_operator(
    api: ServedApi, manager: Manager
) -> None:
    await manager("POST", "/keys", {"name": '=HYPERLINK("http://evil")'}, 201)
    name = {"name": "renamed"}
    tag = (await api.client.get(f"/admin/v1/accounts/{manager.account}", headers=bearer(api.operator))).headers["etag"]
    renamed = await api.client.patch(
        f"/admin/v1/accounts/{manager.account}", headers=bearer(api.operator) | {"if-match": tag}, json=name
    )
    assert renamed.status_code == 200, renamed.text
    rows = (await manager("GET", "/audit?action=account"))["data"]
    assert {row["actor"] for row in rows} == {"operator"}
    assert all(row["after"] is None for row in rows)
    csv: httpx.Response = await api.client.get("/v1/audit?format=csv", headers=bearer(manager.key))
    assert csv.headers["content-type"].startswith("text/csv")
    assert csv.text.startswith("at,actor,actor_name,action,subject,before,after")
    assert "key.create" in csv.text
    assert not [cell for line in csv.text.splitlines() for cell in line.split(",") if cell.startswith(("=", '"='))]
    page = await manager("GET", "/audit?limit=1")
    following = await manager("GET", f"/audit?limit=1&cursor={page['next_cursor']}")
    assert page["data"] != following["data"]


ALERTS = """
INSERT INTO spend_alerts (id, account_id, subject, label, threshold, amount_nano, spent_nano) VALUES
    (:id, :account, :subject, '2026-11', '80', 5000000000, 4000000000)
"""


async def test_alerts_name_the_cap_or_budget_that_raised_them(api: ServedApi, manager: Manager) -> None:
    account = parse(AccountId, manager.account)
    owner = MemberPrincipal(member_id=MemberId(new_id()), account_id=AccountId(account), role=Role.OWNER)
    async with as_member(api.context, owner) as page:
        budgets = [
            (await page.post("/v1/account/budgets", json={"name": n, "amount_usd": "5.00"})).json() for n in "ab"
        ]
        key = await manager("POST", "/keys", {"name": "capped"}, 201)
        subjects = [f"budget:{one['id'].partition('_')[2]}" for one in budgets]
        subjects += [f"cap:{key['id'].partition('_')[2]}:month", f"cap:{account.hex}:month"]
        async with api.context.db.transaction() as tx:
            for subject in subjects:
                await tx.execute(text(ALERTS), {"id": new_id(), "account": account, "subject": subject})
        await page.delete(f"/v1/account/budgets/{budgets[1]['id']}")
        rows = (await page.get("/v1/alerts")).json()["data"]
    facts = [(row["kind"], row["budget_name"], row["key"]) for row in rows]
    assert facts == [("cap", None, None), ("cap", None, key["id"]), ("budget", None, None), ("budget", "a", None)]
    assert {(row["threshold"], row["amount_usd"], row["spent_usd"], row["period"]) for row in rows} == {
        ("80", "5.00", "4.00", "2026-11")
    }
