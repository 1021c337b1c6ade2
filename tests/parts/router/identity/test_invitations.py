"""Invitations: who proves to have the address joins with the role; others see nothing, and the last owner stays."""

from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import text

from router.admin.own_accounts import Opened
from router.admin.sign_in import Entry, actor_of
from router.changes.transaction import transact
from router.errors import Conflict, InvalidRequest, NotFound, RequestLimit
from router.identity.members import Role, list_members, remove_member
from router.identity.people.erase import erase_people
from router.identity.people.forget import forget_sign_ins
from router.identity.people.invitations import (
    Invitation,
    accept_invitation,
    decline_invitation,
    invitations_of_email,
    invite,
    list_invitations,
    resend_invitation,
    withdraw_invitation,
)
from router.identity.people.limits import INVITATIONS_OF_ADDRESS
from store.ids import AccountId
from tests.builders.people import Door

pytestmark = pytest.mark.anyio
ADA, BOB, EVE = "ada@example.com", "bob@example.com", "eve@example.com"


async def an_owner(door: Door, email: str = ADA) -> tuple[Entry, Opened]:
    entry = await door.sign_in(email)
    assert entry.opened is not None
    return entry, entry.opened


async def invited(door: Door, by: Entry, account: AccountId, email: str, role: Role = Role.DEVELOPER) -> Invitation:
    return await transact(
        door.db, actor_of(by.person), lambda work: invite(work, account, email, role, invited_by=by.person.email)
    )


async def test_who_has_the_address_joins_once_and_nobody_else_sees_it(door: Door) -> None:
    ada, opened = await an_owner(door)
    one = await invited(door, ada, opened.account_id, "Bob@Example.com", Role.FINANCE)
    mail = await door.inbox.invitation("Bob@Example.com")
    assert (mail.account_name, mail.role, mail.by) == (opened.account_name, "finance", ADA)
    assert mail.path.startswith("/invitations/invite_")
    eve = await door.sign_in(EVE)
    for command in (accept_invitation, decline_invitation):
        with pytest.raises(NotFound):
            await transact(door.db, actor_of(eve.person), partial(command, person=eve.person, invitation_id=one.id))
    bob = await door.sign_in(BOB)
    # Who was invited gets no account of their own.
    assert bob.opened is None
    async with door.db.transaction() as tx:
        assert [found.id for found in await invitations_of_email(tx, BOB, door.clock.now())] == [one.id]
    member = await transact(door.db, actor_of(bob.person), lambda work: accept_invitation(work, bob.person, one.id))
    assert (member.role, member.person_id) == (Role.FINANCE, bob.person.id)
    assert [found.account_id for found in (await door.see(bob.secret)).memberships] == [opened.account_id]
    with pytest.raises(Conflict, match="accepted"):
        await transact(door.db, actor_of(bob.person), lambda work: accept_invitation(work, bob.person, one.id))


async def test_an_invitation_is_sent_again_withdrawn_declined_and_expires(door: Door) -> None:
    ada, opened = await an_owner(door)
    eve, other = await an_owner(door, EVE)
    one = await invited(door, ada, opened.account_id, BOB)
    with pytest.raises(Conflict, match="invited already"):
        await invited(door, ada, opened.account_id, "BOB@example.com")
    actor = actor_of(ada.person)
    again = await transact(door.db, actor, lambda work: resend_invitation(work, opened.account_id, one.id))
    assert again.times_sent == 2
    assert (await door.inbox.kinds(BOB)).count("invitation") == 2
    # Of another account it does not exist.
    for command in (resend_invitation, withdraw_invitation):
        with pytest.raises(NotFound):
            await transact(
                door.db, actor_of(eve.person), partial(command, account_id=other.account_id, invitation_id=one.id)
            )
    await transact(door.db, actor, lambda work: withdraw_invitation(work, opened.account_id, one.id))
    bob = await door.sign_in(BOB)
    with pytest.raises(Conflict, match="withdrawn"):
        await transact(door.db, actor_of(bob.person), lambda work: accept_invitation(work, bob.person, one.id))
    two = await invited(door, ada, opened.account_id, BOB)
    await transact(door.db, actor_of(bob.person), lambda work: decline_invitation(work, bob.person, two.id))
    three = await invited(door, ada, opened.account_id, BOB)
    door.wait(timedelta(days=7, minutes=1))
    with pytest.raises(Conflict, match="expired"):
        await transact(door.db, actor_of(bob.person), lambda work: accept_invitation(work, bob.person, three.id))
    # One that has expired stands in nobody's way.
    four = await invited(door, ada, opened.account_id, BOB)
    async with door.db.transaction() as tx:
        assert [found.id for found in await list_invitations(tx, opened.account_id)] == [four.id]


