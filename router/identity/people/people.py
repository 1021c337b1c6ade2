"""Finds, creates and edits people, and says of which accounts they are members."""

from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from router.changes.audit import Change
from router.changes.transaction import UnitOfWork, store_unavailable
from router.errors import InvalidRequest, NotAllowed, NotFound
from router.identity.members import Role
from router.identity.people.mails import Mail, Recipient, enqueue
from router.identity.people.values import NAME_MAX, Membership, Person
from store.ids import AccountId, MemberId, PersonId, new_id, wire
from store.postgres import STORE_FAULTS, Database

PERSON_COLUMNS = "p.id AS person_id, p.email, p.name, p.locale, p.zone, p.created_at AS person_created_at"
# A member without a person was added by the release before this one, or for an address with which nobody has signed in.
_IS_MEMBER = "(m.person_id = :person OR (m.person_id IS NULL AND lower(m.email) = lower(:email)))"
_BY_EMAIL = text(f"SELECT {PERSON_COLUMNS} FROM people p WHERE lower(p.email) = lower(:email)")  # noqa: S608 - constants
_BY_ID = text(f"SELECT {PERSON_COLUMNS} FROM people p WHERE p.id = :id AND p.erased_at IS NULL")  # noqa: S608 - constants
_LOCK = text(f"SELECT {PERSON_COLUMNS} FROM people p WHERE p.id = :id AND p.erased_at IS NULL FOR UPDATE")  # noqa: S608
_OF_MEMBER = text(
    "SELECT p.id FROM members m JOIN people p ON p.id = m.person_id OR (m.person_id IS NULL"
    " AND lower(p.email) = lower(m.email)) WHERE m.id = :member AND m.removed_at IS NULL AND p.erased_at IS NULL"
)
_INSERT = text("""
    INSERT INTO people (id, email, name, created_at) VALUES (:id, :email, :name, :now)
    ON CONFLICT (lower(email)) DO NOTHING
""")
_EDIT = text("UPDATE people SET name = :name, locale = :locale, zone = :zone WHERE id = :id")
_CLAIM = text("""
    UPDATE members SET person_id = :person
    WHERE person_id IS NULL AND removed_at IS NULL AND lower(email) = lower(:email)
""")
MEMBERSHIP_COLUMNS = """
    m.id AS member_id, m.account_id, coalesce(a.name, '') AS account_name, coalesce(a.status, '') AS account_status,
    m.role
"""
# The members that people ``p`` are.
MEMBERSHIPS_OF_PEOPLE = """
    LEFT JOIN members m ON m.removed_at IS NULL
        AND (m.person_id = p.id OR (m.person_id IS NULL AND lower(m.email) = lower(p.email)))
    LEFT JOIN accounts a ON a.id = m.account_id
"""
_MEMBERSHIPS = text(f"""
    SELECT {MEMBERSHIP_COLUMNS}
    FROM members m LEFT JOIN accounts a ON a.id = m.account_id
    WHERE m.removed_at IS NULL AND {_IS_MEMBER} ORDER BY m.id
""")  # noqa: S608 - constants
_ADDRESSES = text("""
    SELECT email FROM people WHERE id = :person
    UNION SELECT email FROM outside_identities WHERE person_id = :person AND confirmed_at IS NOT NULL
    UNION SELECT email FROM members WHERE person_id = :person AND removed_at IS NULL
""")


class PersonEdit(msgspec.Struct, frozen=True):
    """What a person says of themselves."""

    name: str
    locale: str
    zone: str


async def find_person(connection: AsyncConnection, email: str) -> Person | None:
    """Find the person with this verified address, in whichever case."""
    row = (await connection.execute(_BY_EMAIL, {"email": email})).one_or_none()
    return None if row is None else person_of(row)


async def get_person(connection: AsyncConnection, person_id: PersonId, *, locked: bool = False) -> Person:
    """Read a person, and lock the row where ``locked``. Raises ``NotFound``."""
    row = (await connection.execute(_LOCK if locked else _BY_ID, {"id": person_id})).one_or_none()
    if row is None:
        raise NotFound(f"There is no person {wire(PersonId, person_id)}.", param="person")
    return person_of(row)


