"""Sessions: what somebody may is what they may now; idle, old and ended ones are nobody's, and new places are told."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from mail.kinds import SessionStarted
from router.admin.sign_in import actor_of
from router.changes.transaction import UnitOfWork, transact
from router.errors import InvalidRequest, NotFound
from router.identity.members import Role, add_member, change_role, remove_member
from router.identity.people.people import PersonEdit, edit_person
from router.identity.people.sessions import end_session, end_sessions, list_sessions, note_seen
from router.identity.people.values import place_of
from tests.builders.database import ACTOR
from tests.builders.people import ELSEWHERE, HOME, Door

pytestmark = pytest.mark.anyio
ADA, BOB = "ada@example.com", "bob@example.com"


async def test_a_removed_member_and_a_changed_role_act_with_the_next_request(door: Door) -> None:
    opened = (await door.sign_in(ADA)).opened
    assert opened is not None
    await transact(door.db, ACTOR, lambda work: add_member(work, opened.account_id, BOB, Role.DEVELOPER))
    secret = (await door.sign_in(BOB)).secret
    (membership,) = (await door.see(secret)).memberships
    assert membership.role is Role.DEVELOPER
    await transact(door.db, ACTOR, lambda work: change_role(work, membership.member_id, Role.FINANCE))
    changed = (await door.see(secret)).membership_in(opened.account_id)
    assert changed is not None
    assert changed.role is Role.FINANCE
    await transact(door.db, ACTOR, lambda work: remove_member(work, membership.member_id))
    assert (await door.see(secret)).memberships == ()


async def test_a_session_ends_after_two_weeks_unseen_and_after_ninety_days(door: Door) -> None:
    secret = (await door.sign_in(ADA)).secret
    for _ in range(6):
        door.wait(timedelta(days=13, hours=23))
        await note_seen(door.db, (await door.see(secret)).session)
    door.wait(timedelta(days=7))
    assert await door.find(secret) is None
    idle = (await door.sign_in(ADA)).secret
    door.wait(timedelta(days=14, minutes=1))
    assert await door.find(idle) is None


async def test_last_seen_is_written_at_most_once_a_minute_and_fresh_is_a_quarter_of_an_hour(door: Door) -> None:
    secret = (await door.sign_in(ADA)).secret
    first = (await door.see(secret)).session
    door.wait(timedelta(seconds=50))
    await note_seen(door.db, first)
    assert (await door.see(secret)).session.last_seen_at == first.last_seen_at
    door.wait(timedelta(seconds=11))
    await note_seen(door.db, first)
    seen = (await door.see(secret)).session
    assert seen.last_seen_at > first.last_seen_at
    door.wait(timedelta(minutes=13))
    assert seen.is_fresh(door.clock.now())
    door.wait(timedelta(minutes=1))
    assert not seen.is_fresh(door.clock.now())


async def test_sessions_are_listed_and_ended_one_by_one_and_all(door: Door) -> None:
    here, there = await door.sign_in(ADA), await door.sign_in(ADA, ELSEWHERE)
    bob = await door.sign_in(BOB)
    third = await door.sign_in(ADA)
    person = here.person
    async with door.db.transaction() as tx:
        listed = await list_sessions(tx, person.id, door.clock.now())
    assert [(one.device, one.network) for one in listed] == [
        (place.device, place.network) for place in (HOME, ELSEWHERE, HOME)
    ]
    await transact(door.db, actor_of(person), lambda work: end_session(work, person.id, listed[1].id))
    assert await door.find(there.secret) is None
    others = (await door.see(bob.secret)).session.id
    with pytest.raises(NotFound):
        await transact(door.db, actor_of(person), lambda work: end_session(work, person.id, others))
    kept = (await door.see(third.secret)).session.id
    assert await transact(door.db, actor_of(person), lambda work: end_sessions(work, person.id, but=kept)) == 1
    assert await door.find(here.secret) is None
    assert await door.find(third.secret) is not None
    assert await door.find(bob.secret) is not None


async def test_a_person_hears_of_a_session_from_a_network_that_they_never_used(door: Door) -> None:
    await door.sign_in(ADA)
    await door.sign_in(ADA)
    assert "session_started" not in await door.inbox.kinds(ADA)
    await door.sign_in(ADA, ELSEWHERE)
    (mail,) = [one for one in await door.inbox.of(ADA) if isinstance(one, SessionStarted)]
    assert (mail.place, mail.method) == (ELSEWHERE.network, "a code by e-mail")


async def test_no_secret_is_stored_and_no_cookie_that_was_cut_or_made_up_is_somebody(door: Door) -> None:
    secret = (await door.sign_in(ADA)).secret
    for cookie in (None, "", secret[:-1], f"{secret}=", "é" * 43, "A" * 43, secret.swapcase()):
        assert await door.find(cookie) is None
    async with door.db.transaction() as tx:
        rows = (
            await tx.execute(text("SELECT s::text FROM sessions s UNION ALL SELECT a::text FROM audit a"))
        ).scalars()
        assert not [row for row in rows if secret in row]


async def test_a_person_says_their_name_and_zone(door: Door) -> None:
    entry = await door.sign_in(ADA)

    async def edit(name: str, locale: str, zone: str) -> None:
        async def command(work: UnitOfWork) -> object:
            return await edit_person(work, entry.person.id, PersonEdit(name, locale, zone))

        await transact(door.db, actor_of(entry.person), command)

    await edit("Ada", "en-GB", "America/Argentina/Buenos_Aires")
    assert (await door.see(entry.secret)).person.zone == "America/Argentina/Buenos_Aires"
    for zone in ("", "Nowhere/Else", "../../etc/passwd", "/etc/passwd", "A" * 100, "Europe"):
        with pytest.raises(InvalidRequest, match="zone"):
            await edit("Ada", "en", zone)
    for name, locale in (("a\nb", "en"), ("x" * 201, "en"), ("Ada", "e"), ("Ada", "<b>")):
        with pytest.raises(InvalidRequest):
            await edit(name, locale, "UTC")


@pytest.mark.parametrize(
    ("address", "agent", "network", "device"),
    [
        ("192.0.2.77", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "192.0.2.0/24",
         "Firefox on Linux"),
        ("2001:db8:1:22ff::9", "Mozilla/5.0 (Windows NT 10.0) Chrome/140.0 Safari/537.36 Edg/140.0",
         "2001:db8:1:2200::/56", "Edge on Windows"),
        ("::ffff:192.0.2.9", "curl/8.5", "192.0.2.0/24", "curl"),
        ("", "\0" * 5000, "local", "A browser"),
    ],
)  # fmt: skip
def test_a_place_is_a_network_and_a_browser_in_words(address: str, agent: str, network: str, device: str) -> None:
    place = place_of(address, agent)
    assert (place.network, place.device) == (network, device)
