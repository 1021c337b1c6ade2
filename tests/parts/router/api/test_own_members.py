"""An account's members and invitations at the API: by role, by management key, of one's own account alone."""

from typing import Any

import httpx
import pytest

from router.changes.transaction import transact
from router.identity.members import Role, add_member
from router.identity.principals import MemberPrincipal
from store.ids import AccountId, MemberId, parse, wire
from tests.builders.database import ACTOR, add_account
from tests.harness.members import as_member
from tests.harness.served_api import ServedApi

pytestmark = pytest.mark.anyio


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def own_account(api: ServedApi) -> AccountId:
    account = (await api.client.get("/v1/account", headers=bearer(api.key))).json()["id"]
    return AccountId(parse(AccountId, account))


async def a_member(api: ServedApi, account: AccountId, email: str, role: Role) -> MemberPrincipal:
    member = await transact(api.context.db, ACTOR, lambda work: add_member(work, account, email, role))
    return MemberPrincipal(member_id=member.id, account_id=account, role=role)


async def a_management_key(api: ServedApi, account: AccountId, *scopes: str) -> dict[str, str]:
    body = {"account": wire(AccountId, account), "name": "robot", "scopes": list(scopes)}
    made = await api.client.post("/admin/v1/management-keys", headers=bearer(api.operator), json=body)
    return bearer(made.json()["key"])


async def test_each_role_reads_and_owners_alone_change_and_only_their_own(api: ServedApi) -> None:
    async with api.context.db.transaction() as tx:
        account, other = await add_account(tx, 0, "Own"), await add_account(tx, 0, "Other")
    stranger = await a_member(api, other, "stranger@example.com", Role.OWNER)
    people = {role: await a_member(api, account, f"{role.value}@example.com", role) for role in list(Role)[:3]}
    target = wire(MemberId, people[Role.DEVELOPER].member_id)
    foreign = wire(MemberId, stranger.member_id)
    for role, principal in people.items():
        async with as_member(api.context, principal) as page:
            listed = (await page.get("/v1/members")).json()["data"]
            assert {one["email"] for one in listed} >= {f"{one.value}@example.com" for one in people}
            assert "stranger@example.com" not in str(listed)
            assert (await page.get(f"/v1/members/{target}")).status_code == 200
            assert (await page.get("/v1/invitations")).status_code == 200
            writes = {
                "/v1/invitations": {"email": "guest@example.com", "role": "finance"},
                f"/v1/members/{target}/remove": {},
            }
            for path, body in writes.items():
                answer = await page.post(f"{path}?dry_run=1", json=body)
                assert answer.status_code == (403 if role is not Role.OWNER else 201 if body else 200), answer.text
            # What belongs to others is what does not exist.
            missing = f"mem_{'0' * 32}"
            for one in (foreign, missing):
                assert (await page.get(f"/v1/members/{one}")).status_code == 404
                removed = await page.post(f"/v1/members/{one}/remove")
                assert removed.status_code == (404 if role is Role.OWNER else 403)
    async with as_member(api.context, people[Role.OWNER]) as page:
        assert (await page.get("/v1/invitations")).json()["data"] == []
        changed = await page.patch(f"/v1/members/{target}", json={"role": "finance"})
        assert changed.json()["role"] == "finance"
        assert (await page.patch(f"/v1/members/{target}", json={"role": "ops"})).status_code == 400
        alone = await page.post("/v1/members/leave")
        assert alone.status_code == 409
        assert "last owner" in alone.text
    async with as_member(api.context, people[Role.FINANCE]) as page:
        assert (await page.post("/v1/members/leave")).json()["removed"] is True


async def test_a_management_key_invites_and_makes_nobody_an_owner(api: ServedApi) -> None:
    account = await own_account(api)
    owner = await a_member(api, account, "boss@example.com", Role.OWNER)
    key = await a_management_key(api, account, "members:write")

    async def post(path: str, **body: Any) -> httpx.Response:
        return await api.client.post(path, headers=key, json=body)

    made = await post("/v1/invitations", email="by-key@example.com", role="developer")
    assert made.status_code == 201, made.text
    assert (made.json()["invited_by"], made.json()["state"]) == ("the management key robot", "open")
    twice = await post("/v1/invitations", email="BY-KEY@example.com", role="finance")
    assert twice.status_code == 409
    again = await post(f"/v1/invitations/{made.json()['id']}/resend")
    assert again.json()["times_sent"] == 2
    gone = await post(f"/v1/invitations/{made.json()['id']}/withdraw")
    assert gone.json()["state"] == "withdrawn"
    boss = wire(MemberId, owner.member_id)
    for refused in (
        await post("/v1/invitations", email="mighty@example.com", role="owner"),
        await post(f"/v1/members/{boss}/remove"),
        await api.client.patch(f"/v1/members/{boss}", headers=key, json={"role": "finance"}),
    ):
        assert refused.status_code == 403
        assert "signed in" in refused.text
    assert (await post("/v1/members/leave")).status_code == 403
    readers = await a_management_key(api, account, "members:read")
    refused = await api.client.post(
        "/v1/invitations", headers=readers, json={"email": "a@b.example", "role": "finance"}
    )
    assert refused.json()["error"]["code"] == "scope_insufficient"
    for email in ("", "a b@c.de", "a@b.de\r\nx: y", "a@b.de,c@d.de", "x" * 300 + "@b.de"):
        assert (await post("/v1/invitations", email=email, role="finance")).status_code == 400, email
