"""Signs in whom another service has identified; whoever has the address here already confirms it by a code first."""

from router.admin.sign_in import PAGES, Entry, actor_of, enter
from router.changes.transaction import UnitOfWork, transact
from router.identity.people.outside import OutsideIdentity, find_linked, link_identity
from router.identity.people.people import find_person, get_person
from router.identity.people.sessions import open_session
from router.identity.people.set_up import FreeCredit
from router.identity.people.values import Method, Place
from store.ids import SessionId
from store.postgres import Database


async def sign_in_outside(
    db: Database,
    identity: OutsideIdentity,
    browser: str,
    place: Place,
    credit: FreeCredit,
    *,
    replaces: SessionId | None = None,
) -> Entry | None:
    """Sign in; None where a person has the address and the link waits for a code, typed in ``browser``."""

    async def command(work: UnitOfWork) -> Entry | None:
        linked = await find_linked(work, identity)
        if linked is not None:
            person = await get_person(work.connection, linked)
            work.actor = actor_of(person)
            secret, _ = await open_session(work, person, Method.OUTSIDE, place, replaces=replaces)
            return Entry(secret, person)
        known = await find_person(work.connection, identity.email)
        if known is not None:
            await link_identity(work, known.id, identity, browser=browser)
            return None
        entry = await enter(work, identity.email, Method.OUTSIDE, place, credit, replaces=replaces)
        await link_identity(work, entry.person.id, identity)
        return entry

    return await transact(db, PAGES, command)