async def person_of_member(db: Database, member_id: MemberId) -> PersonId:
    """The person who a member is. Raises ``NotAllowed`` where nobody has signed in as them, ``StoreUnavailable``."""
    try:
        async with db.transaction() as connection:
            known = await connection.scalar(_OF_MEMBER, {"member": member_id})
    except STORE_FAULTS as fault:
        raise store_unavailable(fault) from fault
    if known is None:
        raise NotAllowed("Nobody has signed in as the member for whom this key acts: sign in at the pages first.")
    return PersonId(known)


async def ensure_person(work: UnitOfWork, email: str) -> tuple[Person, bool]:
    """Find or create the person of a verified address, and whether it is new; members of that address are theirs."""
    values = {"id": PersonId(new_id(work.now)), "email": email, "name": "", "now": work.now}
    is_new = bool((await work.connection.execute(_INSERT, values)).rowcount)
    person = await find_person(work.connection, email)
    assert person is not None, "it is there, or was written a moment ago; this is a bug"
    if is_new:
        work.record_change(Change("person.create", wire(PersonId, person.id)))
    await work.connection.execute(_CLAIM, {"person": person.id, "email": person.email})
    return person, is_new


async def edit_person(work: UnitOfWork, person_id: PersonId, edit: PersonEdit) -> Person:
    """Change what a person says of themselves. Raises ``NotFound``, ``InvalidRequest``."""
    if len(edit.name) > NAME_MAX or not edit.name.isprintable():
        raise InvalidRequest(f"A name has at most {NAME_MAX} characters, without line breaks.", param="name")
    if not 2 <= len(edit.locale) <= 35 or not edit.locale.replace("-", "").isalnum():
        raise InvalidRequest("A language is a tag such as en or pt-BR.", param="locale")
    _require_zone(edit.zone)
    before = await get_person(work.connection, person_id, locked=True)
    await work.connection.execute(_EDIT, {"id": person_id, **msgspec.structs.asdict(edit)})
    after: dict[str, object] = {"locale": edit.locale, "zone": edit.zone}
    was: dict[str, object] = {"locale": before.locale, "zone": before.zone}
    work.record_change(Change("person.edit", wire(PersonId, person_id), None, was, after))
    return msgspec.structs.replace(before, name=edit.name, locale=edit.locale, zone=edit.zone)


async def memberships_of(connection: AsyncConnection, person: Person) -> tuple[Membership, ...]:
    """What a person is now, in each account that has not removed them, in the order in which they came."""
    rows = await connection.execute(_MEMBERSHIPS, {"person": person.id, "email": person.email})
    return tuple(map(membership_of, rows))


async def notify_person(work: UnitOfWork, person_id: PersonId, mail: Mail, *, dedupe: str) -> None:
    """Mail all addresses that we know a person by: one of them may be in somebody else's hands."""
    addresses = {
        row.email.lower(): row.email for row in await work.connection.execute(_ADDRESSES, {"person": person_id})
    }
    person = await get_person(work.connection, person_id)
    for address in addresses.values():
        await enqueue(work.connection, mail, Recipient(address, person.locale, person.zone), dedupe=dedupe)


def membership_of(row: Row[Any]) -> Membership:
    """A row with :data:`MEMBERSHIP_COLUMNS` as a membership."""
    account_id = None if row.account_id is None else AccountId(row.account_id)
    return Membership(MemberId(row.member_id), account_id, row.account_name, row.account_status, Role(row.role))


def person_of(row: Row[Any]) -> Person:
    """A row with :data:`PERSON_COLUMNS` as a person."""
    return Person(PersonId(row.person_id), row.email, row.name, row.locale, row.zone, row.person_created_at)


def _require_zone(zone: str) -> None:
    try:
        if len(zone) > 64:
            raise ValueError(zone)
        ZoneInfo(zone)
    except (ValueError, KeyError, OSError):
        raise InvalidRequest("That is no time zone. Zones are called as Europe/Berlin or UTC.", param="zone") from None
