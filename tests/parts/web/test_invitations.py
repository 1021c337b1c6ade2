"""Whom an owner cannot invite, and whom twice: each says what is so and what to do, and nobody joins by it."""

import re
from collections.abc import AsyncIterator

import pytest

from gigarouter.settings import Settings
from gigarouter.web_wiring import pages as run_pages
from router.changes.transaction import transact
from router.identity.members import Role, add_member
from store.ids import AccountId, parse
from tests.builders.database import ACTOR
from tests.harness.plain_browser import PlainBrowser
from tests.harness.sites import Site

pytestmark = pytest.mark.anyio
SEND = "Send the invitation"


@pytest.fixture
async def site(settings: Settings) -> AsyncIterator[Site]:
    async with run_pages(settings) as context:
        yield Site(context)


async def members_of(browser: PlainBrowser) -> str:
    """The address of the members' page of the account that the person owns."""
    await browser.get("/me")
    found = re.search(r'<code class="id"[^>]*>(acct_[0-9a-f]{32})', browser.text)
    assert found is not None
    return f"/accounts/{found[1]}/members"


async def invite(browser: PlainBrowser, path: str, email: str, role: str = "developer") -> str:
    await browser.get(path)
    await browser.press(SEND, email=email, role=role)
    return browser.text


async def test_oneself_a_member_and_whoever_is_invited_are_not_invited(site: Site) -> None:
    ivy = await site.signed_in("ivy@example.com")
    path = await members_of(ivy)
    for spelling in ("ivy@example.com", "IVY@Example.COM", "  ivy@example.com "):
        text = await invite(ivy, path, spelling, "owner")
        assert (ivy.status, "is your own address: you are a member already, as owner" in text) == (409, True)
        assert f'value="{spelling}"' in text
    for wrong in ("ivy@", "ivy@example.com, jon@example.com", "ivy@example.com\nbcc: x@example.com", ""):
        await ivy.get(path)
        await ivy.press(SEND, email=wrong)
        assert ivy.status == 400, wrong
        assert "e-mail address" in ivy.text, wrong
    assert "The invitation is on its way" in await invite(ivy, path, "jon@example.com")
    assert "for another role withdraw it first" in await invite(ivy, path, "Jon@Example.com", "finance")
    # A second owner invites the same person: there is one invitation.
    account = AccountId(parse(AccountId, path.split("/")[2]))
    await transact(
        site.context.people.writes, ACTOR, lambda work: add_member(work, account, "kay@example.com", Role.OWNER)
    )
    kay = await site.signed_in("kay@example.com")
    assert "is invited already" in await invite(kay, path, "jon@example.com")
    assert "kay@example.com is a member already, as owner. Change the role instead" in await invite(
        ivy, path, "Kay@example.com"
    )
    assert ivy.text.count('<th scope="row">jon@example.com') == 1


async def test_two_accounts_invite_one_person_who_joins_both_leaves_and_comes_back(site: Site) -> None:
    lea, max_ = await site.signed_in("lea@example.com"), await site.signed_in("max@example.com")
    paths = [await members_of(one) for one in (lea, max_)]
    for owner, path in zip((lea, max_), paths, strict=True):
        await invite(owner, path, "Ned@example.com")
    ned = await site.signed_in("ned@example.com")
    links = list(dict.fromkeys(re.findall(r'href="(/invitations/invite_\w+)"', (await ned.get("/me")).text)))
    assert len(links) == 2
    for link in links:
        await ned.get(link)
        await ned.press("Join")
        assert ned.status == 200
    await ned.get(links[0])
    assert "It was accepted" in ned.text
    again = await ned.once("POST", links[0], data={"answer": "accept"})
    assert (again.status_code, "was accepted" in again.text) == (409, True)
    await ned.get(paths[0])
    await ned.press("Leave the account")
    assert ned.path == "/me"
    assert (await ned.get(paths[0])).status_code == 404
    # Who left may be invited anew; the old invitation brings nobody back.
    assert (await ned.once("POST", links[0], data={"answer": "accept"})).status_code == 409
    assert "The invitation is on its way" in await invite(lea, paths[0], "ned@example.com", "finance")
    # Meanwhile somebody makes them a member: the invitation is of no use any more, and says so.
    account = AccountId(parse(AccountId, paths[0].split("/")[2]))
    await transact(
        site.context.people.writes, ACTOR, lambda work: add_member(work, account, "ned@example.com", Role.DEVELOPER)
    )
    [link] = set(re.findall(r'href="(/invitations/invite_\w+)"', (await ned.get("/me")).text))
    await ned.get(link)
    await ned.press("Join")
    assert ned.status == 409
    assert "already, as developer; an owner can change that. Decline this invitation." in ned.text
    await ned.press("Decline")
    assert ned.path == "/me"
    assert link not in ned.text
