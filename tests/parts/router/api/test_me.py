"""A person sees and changes themselves by a key of `gigarouter login`, which acts for a member, and by no other key."""

from typing import Any

import httpx
import pytest
from sqlalchemy import text

from router.admin.accounts import open_account
from router.changes.transaction import UnitOfWork, transact
from router.identity.management_keys import ManagementKeySpec, create_management_key
from router.identity.members import Role, add_member
from router.identity.people.invitations import invite
from router.identity.people.outside import OutsideIdentity, link_identity
from router.identity.people.people import ensure_person
from router.identity.people.sessions import open_session
from router.identity.people.values import Method, Place
from router.identity.principals import MemberPrincipal
from router.identity.scopes import Scope
from store.ids import AccountId, InvitationId, PasskeyId, SessionId, new_id, parse, wire
from tests.builders.database import ACTOR
from tests.harness.members import as_member
from tests.harness.served_api import ServedApi

pytestmark = pytest.mark.anyio
PASSKEY = """
INSERT INTO passkeys (id, person_id, credential_id, public_key, sign_count, is_synced, name)
VALUES (:id, :person, :credential, 'key', 0, false, 'token')
"""


class Somebody:
    """A person with a session and a passkey, and a key of `gigarouter login` that acts for them."""

    def __init__(self, api: ServedApi, key: str, session: str, passkey: str) -> None:
        self.api, self.key, self.session, self.passkey = api, key, session, passkey

    async def __call__(self, method: str, path: str, expects: int = 200, key: str = "", **more: Any) -> Any:
        headers = {"authorization": f"Bearer {key or self.key}", **more.pop("headers", {})}
        answer: httpx.Response = await self.api.client.request(method, f"/v1/me{path}", headers=headers, **more)
        assert answer.status_code == expects, answer.text
        return answer.json()


async def somebody(api: ServedApi, name: str, scope: str) -> Somebody:
    """By the front door: a device begins, the member approves, the device fetches its key."""
    bearer = {"authorization": f"Bearer {api.key}"}
    account = AccountId(parse(AccountId, (await api.client.get("/v1/account", headers=bearer)).json()["id"]))

    async def make(work: UnitOfWork) -> tuple[MemberPrincipal, SessionId, PasskeyId]:
        person, _ = await ensure_person(work, f"{name}@example.com")
        member = await add_member(work, account, person.email, Role.DEVELOPER)
        _, session = await open_session(work, person, Method.CODE, Place("Firefox on Linux", "192.0.2.0/24"))
        passkey = PasskeyId(new_id())
        await work.connection.execute(text(PASSKEY), {"id": passkey, "person": person.id, "credential": passkey.bytes})
        return MemberPrincipal(member.id, account, Role.DEVELOPER), session.id, passkey

    member, session, passkey = await transact(api.context.db, ACTOR, make)
    begun = (await api.client.post("/v1/device/code", json={"scope": scope})).json()
    async with as_member(api.context, member) as page:
        approved = await page.post(f"/v1/device/logins/{begun['user_code']}/approve", json={})
        assert approved.status_code == 200, approved.text
    token = (await api.client.post("/v1/device/token", json={"device_code": begun["device_code"]})).json()
    return Somebody(api, token["access_token"], wire(SessionId, session), wire(PasskeyId, passkey))


async def test_a_person_reads_and_changes_themselves(api: ServedApi) -> None:
    ann = await somebody(api, "ann", "person:write")
    bob = await somebody(api, "bob", "person:read")
    me = await ann("GET", "")
    assert (me["email"], me["zone"], [one["role"] for one in me["accounts"]]) == (
        "ann@example.com",
        "UTC",
        ["developer"],
    )
    assert (await ann("PATCH", "?dry_run=1", json={"zone": "Asia/Kolkata"}))["zone"] == "Asia/Kolkata"
    assert (await ann("PATCH", "", json={"zone": "Asia/Kolkata"}))["zone"] == "Asia/Kolkata"
    assert (await ann("PATCH", "", 400, json={"zone": "No/Where"}))["error"]["param"] == "zone"
    assert "person:write" in (await bob("PATCH", "", 403, json={"name": "Bob"}))["error"]["message"]
    [session] = (await ann("GET", "/sessions"))["data"]
    assert (session["id"], session["device"], session["is_this_one"]) == (ann.session, "Firefox on Linux", False)
    await ann("POST", f"/sessions/{bob.session}/end", 404)
    assert (await ann("POST", f"/sessions/{ann.session}/end"))["ended"] == 1
    assert (await ann("GET", "/sessions"))["data"] == []
    assert (await ann("POST", "/sessions/end-others"))["ended"] == 0
    [passkey] = (await ann("GET", "/passkeys"))["data"]
    assert (passkey["id"], passkey["name"]) == (ann.passkey, "token")
    await ann("POST", f"/passkeys/{bob.passkey}/rename", 404, json={"name": "mine"})
    renamed = await ann("POST", f"/passkeys/{ann.passkey}/rename", json={"name": "phone"})
    assert renamed["name"] == "phone"
    await ann("DELETE", f"/passkeys/{bob.passkey}", 404)
    assert (await ann("DELETE", f"/passkeys/{ann.passkey}"))["removed"] is True
    assert [one["id"] for one in (await bob("GET", "/passkeys"))["data"]] == [bob.passkey]


