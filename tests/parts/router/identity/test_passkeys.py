"""Passkeys: made, used, named, lost and restored; an operator is one with a passkey alone, made by an invitation."""

import json
from datetime import timedelta
from functools import partial

import pytest

from router.admin.sign_in import actor_of, begin_operator, finish_operator, sign_in_with_passkey
from router.changes.transaction import transact
from router.errors import Conflict, InvalidRequest, NotAllowed, NotFound
from router.identity.members import Role, add_member
from router.identity.people.invitations import invite_operator
from router.identity.people.own_passkeys import Passkey, list_passkeys, remove_passkey, rename_passkey
from router.identity.people.passkeys import (
    begin_registration,
    begin_sign_in,
    require_may_add,
)
from router.identity.people.values import Person
from store.ids import PasskeyId, new_id
from tests.builders.database import ACTOR
from tests.builders.people import BROWSER, ELSEWHERE, HOME, PARTY, Door
from tests.harness.authenticator import Authenticator

pytestmark = pytest.mark.anyio
ADA, OPS = "ada@example.com", "ops@example.com"


async def passkeys_of(door: Door, person: Person) -> list[Passkey]:
    async with door.db.transaction() as tx:
        return await list_passkeys(tx, person.id)


async def test_a_passkey_is_made_used_renamed_lost_and_replaced_and_all_of_it_is_mailed(door: Door) -> None:
    person = (await door.sign_in(ADA)).person
    laptop, phone = Authenticator(PARTY.origin), Authenticator(PARTY.origin, counts=False)
    await door.add_passkey(person, laptop)
    await door.add_passkey(person, phone, "phone")
    for device in (laptop, phone, phone, laptop):
        entry = await door.use_passkey(device)
        assert entry.person.id == person.id
        assert (await door.see(entry.secret)).session.method == "passkey"
    first, second = await passkeys_of(door, person)
    assert (first.name, second.name, first.is_synced, second.is_synced) == ("laptop", "phone", False, True)
    # A counter that stays at nothing is no sign of a copy; one that stands still is noted.
    assert first.last_used_at is not None
    assert (first.stalled_at, second.stalled_at) == (None, None)
    laptop.count -= 2
    await door.use_passkey(laptop)
    assert (await passkeys_of(door, person))[0].stalled_at is not None
    renamed = await transact(
        door.db, actor_of(person), lambda work: rename_passkey(work, person.id, first.id, " desk ")
    )
    assert renamed.name == "desk"
    # Lost: whoever reads the address's mail gets in, and the address is told.
    assert "session_started" not in await door.inbox.kinds(ADA)
    recovered = await door.sign_in(ADA)
    assert (await door.inbox.kinds(ADA))[-1] == "session_started"
    require_may_add(await door.see(recovered.secret), door.clock.now())
    await transact(door.db, actor_of(person), lambda work: remove_passkey(work, person.id, first.id))
    with pytest.raises(InvalidRequest, match="may have been removed"):
        await door.use_passkey(laptop)
    await door.add_passkey(person, Authenticator(PARTY.origin), "new")
    assert (await door.inbox.kinds(ADA))[-2:] == ["passkey_removed", "passkey_added"]


async def test_a_passkey_is_changed_by_its_person_alone(door: Door) -> None:
    ada, bob = (await door.sign_in(ADA)).person, (await door.sign_in("bob@example.com")).person
    await door.add_passkey(ada, Authenticator(PARTY.origin))
    (passkey,) = await passkeys_of(door, ada)
    for passkey_id in (passkey.id, PasskeyId(new_id())):
        with pytest.raises(NotFound):
            await transact(door.db, actor_of(bob), partial(remove_passkey, person_id=bob.id, passkey_id=passkey_id))
        with pytest.raises(NotFound):
            await transact(
                door.db, actor_of(bob), partial(rename_passkey, person_id=bob.id, passkey_id=passkey_id, name="x")
            )


