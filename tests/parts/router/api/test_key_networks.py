"""A key that may be used from certain networks only: refused from all others, by every process, until that changes."""

import asyncio
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI, PermissionDeniedError

from router.identity.members import Role
from router.identity.principals import MemberPrincipal
from store.ids import AccountId, MemberId, new_id, parse
from tests.harness.members import as_member
from tests.harness.served_api import ServedApi

pytestmark = pytest.mark.anyio
OFFICE, OFFICE_V6, HOME = "203.0.113.7", "2001:db8:7::1", "198.51.100.77"
NETWORKS = ["203.0.113.0/28", "2001:db8:7::/48"]


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def from_(address: str) -> dict[str, str]:
    """What a proxy on this machine adds, which is who connects here."""
    return {"x-forwarded-for": f"203.0.113.1, {address}"}


async def embed(api: ServedApi, key: str, address: str) -> str:
    """A call by OpenAI's client: empty, or the code of its refusal."""
    url = f"{api.client.base_url}/v1"
    async with AsyncOpenAI(api_key=key, base_url=url, max_retries=0, default_headers=from_(address)) as client:
        try:
            await client.embeddings.create(model=api.model, input="hello")
        except PermissionDeniedError as error:
            refused = error
        else:
            return ""
    assert not any(network in refused.message for network in NETWORKS), "the key's networks are nobody's business"
    assert isinstance(refused.body, dict)
    assert refused.body["details"] == {"address": address}
    return str(refused.code)


def an_owner(account: str) -> MemberPrincipal:
    return MemberPrincipal(MemberId(new_id()), AccountId(parse(AccountId, account)), Role.OWNER)


async def until(api: ServedApi, key: str, address: str, code: str) -> None:
    async with asyncio.timeout(20):
        while True:
            if await embed(api, key, address) == code:
                return
            await asyncio.sleep(0.05)


async def shown(api: ServedApi, path: str) -> httpx.Response:
    """What operators get at a path, as soon as it is there."""
    async with asyncio.timeout(20):
        while True:
            found = await api.client.get(path, headers=bearer(api.operator))
            if found.status_code == 200:
                return found
            await asyncio.sleep(0.05)


async def patched(api: ServedApi, path: str, body: dict[str, Any], status: int = 200) -> dict[str, Any]:
    at_admin = bearer(api.operator)
    tag = (await api.client.get(path, headers=at_admin)).headers["etag"]
    answer = await api.client.patch(path, headers=at_admin | {"if-match": tag}, json=body)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture
async def account(api: ServedApi) -> str:
    return str((await api.client.get("/v1/account", headers=bearer(api.key))).json()["id"])


async def test_a_key_works_from_its_networks_alone(api: ServedApi, account: str) -> None:
    at_admin = bearer(api.operator)
    body = {"account": account, "name": "office", "networks": ["203.0.113.0/28", "2001:DB8:7::/48", "203.0.113.0/28"]}
    made = (await api.client.post("/admin/v1/keys", headers=at_admin, json=body)).json()
    key, path = made["key"], f"/admin/v1/keys/{made['id']}"
    assert made["networks"] == NETWORKS
    for address in (OFFICE, OFFICE_V6, f"::ffff:{OFFICE}", f"{OFFICE}:51544"):
        assert await embed(api, key, address) == "", address
    used = (await api.client.get(path, headers=at_admin)).json()["last_use"]
    for address in (HOME, "203.0.113.16", "2001:db8:8::1"):
        assert await embed(api, key, address) == "network_not_allowed", address
    refused = await api.client.get("/v1/account", headers=bearer(key) | from_(HOME))
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "network_not_allowed")
    assert (await api.client.get("/v1/account", headers=bearer(key) | from_(OFFICE))).status_code == 200

    # Changed, it acts on calls in every process as a pause does.
    edited = await patched(api, path, {"networks": [HOME]})
    assert edited["networks"] == [f"{HOME}/32"]
    await until(api, key, HOME, "")
    await until(api, key, OFFICE, "network_not_allowed")
    await patched(api, path, {"networks": []})
    await until(api, key, "192.0.2.1", "")
    assert used is None or used["network"] != "198.51.100.0/24"
    log = (await api.client.get("/admin/v1/audit", headers=at_admin, params={"subject": made["id"]})).json()["data"]
    assert [row["action"] for row in log] == ["key.change", "key.change", "key.create"]
    assert "198.51.100.77/32" in str(log[0])