async def test_members_oneself_operators_and_too_many_are_not_invited(door: Door) -> None:
    ada, opened = await an_owner(door)
    with pytest.raises(Conflict, match="a member already"):
        await invited(door, ada, opened.account_id, "ADA@example.com", Role.OWNER)
    with pytest.raises(InvalidRequest):
        await invited(door, ada, opened.account_id, BOB, Role.OPS)
    with pytest.raises(InvalidRequest):
        await invited(door, ada, opened.account_id, "bob@example.com\r\nbcc: x@y.z")
    for _ in range(INVITATIONS_OF_ADDRESS.hits):
        one = await invited(door, ada, opened.account_id, BOB)
        await transact(
            door.db,
            actor_of(ada.person),
            partial(withdraw_invitation, account_id=opened.account_id, invitation_id=one.id),
        )
    with pytest.raises(RequestLimit):
        await invited(door, ada, opened.account_id, BOB)
    await invited(door, ada, opened.account_id, EVE)


async def test_the_last_owner_stays_and_one_of_two_may_leave(door: Door) -> None:
    ada, opened = await an_owner(door)
    (own,) = (await door.see(ada.secret)).memberships
    with pytest.raises(Conflict, match="last owner"):
        await transact(door.db, actor_of(ada.person), lambda work: remove_member(work, own.member_id))
    one = await invited(door, ada, opened.account_id, BOB, Role.OWNER)
    bob = await door.sign_in(BOB)
    await transact(door.db, actor_of(bob.person), lambda work: accept_invitation(work, bob.person, one.id))
    await transact(door.db, actor_of(ada.person), lambda work: remove_member(work, own.member_id))
    assert (await door.see(ada.secret)).memberships == ()
    async with door.db.transaction() as tx:
        assert [member.email for member in await list_members(tx, opened.account_id)] == [BOB]


async def test_with_a_closed_account_its_people_are_erased_unless_they_are_somewhere_else(door: Door) -> None:
    ada, opened = await an_owner(door)
    bob, _ = await an_owner(door, BOB)
    one = await invited(door, ada, opened.account_id, BOB)
    await transact(door.db, actor_of(bob.person), lambda work: accept_invitation(work, bob.person, one.id))
    await invited(door, ada, opened.account_id, EVE)
    async with door.db.transaction() as tx:
        assert await erase_people(tx, opened.account_id) == 1
        tables = ("people", "members", "invitations", "sessions", "sign_in_codes", "passkeys")
        left = [
            str(row) for table in tables for row in (await tx.execute(text(f"SELECT t::text FROM {table} t"))).scalars()
        ]
        left += (await tx.execute(text("SELECT address FROM mails"))).scalars()
    assert not [row for row in left if ADA in row or EVE in row]
    assert await door.find(ada.secret) is None
    assert [one.role for one in (await door.see(bob.secret)).memberships] == [Role.OWNER]
    # The address is free: whoever has it may begin anew.
    assert (await door.sign_in(ADA)).person.id != ada.person.id
    await forget_sign_ins(door.db)
