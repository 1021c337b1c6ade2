"""Opens, finds, lists and ends sessions. What somebody may is read from Postgres with each request.

A session ends two weeks after it was last seen, 90 days after it began, twelve hours after where it is an operator's,
and when it is ended. A secret of 256 random bits is in the browser's cookie, and its SHA-256 here.
"""

import secrets
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import NotFound
from router.identity.members import OPERATOR_ROLES
from router.identity.people.mails import SessionStarted
from router.identity.people.people import (
    MEMBERSHIP_COLUMNS,
    MEMBERSHIPS_OF_PEOPLE,
    PERSON_COLUMNS,
    membership_of,
    memberships_of,
    notify_person,
    person_of,
)
from router.identity.people.values import (
    DEVICE_MAX,
    IDLE,
    LIFE,
    OPERATOR_LIFE,
    Method,
    OpenView,
    Person,
    Place,
    Session,
    SignedIn,
    digest_of_secret,
    is_secret,
)
from store.ids import AccountId, AccountViewId, PersonId, SessionId, new_id, wire
from store.postgres import Database

SEEN_EVERY = timedelta(minutes=1)
KNOWN_FOR = timedelta(days=90)
_METHODS = {
    Method.CODE: "a code by e-mail",
    Method.LINK: "a link by e-mail",
    Method.PASSKEY: "a passkey",
    Method.OUTSIDE: "another service",
}
_COLUMNS = "s.id, s.person_id, s.method, s.device, s.network, s.created_at, s.last_seen_at, s.expires_at"
_OPEN = "s.ended_at IS NULL AND s.expires_at > :now AND s.last_seen_at > :seen_after"
_INSERT = text("""
    INSERT INTO sessions (id, digest, person_id, method, device, network, created_at, last_seen_at, expires_at)
    VALUES (:id, :digest, :person, :method, :device, :network, :now, :now, :expires_at)
""")
_FIND = text(f"""
    SELECT {_COLUMNS}, {PERSON_COLUMNS}, {MEMBERSHIP_COLUMNS},
        v.id AS view_id, v.account_id AS view_account_id, seen.name AS view_account_name,
        v.expires_at AS view_expires_at
    FROM sessions s JOIN people p ON p.id = s.person_id {MEMBERSHIPS_OF_PEOPLE}
        LEFT JOIN account_views v ON m.account_id IS NULL AND v.member_id = m.id AND v.ended_at IS NULL
            AND v.expires_at > :now AND (v.session_id IS NULL OR v.session_id = s.id)
        LEFT JOIN accounts seen ON seen.id = v.account_id
    WHERE s.digest = :digest AND p.erased_at IS NULL AND {_OPEN} ORDER BY m.id
""")  # noqa: S608 - constants
_LIST = text(f"SELECT {_COLUMNS} FROM sessions s WHERE s.person_id = :person AND {_OPEN} ORDER BY s.id DESC LIMIT 200")  # noqa: S608
_SEEN = text("UPDATE sessions SET last_seen_at = :now WHERE id = :id AND last_seen_at <= :before AND ended_at IS NULL")
_END = text("UPDATE sessions SET ended_at = :now WHERE id = :id AND person_id = :person AND ended_at IS NULL")
_END_ALL = text("""
    UPDATE sessions SET ended_at = :now
    WHERE person_id = :person AND ended_at IS NULL AND id IS DISTINCT FROM CAST(:but AS uuid) RETURNING id
""")
_NETWORKS = text("""
    SELECT count(*) AS all, count(*) FILTER (WHERE network = :network) AS here,
        EXISTS (SELECT FROM passkeys WHERE person_id = :person) AS has_passkeys FROM sessions
    WHERE person_id = :person AND created_at > :since
""")
_FORGET = text("""
    DELETE FROM sessions WHERE expires_at < now() - interval '90 days' OR ended_at < now() - interval '90 days'
        OR last_seen_at < now() - interval '104 days'
""")


