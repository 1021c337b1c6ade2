"""Signing in by e-mail: in one browser, for ten minutes, with five tries, once; the first time an account is opened."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text

from billing.accounts import credits_of
from billing.money import NanoUSD
from router.admin.own_accounts import open_own_account
from router.changes.transaction import UnitOfWork, transact
from router.errors import InvalidRequest, RequestLimit
from router.identity.members import Role, add_member
from router.identity.people.codes import find_pending, request_code
from router.identity.people.people import memberships_of
from router.identity.people.set_up import FreeCredit
from store.ids import AccountId
from tests.builders.database import ACTOR, add_account
from tests.builders.people import ELSEWHERE, HOME, Door

pytestmark = pytest.mark.anyio
ADA, BOB = "Ada@example.com", "bob@example.com"


def reason(refused: pytest.ExceptionInfo[InvalidRequest]) -> object:
    return refused.value.details["reason"]


async def test_the_first_sign_in_opens_an_account_with_keys_and_free_credit_and_the_second_none(door: Door) -> None:
    door.credit = FreeCredit(NanoUSD(5_000_000_000), timedelta(days=90))
    entry = await door.sign_in(ADA)
    opened = entry.opened
    assert opened is not None
    assert opened.key.text.startswith("gr_live_")
    assert opened.test_key.text.startswith("gr_test_")
    assert opened.credit == 5_000_000_000
    assert opened.credit_until is not None
    signed_in = await door.see(entry.secret)
    (membership,) = signed_in.memberships
    assert (membership.role, membership.account_id) == (Role.OWNER, opened.account_id)
    again = await door.sign_in("ada@EXAMPLE.com")
    assert again.opened is None
    assert again.person.id == entry.person.id
    assert again.person.email == ADA
    async with door.db.transaction() as tx:
        assert (await credits_of(tx))[opened.account_id] == 5_000_000_000
        actions = set((await tx.execute(text("SELECT action || ' ' || actor FROM audit"))).scalars())
    # One transaction, and whoever signed in is named as who did it.
    assert len({action.split()[1] for action in actions}) == 1
    assert {"account.open", "member.add", "key.create", "credit.grant", "session.open", "person.create"} <= {
        action.split()[0] for action in actions
    }


async def test_free_credit_comes_once_for_a_mailbox_whatever_stands_behind_a_plus(door: Door) -> None:
    door.credit = FreeCredit(NanoUSD(1_000_000_000))
    first, second = await door.sign_in("ada+one@example.com"), await door.sign_in("ADA+two@example.com")
    assert first.opened
    assert second.opened
    assert (first.opened.credit, second.opened.credit) == (1_000_000_000, 0)
    one_more = await transact(door.db, ACTOR, lambda work: open_own_account(work, first.person, door.credit))
    assert one_more.credit == 0


async def test_who_was_added_or_invited_finds_that_account_and_gets_none_of_their_own(door: Door) -> None:
    async def command(work: UnitOfWork) -> AccountId:
        account = await add_account(work.connection, 0)
        await add_member(work, account, "BOB@example.com", Role.FINANCE)
        return account

    account = await transact(door.db, ACTOR, command)
    entry = await door.sign_in(BOB)
    assert entry.opened is None
    async with door.db.transaction() as tx:
        (membership,) = await memberships_of(tx, entry.person)
    assert (membership.account_id, membership.role) == (account, Role.FINANCE)


async def test_a_link_is_used_up_by_pressing_it_where_it_was_wanted_and_nowhere_else(door: Door) -> None:
    browser, code, link = await door.request(ADA)
    other, _, _ = await door.request(BOB, None, ELSEWHERE)
    # A scanner has no cookie; another browser has one of its own, and a cookie that was cut short is none.
    for cookie in (None, other, browser[:-1], "x" * 43):
        for _ in range(6):
            with pytest.raises(InvalidRequest) as refused:
                await door.press_link(cookie, link, ELSEWHERE)
            assert reason(refused) == "other_browser"
        with pytest.raises(InvalidRequest):
            await door.type_code(cookie, code, ELSEWHERE)
    assert await find_pending(door.db, browser) is not None
    entry = await door.press_link(browser, link)
    assert entry.person.email == ADA
    assert await find_pending(door.db, browser) is None
    for again in (door.press_link(browser, link), door.type_code(browser, code)):
        with pytest.raises(InvalidRequest) as refused:
            await again
        assert reason(refused) == "used"


async def test_the_sixth_try_is_refused_though_it_is_right_and_tries_at_once_count_together(door: Door) -> None:
    browser, code, link = await door.request(ADA)
    wrong = f"{(int(code) + 1) % 1_000_000:06}"

    async def attempt() -> object:
        with pytest.raises(InvalidRequest) as refused:
            await door.type_code(browser, wrong)
        return reason(refused)

    reasons = [await attempt(), await attempt(), await attempt(), *await asyncio.gather(attempt(), attempt())]
    assert sorted(map(str, reasons)) == ["too_many", "wrong", "wrong", "wrong", "wrong"]
    for last in (door.type_code(browser, code), door.press_link(browser, link)):
        with pytest.raises(InvalidRequest) as refused:
            await last
        assert reason(refused) == "too_many"
    for text_ in ("12345", "٣٣٣٣٣٣", "", "1234567", "12 34 5x"):
        with pytest.raises(InvalidRequest, match="six digits"):
            await door.type_code(browser, text_)


async def test_a_newer_code_replaces_the_older_of_its_browser_and_says_so(door: Door) -> None:
    browser, older, old_link = await door.request(ADA)
    elsewhere, code_elsewhere, _ = await door.request(ADA, None, ELSEWHERE)
    same, newer, _ = await door.request(ADA, browser)
    assert same == browser
    with pytest.raises(InvalidRequest, match="newer code") as refused:
        await door.type_code(browser, older if older != newer else "000000")
    assert reason(refused) == "replaced"
    with pytest.raises(InvalidRequest):
        await door.press_link(browser, old_link)
    spaced = f" {newer[:3]} {newer[3:]} "
    assert (await door.type_code(browser, spaced)).person.email == ADA
    # Nobody ends what somebody else waits for.
    assert (await door.type_code(elsewhere, code_elsewhere, ELSEWHERE)).person.email == ADA


async def test_a_code_of_eleven_minutes_ago_works_no_more(door: Door) -> None:
    browser, code, link = await door.request(ADA)
    door.wait(timedelta(minutes=11))
    for late in (door.type_code(browser, code), door.press_link(browser, link)):
        with pytest.raises(InvalidRequest) as refused:
            await late
        assert reason(refused) == "expired"


async def test_two_who_use_one_code_at_the_same_moment_are_one(door: Door) -> None:
    browser, code, _ = await door.request(ADA)
    results = await asyncio.gather(*[door.type_code(browser, code) for _ in range(3)], return_exceptions=True)
    assert len([one for one in results if not isinstance(one, BaseException)]) == 1
    async with door.db.transaction() as tx:
        assert await tx.scalar(text("SELECT count(*) FROM accounts")) == 1


async def test_whoever_floods_an_address_locks_out_neither_its_person_nor_others(door: Door) -> None:
    # The next day has begun a minute ago, so no span ends in the middle.
    now = door.clock.now()
    door.wait(timedelta(days=1, minutes=1) - timedelta(hours=now.hour, minutes=now.minute, seconds=now.second))
    await door.sign_in(ADA)
    attacker = "203.0.113.0/24"
    # Whether somebody has the address makes no difference.
    for email in (ADA, "nobody@example.com"):
        for _ in range(6):
            await request_code(door.db, email, None, attacker)
        with pytest.raises(RequestLimit) as refused:
            await request_code(door.db, email, None, attacker)
        assert (refused.value.retry_after_s or 0) > 0
    for number in range(13):
        await request_code(door.db, ADA, None, f"10.0.{number}.0/24")
    with pytest.raises(RequestLimit):
        await request_code(door.db, ADA, None, "10.0.99.0/24")
    # The person's own network still gets codes, and no other address is concerned.
    assert (await door.sign_in(ADA, HOME)).person.email == ADA
    assert (await door.sign_in(BOB, ELSEWHERE)).person.email == BOB


@pytest.mark.parametrize(
    "email",
    ["", "ada", "@x", "ada@", "a b@x.de", "ada@x.de\nbcc: b@x.de", "a" * 65 + "@x.de", "a@x.de,b@x.de", "a\0@x"],
)
async def test_what_is_no_address_is_refused(door: Door, email: str) -> None:
    with pytest.raises(InvalidRequest):
        await request_code(door.db, email, None, HOME.network)
    assert not await door.inbox.all()
