"""Signs people in, and on somebody's first sign-in opens what they need, all in one transaction.

That is an account of which they are the owner, a key, a key for tests, and free credit, once for a person. Who was
invited or added by others finds the accounts of those instead, and may open one of their own later.
"""

import msgspec

from router.admin.own_accounts import Opened, open_own_account
from router.changes.audit import Actor, record_changes
from router.changes.transaction import UnitOfWork, transact
from router.errors import NotAllowed
from router.identity.people.codes import CheckedCode, use_code
from router.identity.people.invitations import (
    accept_operator_invitation,
    find_operator_invitation,
    invitations_of_email,
)
from router.identity.people.limits import TRIES_OF_NETWORK, count_try
from router.identity.people.outside import confirm_links
from router.identity.people.passkeys import (
    RelyingParty,
    begin_registration,
    check_passkey,
    finish_registration,
    remove_passkeys,
)
from router.identity.people.people import ensure_person, get_person, memberships_of
from router.identity.people.sessions import end_sessions, open_session
from router.identity.people.set_up import FreeCredit
from router.identity.people.values import Method, Person, Place
from store.ids import PersonId, SessionId, wire
from store.postgres import Database

# Who acts until it is known who does.
PAGES = Actor("process:web")


class Entry(msgspec.Struct, frozen=True):
    """Somebody who has just signed in: the new session's secret, and what was opened, the first time."""

    secret: str
    person: Person
    opened: Opened | None = None


async def sign_in_with_code(
    db: Database, checked: CheckedCode, place: Place, credit: FreeCredit, *, replaces: SessionId | None = None
) -> Entry:
    """Sign in whoever has the address to which a code was mailed. Raises ``InvalidRequest`` for a used code."""

    async def command(work: UnitOfWork) -> Entry:
        await use_code(work, checked)
        entry = await enter(work, checked.email, checked.method, place, credit, replaces=replaces)
        await confirm_links(work, entry.person.id, checked.browser_digest)
        return entry

    return await transact(db, PAGES, command)


async def sign_in_with_passkey(
    db: Database,
    party: RelyingParty,
    browser: str | None,
    credential: str,
    place: Place,
    *,
    replaces: SessionId | None = None,
) -> Entry:
    """Sign in whose passkey has signed this browser's challenge. Raises ``InvalidRequest``, ``RequestLimit``."""
    await count_try(db, TRIES_OF_NETWORK, place.network)

    async def command(work: UnitOfWork) -> Entry:
        person = await get_person(work.connection, await check_passkey(work, party, browser, credential))
        work.actor = actor_of(person)
        secret, _ = await open_session(work, person, Method.PASSKEY, place, replaces=replaces)
        return Entry(secret, person)

    return await transact(db, PAGES, command)


async def enter(
    work: UnitOfWork,
    email: str,
    method: Method,
    place: Place,
    credit: FreeCredit,
    *,
    replaces: SessionId | None = None,
) -> Entry:
    """Open a session for whoever has a verified address; and an account, unless they are new and awaited."""
    person, is_new = await ensure_person(work, email)
    work.actor = actor_of(person)
    opened = None
    if is_new and not await _is_awaited(work, person):
        opened = await open_own_account(work, person, credit)
    secret, _ = await open_session(work, person, method, place, replaces=replaces)
    return Entry(secret, person, opened)


async def begin_operator(db: Database, party: RelyingParty, token: str, browser: str) -> str:
    """Options with which an invited operator's authenticator makes a passkey, as JSON. Raises ``NotAllowed``."""
    async with db.transaction() as tx:
        work = UnitOfWork(tx, PAGES, db.clock.now())
        invitation = await find_operator_invitation(tx, token, work.now)
        if invitation is None:
            raise _no_invitation()
        # The machine has named the address; the person is there from now on, and may do nothing.
        person, _ = await ensure_person(work, invitation.email)
        if work.changes:
            await record_changes(tx, work.actor, work.changes)
    return await begin_registration(db, party, person, browser, excludes=False)


async def finish_operator(
    db: Database, party: RelyingParty, token: str, browser: str, credential: str, name: str, place: Place
) -> Entry:
    """Make the invited an operator with the passkey that was made, and sign them in; once.

    An operator who was invited again has lost what there was: sessions end, and older passkeys work no more. Raises
    ``NotAllowed``, ``InvalidRequest``.
    """
    await count_try(db, TRIES_OF_NETWORK, place.network)

    async def command(work: UnitOfWork) -> Entry:
        invitation = await find_operator_invitation(work.connection, token, work.now)
        if invitation is None:
            raise _no_invitation()
        person, _ = await ensure_person(work, invitation.email)
        work.actor = actor_of(person)
        await remove_passkeys(work, person.id)
        await end_sessions(work, person.id)
        await finish_registration(work, party, person.id, browser, credential, name)
        await accept_operator_invitation(work, invitation)
        secret, _ = await open_session(work, person, Method.PASSKEY, place)
        return Entry(secret, person)

    return await transact(db, PAGES, command)


def actor_of(person: Person) -> Actor:
    """A person as the audit names them, where they act for no account."""
    return Actor(wire(PersonId, person.id))


async def _is_awaited(work: UnitOfWork, person: Person) -> bool:
    """Whether somebody new is a member already, or invited."""
    if await memberships_of(work.connection, person):
        return True
    return bool(await invitations_of_email(work.connection, person.email, work.now))


def _no_invitation() -> NotAllowed:
    return NotAllowed("That invitation was used, withdrawn, or is older than a day. Have another one made.")