async def open_session(
    work: UnitOfWork, person: Person, method: Method, place: Place, *, replaces: SessionId | None = None
) -> tuple[str, Session]:
    """Open a session and return the cookie's secret. ``replaces`` is the browser's session before, which ends."""
    secret, session_id = secrets.token_urlsafe(32), SessionId(new_id(work.now))
    roles = {one.role for one in await memberships_of(work.connection, person)}
    is_operator = method is Method.PASSKEY and bool(roles & OPERATOR_ROLES)
    expires_at = work.now + (OPERATOR_LIFE if is_operator else LIFE)
    device, network = place.device[:DEVICE_MAX], place.network
    await _notify(work, person, session_id, method, place)
    row = {"id": session_id, "digest": digest_of_secret(secret), "person": person.id, "method": method.value}
    row |= {"device": device, "network": network, "now": work.now, "expires_at": expires_at}
    await work.connection.execute(_INSERT, row)
    if replaces is not None:
        await work.connection.execute(_END, {"id": replaces, "person": person.id, "now": work.now})
    after: dict[str, object] = {"session": wire(SessionId, session_id), "method": method.value, "device": device}
    work.record_change(Change("session.open", wire(PersonId, person.id), after=after))
    return secret, Session(session_id, person.id, method, device, network, work.now, work.now, expires_at)


async def find_session(connection: AsyncConnection, secret: str | None, now: datetime) -> SignedIn | None:
    """Find who is signed in with a cookie's secret, and what they may now; None where it is no open session."""
    if secret is None or not is_secret(secret):
        return None
    rows = (await connection.execute(_FIND, {"digest": digest_of_secret(secret), **_instants(now)})).all()
    if not rows:
        return None
    memberships = tuple(membership_of(row) for row in rows if row.member_id is not None)
    view = next((_view(row) for row in rows if row.view_id is not None), None)
    return SignedIn(_session(rows[0]), person_of(rows[0]), memberships, view)


async def note_seen(db: Database, session: Session) -> None:
    """Note that a session is in use, at most once a minute."""
    now = db.clock.now()
    if now - session.last_seen_at >= SEEN_EVERY:
        async with db.transaction() as tx:
            await tx.execute(_SEEN, {"id": session.id, "now": now, "before": now - SEEN_EVERY})


async def list_sessions(connection: AsyncConnection, person_id: PersonId, now: datetime) -> list[Session]:
    """List a person's open sessions, the newest first."""
    rows = await connection.execute(_LIST, {"person": person_id, **_instants(now)})
    return [_session(row) for row in rows]


async def end_session(work: UnitOfWork, person_id: PersonId, session_id: SessionId) -> None:
    """End one session of a person. Raises ``NotFound``, for those of others, too."""
    values = {"id": session_id, "person": person_id, "now": work.now}
    if not (await work.connection.execute(_END, values)).rowcount:
        raise NotFound(f"There is no open session {wire(SessionId, session_id)}.", param="session")
    after: dict[str, object] = {"session": wire(SessionId, session_id)}
    work.record_change(Change("session.end", wire(PersonId, person_id), after=after))


async def end_sessions(work: UnitOfWork, person_id: PersonId, *, but: SessionId | None = None) -> int:
    """End all sessions of a person, but perhaps the one at hand; how many those were."""
    values = {"person": person_id, "now": work.now, "but": but}
    ended = len((await work.connection.execute(_END_ALL, values)).all())
    work.record_change(Change("session.end_all", wire(PersonId, person_id), after={"sessions": ended}))
    return ended


async def forget_sessions(db: Database) -> None:
    """Delete sessions that ended 90 days ago."""
    async with db.transaction() as tx:
        await tx.execute(_FORGET)


async def _notify(work: UnitOfWork, person: Person, session_id: SessionId, method: Method, place: Place) -> None:
    """Mail a person who has signed in before and never from this network, or who has passkeys and used none."""
    values = {"person": person.id, "network": place.network, "since": work.now - KNOWN_FOR}
    seen = (await work.connection.execute(_NETWORKS, values)).one()
    is_recovery = method is not Method.PASSKEY and seen.has_passkeys
    if is_recovery or (seen.all and not seen.here):
        mail = SessionStarted(at=work.now, method=_METHODS[method], device=place.device, place=place.network)
        await notify_person(work, person.id, mail, dedupe=f"session:{session_id.hex}")


def _instants(now: datetime) -> dict[str, object]:
    return {"now": now, "seen_after": now - IDLE}


def _view(row: Row[Any]) -> OpenView:
    account_id = AccountId(row.view_account_id)
    return OpenView(AccountViewId(row.view_id), account_id, row.view_account_name, row.view_expires_at)


def _session(row: Row[Any]) -> Session:
    return Session(
        SessionId(row.id),
        PersonId(row.person_id),
        Method(row.method),
        row.device,
        row.network,
        row.created_at,
        row.last_seen_at,
        row.expires_at,
    )