async def test_no_other_key_is_a_person(api: ServedApi) -> None:
    ann = await somebody(api, "carol", "usage:read")
    assert "`gigarouter login` gets one with the scope person:read" in (await ann("GET", "", 403))["error"]["message"]
    assert "about a person" in (await ann("GET", "", 403, key=api.key))["error"]["message"]

    async def make(work: UnitOfWork) -> str:
        bearer = {"authorization": f"Bearer {api.key}"}
        account = AccountId(parse(AccountId, (await api.client.get("/v1/account", headers=bearer)).json()["id"]))
        return (await create_management_key(work, account, ManagementKeySpec("robot", frozenset({Scope.KEYS_READ}))))[0]

    robot = await transact(api.context.db, ACTOR, make)
    assert "acts for an account" in (await ann("GET", "", 403, key=robot))["error"]["message"]
    assert (await ann("GET", "", 401, key="gr_live_none"))["error"]["code"]
    asked = await api.client.get("/v1/me")
    assert asked.status_code == 401


async def test_a_person_joins_declines_and_opens_an_account_without_a_browser(api: ServedApi) -> None:
    dan, eve = await somebody(api, "dan", "person:write"), await somebody(api, "eve", "person:write")

    async def invited(work: UnitOfWork) -> tuple[str, str, str]:
        accounts = [(await open_account(work, name)).id for name in ("Joined", "Declined")]
        ids = [(await invite(work, one, "Dan@Example.com", Role.FINANCE, invited_by="Ann")).id for one in accounts]
        return wire(AccountId, accounts[0]), wire(InvitationId, ids[0]), wire(InvitationId, ids[1])

    joined, yes, no = await transact(api.context.db, ACTOR, invited)
    listed = (await dan("GET", "/invitations"))["data"]
    assert [(one["account_name"], one["role"], one["state"]) for one in listed] == [
        ("Joined", "finance", "open"),
        ("Declined", "finance", "open"),
    ]
    assert (await eve("GET", "/invitations"))["data"] == []
    for path in (f"/invitations/{yes}", f"/invitations/{yes}/accept", f"/invitations/{yes}/decline"):
        assert (await eve("GET" if path.endswith(yes) else "POST", path, 404))["error"]["param"] == "invitation"
    assert (await dan("POST", f"/invitations/{yes}/accept?dry_run=1"))["account"] == joined
    assert (await dan("GET", f"/invitations/{yes}"))["state"] == "open"
    assert (await dan("POST", f"/invitations/{yes}/accept"))["role"] == "finance"
    assert (await dan("POST", f"/invitations/{no}/decline"))["state"] == "declined"
    assert "was declined" in (await dan("POST", f"/invitations/{no}/accept", 409))["error"]["message"]
    opened = [await dan("POST", "/accounts", headers={"idempotency-key": "mine"}) for _ in range(2)]
    assert opened[0] == opened[1]
    assert opened[0]["key"].startswith("gr_live_")
    assert opened[0]["test_key"].startswith("gr_test_")
    accounts = {one["account"]: one["role"] for one in (await dan("GET", ""))["accounts"]}
    assert accounts[joined] == "finance"
    assert accounts[opened[0]["account"]] == "owner"


async def test_a_service_that_signs_somebody_in_is_unlinked(api: ServedApi) -> None:
    fay, gus = await somebody(api, "fay", "person:write"), await somebody(api, "gus", "person:write")

    async def link(work: UnitOfWork) -> None:
        person, _ = await ensure_person(work, "fay@example.com")
        await link_identity(work, person.id, OutsideIdentity("https://id.example", "1", "fay@example.com"))

    await transact(api.context.db, ACTOR, link)
    [linked] = (await fay("GET", "/identities"))["data"]
    assert linked["issuer"] == "https://id.example"
    await gus("DELETE", f"/identities/{linked['id']}", 404)
    assert (await fay("DELETE", f"/identities/{linked['id']}"))["id"] == linked["id"]
    assert (await fay("GET", "/identities"))["data"] == []
