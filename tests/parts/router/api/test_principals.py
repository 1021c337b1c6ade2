"""Who acts for an account, over the socket: an API key, a management key by its scopes, and a member in process."""

from typing import Any

import httpx
import pytest

from router.identity.keys import new_management_key
from router.identity.members import Role
from router.identity.principals import MemberPrincipal
from store.ids import AccountId, MemberId, new_id, parse, wire
from tests.harness.members import as_member
from tests.harness.served_api import ServedApi

pytestmark = pytest.mark.anyio
BUDGET = {"amount_usd": "1.00"}


async def a_management_key(api: ServedApi, *scopes: str, **facts: Any) -> dict[str, Any]:
    account = (await api.client.get("/v1/account", headers=bearer(api.key))).json()["id"]
    body = {"account": account, "name": "robot", "scopes": list(scopes), **facts}
    made = await api.client.post("/admin/v1/management-keys", headers=bearer(api.operator), json=body)
    assert made.status_code == 201, made.text
    found: dict[str, Any] = made.json()
    return found


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def refusal(answer: httpx.Response) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["message"]


async def test_a_management_key_does_what_its_scopes_say_and_calls_no_model(api: ServedApi) -> None:
    made = await a_management_key(api, "usage:write")
    key = bearer(made["key"])
    assert made["shown_as"] == f"{made['key'][:12]}…{made['key'][-4:]}"

    account = (await api.client.get("/v1/account", headers=key)).json()
    assert (account["id"], account["key"], account["held_usd"]) == (made["account"], None, "0.00")
    budget = await api.client.post("/v1/account/budgets", headers=key, json=BUDGET)
    assert budget.status_code == 201, budget.text
    assert (await api.client.get("/v1/usage", headers=key)).status_code == 200

    status, code, message = refusal(await api.client.get("/v1/account/documents", headers=key))
    assert (status, code) == (403, "scope_insufficient")
    assert "robot" in message
    assert "GET /v1/account/documents needs billing:read" in message
    status, code, message = refusal(await api.client.post("/v1/account/close", headers=key, json={}))
    assert (status, "No management key has that" in message) == (403, True)

    for path, body in (("/v1/embeddings", {"model": api.model, "input": "x"}), ("/v1/quote", {})):
        status, code, message = refusal(await api.client.post(path, headers=key, json=body))
        assert (status, code) == (403, "not_allowed"), path
        assert "management key" in message
    assert (await api.client.get("/v1/models", headers=key)).status_code == 200

    rows = (await api.client.get("/admin/v1/audit", headers=bearer(api.operator))).json()["data"]
    assert [row["actor"] for row in rows if row["subject"] == budget.json()["id"]] == [made["id"]]
    assert made["key"] not in str(rows)


async def test_a_management_key_ends_with_the_request_after_its_end(api: ServedApi) -> None:
    made = await a_management_key(api, "billing:read", "members:read")
    key, at_admin = bearer(made["key"]), bearer(api.operator)
    assert (await api.client.get("/v1/account/grants", headers=key)).status_code == 200
    ended = await api.client.post(f"/admin/v1/management-keys/{made['id']}/revoke", headers=at_admin)
    assert (ended.json()["state"], ended.json()["key"]) == ("revoked", None)
    assert refusal(await api.client.get("/v1/account/grants", headers=key))[:2] == (401, "invalid_api_key")

    unknown, cut = new_management_key().text, made["key"][:-1]
    for text in (unknown, cut, f"{cut}{'a' if made['key'][-1] != 'a' else 'b'}"):
        status, code, message = refusal(await api.client.get("/v1/account/grants", headers=bearer(text)))
        assert (status, code) == (401, "invalid_api_key"), text
        assert text not in message


async def test_an_api_key_reads_where_management_is_done(api: ServedApi) -> None:
    """A budget's row of the audit names the key; what a key may not, a sentence says who may."""
    made = await api.client.post("/v1/account/budgets", headers=bearer(api.key), json=BUDGET)
    assert made.status_code == 201
    [row] = (
        await api.client.get(
            "/admin/v1/audit", headers=bearer(api.operator), params={"subject": made.json()["id"], "limit": 1}
        )
    ).json()["data"]
    own = (await api.client.get("/v1/account", headers=bearer(api.key))).json()["key"]["id"]
    assert row["actor"] == own


@pytest.mark.parametrize(
    ("role", "sees_money", "sees_calls"),
    [(Role.OWNER, True, True), (Role.DEVELOPER, False, True), (Role.FINANCE, True, False)],
)
async def test_a_member_in_process_has_what_the_role_has(
    api: ServedApi, role: Role, sees_money: bool, sees_calls: bool
) -> None:
    account = (await api.client.get("/v1/account", headers=bearer(api.key))).json()["id"]
    member = MemberPrincipal(member_id=MemberId(new_id()), account_id=AccountId(parse(AccountId, account)), role=role)
    async with as_member(api.context, member) as page:
        assert (await page.get("/v1/account")).json()["id"] == account
        assert (await page.get("/v1/usage")).status_code == 200
        money = await page.get("/v1/account/movements")
        assert (money.status_code == 200) is sees_money, money.text
        call = await page.get(f"/v1/requests/req_{new_id().hex}")
        assert (call.status_code == 404) is sees_calls, call.text
        assert call.status_code == 404 or "owner of the account" in refusal(call)[2]
        budget = await page.post("/v1/account/budgets", json=BUDGET)
        assert budget.status_code == 201, budget.text
        assert (await page.get("/admin/v1/keys")).status_code == 404
    rows = (
        await api.client.get("/admin/v1/audit", headers=bearer(api.operator), params={"subject": budget.json()["id"]})
    ).json()["data"]
    assert [row["actor"] for row in rows] == [wire(MemberId, member.member_id)]