async def test_a_refused_call_is_in_the_log_and_explained(api: ServedApi, account: str) -> None:
    at_admin = bearer(api.operator)
    body = {"account": account, "name": "logged", "networks": NETWORKS}
    made = (await api.client.post("/admin/v1/keys", headers=at_admin, json=body)).json()
    refused = await api.client.post(
        "/v1/embeddings", headers=bearer(made["key"]) | from_(HOME), json={"model": api.model, "input": "x"}
    )
    assert refused.status_code == 403
    found = await shown(api, f"/admin/v1/requests/{refused.headers['x-request-id']}")
    explained = found.json()
    assert (explained["key"], explained["status"]) == (made["id"], 403)
    assert explained["error"]["code"] == "network_not_allowed"
    assert "the network 198.51.100.0/24" in explained["error"]["message"]
    assert HOME not in found.text, "the log has networks, and no addresses"
    wanted = {"code": "network_not_allowed", "key_id": made["id"]}
    async with as_member(api.context, an_owner(account)) as page, asyncio.timeout(20):
        while True:
            own = (await page.get("/v1/requests", params=wanted)).json()["data"]
            if own:
                break
            await asyncio.sleep(0.05)
    assert [row["id"] for row in own] == [refused.headers["x-request-id"]]


async def test_networks_are_refused_with_the_field_that_is_wrong(api: ServedApi, account: str) -> None:
    at_admin = bearer(api.operator)
    for networks, param in (
        (["203.0.113.0/28", "203.0.113.7/24"], "networks[1]"),
        (["office"], "networks[0]"),
        ([7], "networks[0]"),
        ([f"10.0.{i}.0/24" for i in range(21)], "networks"),
        ("203.0.113.0/24", "networks"),
    ):
        body = {"account": account, "name": "wrong", "networks": networks}
        refused = await api.client.post("/admin/v1/keys", headers=at_admin, json=body)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param), refused.text


async def test_a_management_key_has_networks_as_a_key_has(api: ServedApi, account: str) -> None:
    spec = {"name": "robot", "scopes": ["usage:read"], "networks": [OFFICE]}
    async with as_member(api.context, an_owner(account)) as page:
        made = (await page.post("/v1/management-keys", json=spec)).json()
        path = f"/v1/management-keys/{made['id']}"
        assert made["networks"] == [f"{OFFICE}/32"]

        async def status(address: str) -> int:
            answer = await api.client.get("/v1/usage", headers=bearer(made["key"]) | from_(address))
            assert answer.status_code == 200 or answer.json()["error"]["code"] == "network_not_allowed"
            return answer.status_code

        assert [await status(OFFICE), await status(HOME)] == [200, 403]
        tag = (await page.get(path)).headers["etag"]
        edited = await page.patch(path, json={"networks": [HOME]}, headers={"if-match": tag})
        assert edited.status_code == 200, edited.text
        assert [await status(OFFICE), await status(HOME)] == [403, 200]
        late = await page.patch(path, json={"networks": []}, headers={"if-match": tag})
        assert late.json()["error"]["code"] == "version_conflict"
    await patched(api, f"/admin{path}", {"networks": []})
    assert await status(OFFICE) == 200
    log = (await api.client.get("/admin/v1/audit", headers=bearer(api.operator), params={"subject": made["id"]})).json()
    assert [row["action"] for row in log["data"]] == ["management_key.change"] * 2 + ["management_key.create"]
