"""Links people with who they are at services that sign people in, such as GitHub, by a verified e-mail address alone.

Somebody new is linked at once. Where a person has the address already, the link counts once that person has typed a
code in the browser that wanted it: a service that is wrong about an address is then nobody's way in.
"""

from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import NotFound
from router.identity.people.values import digest_of_secret
from store.ids import OutsideIdentityId, PersonId, new_id, wire

_FIND = text("""
    SELECT person_id FROM outside_identities
    WHERE issuer = :issuer AND subject = :subject AND confirmed_at IS NOT NULL FOR UPDATE
""")
_LINK = text("""
    INSERT INTO outside_identities (id, person_id, issuer, subject, email, browser_digest, created_at, confirmed_at)
    VALUES (:id, :person, :issuer, :subject, :email, :browser, :now, :confirmed_at)
    ON CONFLICT (issuer, subject) DO UPDATE SET person_id = EXCLUDED.person_id, email = EXCLUDED.email,
        browser_digest = EXCLUDED.browser_digest, created_at = EXCLUDED.created_at
    WHERE outside_identities.confirmed_at IS NULL
""")
_CONFIRM = text("""
    UPDATE outside_identities SET confirmed_at = :now, browser_digest = NULL
    WHERE person_id = :person AND browser_digest = :browser
        AND created_at > CAST(:now AS timestamptz) - interval '10 minutes'
    RETURNING issuer
""")
_USED = text("UPDATE outside_identities SET last_used_at = :now WHERE issuer = :issuer AND subject = :subject")
_LIST = text("""
    SELECT id, issuer, email, last_used_at FROM outside_identities
    WHERE person_id = :person AND confirmed_at IS NOT NULL ORDER BY id
""")
_UNLINK = text(
    "DELETE FROM outside_identities WHERE id = :id AND person_id = :person RETURNING id, issuer, email, last_used_at"
)


class OutsideIdentity(msgspec.Struct, frozen=True):
    """Who somebody is at a service: ``email`` is what that service has verified."""

    issuer: str
    subject: str
    email: str


class Link(msgspec.Struct, frozen=True):
    """A service by which a person signs in."""

    id: OutsideIdentityId
    issuer: str
    email: str
    last_used_at: datetime | None


async def find_linked(work: UnitOfWork, identity: OutsideIdentity) -> PersonId | None:
    """Find whose identity that is, and note that it is used."""
    values = {"issuer": identity.issuer, "subject": identity.subject, "now": work.now}
    person_id = await work.connection.scalar(_FIND, values)
    if person_id is None:
        return None
    await work.connection.execute(_USED, values)
    return PersonId(person_id)


async def link_identity(
    work: UnitOfWork, person_id: PersonId, identity: OutsideIdentity, *, browser: str | None = None
) -> None:
    """Link an identity with a person; one that waits for a code in ``browser`` counts for nothing yet."""
    row = {"id": new_id(work.now), "person": person_id, **msgspec.structs.asdict(identity), "now": work.now}
    row |= {"browser": None if browser is None else digest_of_secret(browser)}
    await work.connection.execute(_LINK, {**row, "confirmed_at": work.now if browser is None else None})
    _record(work, "outside_identity.link" if browser is None else "outside_identity.offer", person_id, identity.issuer)


async def confirm_links(work: UnitOfWork, person_id: PersonId, browser_digest: bytes) -> None:
    """Make what waits in a browser count, where a person has typed a code."""
    values = {"person": person_id, "browser": browser_digest, "now": work.now}
    for row in (await work.connection.execute(_CONFIRM, values)).all():
        _record(work, "outside_identity.link", person_id, row.issuer)


async def list_links(connection: AsyncConnection, person_id: PersonId) -> list[Link]:
    """List the services by which a person signs in."""
    return [Link(*row) for row in await connection.execute(_LIST, {"person": person_id})]


async def unlink(work: UnitOfWork, person_id: PersonId, link_id: OutsideIdentityId) -> Link:
    """End that a service signs a person in, and say which. Raises ``NotFound``, for those of others too."""
    row = (await work.connection.execute(_UNLINK, {"id": link_id, "person": person_id})).one_or_none()
    if row is None:
        raise NotFound("There is no such service among yours.", param="identity_id")
    _record(work, "outside_identity.unlink", person_id, row.issuer)
    return Link(*row)


def _record(work: UnitOfWork, action: str, person_id: PersonId, issuer: str) -> None:
    work.record_change(Change(action, wire(PersonId, person_id), after={"issuer": issuer}))
