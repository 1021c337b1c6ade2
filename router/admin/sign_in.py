"""Signs people in, and on somebody's first sign-in opens what they need, all in one transaction.

That is an account of which they are the owner, a key, a key for tests, and free credit, once for a person. Who was
invited or added by others finds the accounts of those instead, and may open one of their own later.
"""

from datetime import datetime
from hashlib import sha256

import msgspec
from sqlalchemy import text

from billing.credits import GrantKind
from billing.money import NanoUSD, to_usd
from router.admin.accounts import open_account
from router.admin.credit import give_credit
from router.changes.audit import Actor, record_changes
from router.changes.transaction import UnitOfWork, transact
from router.errors import Conflict, NotAllowed
from router.identity.key_commands import IssuedKey, create_key
from router.identity.key_views import KeySpec
from router.identity.members import Role, add_member
from router.identity.people.codes import CheckedCode, use_code
from router.identity.people.invitations import (
    accept_operator_invitation,
    find_operator_invitation,
    invitations_of_email,
)
from router.identity.people.limits import TRIES_OF_NETWORK, count_try
from router.identity.people.mails import Welcome
from router.identity.people.outside import confirm_links
from router.identity.people.passkeys import (
    RelyingParty,
    begin_registration,
    check_passkey,
    finish_registration,
    remove_passkeys,
)
from router.identity.people.people import ensure_person, get_person, memberships_of, notify_person
from router.identity.people.sessions import end_sessions, open_session
from router.identity.people.set_up import FreeCredit
from router.identity.people.values import Method, Person, Place
from store.ids import AccountId, PersonId, SessionId, wire
from store.postgres import Database

# Who acts until it is known who does.
PAGES = Actor("process:web")
FIRST_KEY, TEST_KEY = "first key", "test key"
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('gigarouter welcome ' || :source, 0))")
_WAS_GIVEN = text("SELECT EXISTS (SELECT FROM grants WHERE source_ref = :source)")
_OWNED = text("""
    SELECT count(*) FROM members m JOIN accounts a ON a.id = m.account_id
    WHERE m.person_id = :person AND m.role = 'owner' AND m.removed_at IS NULL AND a.status <> 'closed'
""")
OWN_ACCOUNTS_MAX = 5


class Opened(msgspec.Struct, frozen=True):
    """An account that was opened for a person, with its keys' texts, which are shown this once."""

    account_id: AccountId
    account_name: str
    key: IssuedKey
    test_key: IssuedKey
    credit: NanoUSD
    credit_until: datetime | None


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


async def open_own_account(work: UnitOfWork, person: Person, credit: FreeCredit) -> Opened:
    """Open an account of which a person is the owner, with two keys, and free credit if they never had any.

    Raises ``Conflict`` where they own five.
    """
    if int(await work.connection.scalar(_OWNED, {"person": person.id}) or 0) >= OWN_ACCOUNTS_MAX:
        raise Conflict(f"You own {OWN_ACCOUNTS_MAX} accounts. Close one first, or write to us.")
    account = await open_account(work, person.name or person.email.partition("@")[0])
    await add_member(work, account.id, person.email, Role.OWNER, person.name)
    key = await create_key(work, account.id, KeySpec(name=FIRST_KEY), is_mailed=False)
    test_key = await create_key(work, account.id, KeySpec(name=TEST_KEY), is_test=True, is_mailed=False)
    until = await _give_free_credit(work, person, account.id, credit)
    amount = credit.amount if until else NanoUSD(0)
    mail = Welcome(account_name=account.name, credit_usd=to_usd(amount) if amount else "", credit_until=until)
    await notify_person(work, person.id, mail, dedupe=f"welcome:{account.id.hex}")
    return Opened(account.id, account.name, key, test_key, amount, until)


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


async def _give_free_credit(
    work: UnitOfWork, person: Person, account_id: AccountId, credit: FreeCredit
) -> datetime | None:
    """Give free credit once for a mailbox, whatever is written behind a plus; until when it lasts."""
    if not credit.amount:
        return None
    local, _, domain = person.email.lower().rpartition("@")
    mailbox = f"{local.partition('+')[0] or local}@{domain}"
    # Of an erased person nothing else is left, and this names nobody.
    source = f"welcome:{sha256(mailbox.encode()).hexdigest()}"
    await work.connection.execute(_LOCK, {"source": source})
    if await work.connection.scalar(_WAS_GIVEN, {"source": source}):
        return None
    until = work.now + credit.lasts
    kind = GrantKind.PROMOTIONAL
    await give_credit(work, account_id, credit.amount, kind, source=source, expires_at=until, note="Free credit.")
    return until


def _no_invitation() -> NotAllowed:
    return NotAllowed("That invitation was used, withdrawn, or is older than a day. Have another one made.")
