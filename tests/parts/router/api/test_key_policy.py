"""The longest life that an account lets its keys have: what is made, edited and rotated; what there was before."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from router.identity.members import Role
from router.identity.principals import MemberPrincipal
from store.ids import AccountId, MemberId, new_id, parse
from tests.harness.members import as_member
from tests.harness.served_api import ServedApi

pytestmark = pytest.mark.anyio
POLICY = "/v1/account/key-policy"


class Owner:
    """An owner's requests, each with the status that is expected."""

    def __init__(self, page: httpx.AsyncClient) -> None:
        self.page = page

    async def __call__(self, method: str, path: str, body: object = None, status: int = 200) -> Any:
        headers = {}
        if method == "PATCH":
            headers["if-match"] = (await self.page.get(path)).headers["etag"]
        answer = await self.page.request(method, path, json=body, headers=headers)
        assert answer.status_code == status, f"{method} {path}: {answer.text}"
        return answer.json()


def member(account: str, role: Role) -> MemberPrincipal:
    return MemberPrincipal(MemberId(new_id()), AccountId(parse(AccountId, account)), role)


def ends(key: dict[str, Any]) -> timedelta:
    """How long a key works from now on."""
    return datetime.fromisoformat(key["expires_at"]) - datetime.now(UTC)


def in_(days: int) -> str:
    return f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"


def is_about(life: timedelta, days: int) -> bool:
    return timedelta(days=days, hours=-1) < life <= timedelta(days=days)


async def test_a_bound_holds_for_what_is_made_edited_and_rotated(api: ServedApi) -> None:
    at_admin = {"authorization": f"Bearer {api.operator}"}
    account = (await api.client.post("/admin/v1/accounts", headers=at_admin, json={"name": "bounded"})).json()["id"]
    async with as_member(api.context, member(account, Role.OWNER)) as page:
        owner = Owner(page)
        old = await owner("POST", "/v1/keys", {"name": "old"}, 201)
        far = await owner("POST", "/v1/keys", {"name": "far", "expires_at": in_(700)}, 201)
        robot = {"name": "robot", "scopes": ["keys:read"]}
        await owner("POST", "/v1/management-keys", robot, 201)
        assert (await owner("GET", POLICY))["max_days"] is None
        proposed = await page.patch(
            f"{POLICY}?dry_run=1", json={"max_days": 90}, headers={"if-match": (await page.get(POLICY)).headers["etag"]}
        )
        assert (proposed.json()["exceeding_keys"], proposed.json()["exceeding_management_keys"]) == (2, 1)
        assert (await owner("GET", POLICY))["max_days"] is None, "a dry run changes nothing"
        for wrong in (0, -1, 3_651, "90", 1.5):
            assert (await owner("PATCH", POLICY, {"max_days": wrong}, 400))["error"]["param"] == "max_days"
        assert (await owner("PATCH", POLICY, {"max_days": 90}))["exceeding_keys"] == 2

        # What there was is named and left as it is, by edits of something else, too.
        listed = {key["name"]: key for key in (await owner("GET", "/v1/keys"))["data"]}
        assert [listed[name]["exceeds_max_life"] for name in ("old", "far")] == [True, True]
        renamed = await owner("PATCH", f"/v1/keys/{old['id']}", {"name": "older"})
        assert (renamed["expires_at"], renamed["exceeds_max_life"]) == (None, True)
        same = await owner("PATCH", f"/v1/keys/{far['id']}", {"expires_at": far["expires_at"], "name": "farther"})
        assert same["expires_at"] == far["expires_at"]

        made = await owner("POST", "/v1/keys", {"name": "new"}, 201)
        assert (is_about(ends(made), 90), made["exceeds_max_life"]) == (True, False)
        assert is_about(ends(await owner("POST", "/v1/keys", {"name": "brief", "expires_at": in_(30)}, 201)), 30)
        refused = (await owner("POST", "/v1/keys", {"name": "long", "expires_at": in_(91)}, 400))["error"]
        assert refused["param"] == "expires_at"
        assert "at most 90 days: until 20" in refused["message"]
        error = await owner("PATCH", f"/v1/keys/{made['id']}", {"expires_at": in_(91)}, 400)
        assert error["error"]["param"] == "expires_at"
        assert is_about(ends(await owner("PATCH", f"/v1/keys/{old['id']}", {"expires_at": None})), 90)
        rotated = await owner("POST", f"/v1/keys/{far['id']}/rotate", {})
        assert (is_about(ends(rotated), 90), rotated["exceeds_max_life"]) == (True, False)

        second = await owner("POST", "/v1/management-keys", robot, 201)
        assert is_about(ends(second), 90)
        error = await owner("POST", "/v1/management-keys", robot | {"expires_at": in_(91)}, 400)
        assert error["error"]["param"] == "expires_at"
        left = await owner("GET", POLICY)
        assert (left["exceeding_keys"], left["exceeding_management_keys"]) == (0, 1)
        first = (await owner("GET", "/v1/management-keys"))["data"][-1]
        assert (first["exceeds_max_life"], first["expires_at"]) == (True, None)

    # Operators' keys for the account are keys of the account.
    body = {"account": account, "name": "by ops", "expires_at": in_(365)}
    assert (await api.client.post("/admin/v1/keys", headers=at_admin, json=body)).status_code == 400
    path = f"/admin/v1/accounts/{account}/key-policy"
    tag = (await api.client.get(path, headers=at_admin)).headers["etag"]
    lifted = await api.client.patch(path, headers=at_admin | {"if-match": tag}, json={"max_days": None})
    assert (lifted.status_code, lifted.json()["exceeding_management_keys"]) == (200, 0)
    assert (await api.client.post("/admin/v1/keys", headers=at_admin, json=body)).status_code == 201
    log = (await api.client.get("/admin/v1/audit", headers=at_admin, params={"subject": account})).json()["data"]
    changed = [row for row in log if row["action"] == "key_policy.change"]
    assert [(row["before"]["max_days"], row["after"]["max_days"]) for row in changed] == [(90, None), (None, 90)]


async def test_owners_bound_and_developers_read(api: ServedApi) -> None:
    account = (await api.client.get("/v1/account", headers={"authorization": f"Bearer {api.key}"})).json()["id"]
    async with as_member(api.context, member(account, Role.DEVELOPER)) as page:
        read = await page.get(POLICY)
        assert read.status_code == 200
        refused = await page.patch(POLICY, json={"max_days": 30}, headers={"if-match": read.headers["etag"]})
        assert refused.json()["error"]["code"] == "scope_insufficient"