async def test_a_challenge_works_once_in_its_browser_for_five_minutes_at_our_origin(door: Door) -> None:
    person = (await door.sign_in(ADA)).person
    device = Authenticator(PARTY.origin)
    await door.add_passkey(person, device)

    async def use(browser: str | None, credential: str) -> None:
        await sign_in_with_passkey(door.db, PARTY, browser, credential, HOME)

    options, browser = await begin_sign_in(door.db, PARTY, None, HOME.network)
    signed = device.get(options)
    for cookie in (None, "c" * 43, browser[:-1]):
        with pytest.raises(InvalidRequest):
            await use(cookie, signed)
    await use(browser, signed)
    with pytest.raises(InvalidRequest):
        await use(browser, signed)
    options, browser = await begin_sign_in(door.db, PARTY, None, HOME.network)
    late = device.get(options)
    door.wait(timedelta(minutes=5, seconds=1))
    with pytest.raises(InvalidRequest):
        await use(browser, late)
    options, browser = await begin_sign_in(door.db, PARTY, None, HOME.network)
    device.origin = "https://pages.example.evil"
    phished = device.get(options)
    device.origin, device.verifies = PARTY.origin, False
    unverified = device.get(options)
    device.verifies, device.user_handle = True, bytes(16)
    other_handle = device.get(options)
    forged = json.loads(other_handle)
    forged["response"]["signature"] = "AAAA"
    for credential in (phished, unverified, other_handle, json.dumps(forged), "", "{}", "[1]", "null", "x" * 20_000):
        with pytest.raises(InvalidRequest):
            await use(browser, credential)


async def test_a_passkey_of_somebody_else_is_not_registered_again(door: Door) -> None:
    ada, bob = (await door.sign_in(ADA)).person, (await door.sign_in("bob@example.com")).person
    device = Authenticator(PARTY.origin)
    await door.add_passkey(ada, device)
    with pytest.raises(Conflict):
        await door.add_passkey(bob, device)
    options = json.loads(await begin_registration(door.db, PARTY, ada, BROWSER))
    assert len(options["excludeCredentials"]) == 1
    assert options["authenticatorSelection"]["residentKey"] == "required"


async def test_an_operator_gets_in_by_an_invitation_and_a_passkey_and_never_by_mail(door: Door) -> None:
    # One who has a key for the admin API, and no passkey yet.
    await transact(door.db, ACTOR, lambda work: add_member(work, None, OPS, Role.OPS))
    by_mail = await door.see((await door.sign_in(OPS)).secret)
    assert by_mail.operator_membership(door.clock.now()) is None
    with pytest.raises(NotAllowed, match="operators invite"):
        require_may_add(by_mail, door.clock.now())
    _, path = await transact(door.db, ACTOR, lambda work: invite_operator(work, OPS, Role.OPS, invited_by="root"))
    _, newer = await transact(door.db, ACTOR, lambda work: invite_operator(work, OPS, Role.OPS, invited_by="root"))
    token, device = newer.rpartition("/")[2], Authenticator(PARTY.origin)
    for other in (path.rpartition("/")[2], "y" * 43, token[:-1]):
        with pytest.raises(NotAllowed):
            await begin_operator(door.db, PARTY, other, BROWSER)
    credential = device.create(await begin_operator(door.db, PARTY, token, BROWSER))
    entry = await finish_operator(door.db, PARTY, token, BROWSER, credential, "token", HOME)
    signed_in = await door.see(entry.secret)
    operator = signed_in.operator_membership(door.clock.now())
    assert operator is not None
    assert operator.role is Role.OPS
    require_may_add(signed_in, door.clock.now())
    with pytest.raises(NotAllowed):
        await begin_operator(door.db, PARTY, token, BROWSER)
    door.wait(timedelta(hours=12, seconds=1))
    assert await door.find(entry.secret) is None
    again = await door.use_passkey(device, ELSEWHERE)
    assert (await door.see(again.secret)).operator_membership(door.clock.now()) is not None


async def test_an_operator_who_lost_the_passkey_is_invited_again_and_the_old_one_is_worth_nothing(door: Door) -> None:
    async def invited(device: Authenticator) -> str:
        _, path = await transact(
            door.db, ACTOR, lambda work: invite_operator(work, OPS, Role.FINANCE_ADMIN, invited_by="root")
        )
        token = path.rpartition("/")[2]
        credential = device.create(await begin_operator(door.db, PARTY, token, BROWSER))
        return (await finish_operator(door.db, PARTY, token, BROWSER, credential, "", HOME)).secret

    lost, new = Authenticator(PARTY.origin), Authenticator(PARTY.origin)
    old_session = await invited(lost)
    secret = await invited(new)
    assert await door.find(old_session) is None
    with pytest.raises(InvalidRequest):
        await door.use_passkey(lost)
    signed_in = await door.see(secret)
    assert [one.role for one in signed_in.memberships] == [Role.FINANCE_ADMIN]
    with pytest.raises(Conflict, match="finance_admin"):
        await transact(door.db, ACTOR, lambda work: invite_operator(work, OPS, Role.OPS, invited_by="root"))
