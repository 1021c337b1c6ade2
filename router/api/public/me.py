"""``/v1/me``: a person, whichever their accounts: who they are, where they are signed in, with which passkeys.

A page's reader is the person of the session; a key of `gigarouter login` acts for whoever approved it, with the scope
``person:read`` or ``person:write``. A passkey is made in a browser alone, at ``/me/passkeys``.
"""

from typing import Annotated, ClassVar, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from router.api.fields import AccountIdText, Instant, MemberIdText, PasskeyIdText, PersonIdText, SessionIdText
from router.api.forms import Answer, Form, Page, PageQuery, Patch, Resource, answer_of
from router.api.forms import Body as Posted
from router.api.operation import Operations, Who
from router.api.public.person_request import PersonRead, PersonWrite
from router.changes.transaction import UnitOfWork
from router.errors import InvalidRequest
from router.identity.members import Role
from router.identity.people.own_passkeys import Passkey, list_passkeys, remove_passkey, rename_passkey
from router.identity.people.people import PersonEdit, edit_person, get_person, memberships_of
from router.identity.people.sessions import end_session, end_sessions, list_sessions
from router.identity.people.values import Method, Person, Session
from router.identity.principals import PersonPrincipal
from router.identity.scopes import Scope
from store.ids import PasskeyId, SessionId, wire

operations = Operations("me", "/v1/me", tag="You", one="me", who=Who.PERSON)
sessions = Operations("sessions", "/v1/me/sessions", tag="You", who=Who.PERSON)
passkeys = Operations("passkeys", "/v1/me/passkeys", tag="You", who=Who.PERSON)


class OwnMembershipOut(Answer):
    """An account that the person is in."""

    account: AccountIdText
    account_name: str
    account_status: str
    member: MemberIdText
    role: Role


class PersonFacts(Form):
    """What people say of themselves."""

    name: str = Field(description="At most 200 characters, without line breaks; may be empty.")
    locale: str = Field(description="The language of mails, a tag such as en or pt-BR.")
    zone: str = Field(description="The time zone of pages and mails, such as Europe/Berlin.")


class PersonChange(PersonFacts, Patch):
    """What is given is changed."""


class MeOut(PersonFacts, Resource):
    """A person and the accounts that they are in."""

    volatile: ClassVar[frozenset[str]] = frozenset({"accounts"})

    id: PersonIdText
    email: str
    accounts: tuple[OwnMembershipOut, ...]
    created_at: Instant
    object: Literal["person"] = "person"


class SessionOut(Answer):
    """A browser in which the person is signed in."""

    columns: ClassVar[tuple[str, ...]] = ("id", "device", "network", "method", "created_at", "last_seen_at")

    id: SessionIdText
    device: str = Field(description="The browser and its system, as it calls itself.")
    network: str = Field(description="Where from, /24 of IPv4 and /56 of IPv6.")
    method: Method
    is_this_one: bool = Field(description="Whether this request came in it.")
    created_at: Instant
    last_seen_at: Instant
    expires_at: Instant
    object: Literal["session"] = "session"


class SessionsEnded(Answer):
    """Which browsers were signed out."""

    ended: int = Field(description="How many.")
    object: Literal["sessions_ended"] = "sessions_ended"


class PasskeyName(Form):
    """What a passkey is called."""

    name: str = Field(description="1 to 100 characters, without line breaks.")


class PasskeyRename(PasskeyName, Posted):
    """Another name."""


class PasskeyOut(PasskeyName, Answer):
    """A passkey."""

    columns: ClassVar[tuple[str, ...]] = ("id", "name", "is_synced", "created_at", "last_used_at")

    id: PasskeyIdText
    is_synced: bool = Field(description="Whether its maker says that there is a copy elsewhere.")
    created_at: Instant
    last_used_at: Instant | None
    object: Literal["passkey"] = "passkey"


class PasskeyGone(Answer):
    """A passkey that was removed."""

    id: PasskeyIdText
    removed: Literal[True] = True
    object: Literal["passkey"] = "passkey"


@operations.get("", verb="show", scope=Scope.PERSON_READ, summary="Who am I, and in which accounts?")
async def retrieve(request: PersonRead) -> MeOut:
    """The person, with their role in each account."""

    async def ask(connection: AsyncConnection) -> MeOut:
        return await _me(connection, await get_person(connection, request.person.person_id))

    return await request.read(ask)


@operations.patch("", verb="edit", scope=Scope.PERSON_WRITE, summary="Change what you say of yourself")
async def edit(request: PersonWrite, body: PersonChange) -> MeOut:
    """Change what is given; If-Match is compared where it is sent."""
    given = body.given()
    if not given:
        raise InvalidRequest("Give what is to be changed: 'name', 'locale' or 'zone'.", param="name")

    async def command(work: UnitOfWork) -> MeOut:
        now = await get_person(work.connection, request.person.person_id, locked=True)
        facts = {name: given.get(name, getattr(now, name)) for name in ("name", "locale", "zone")}
        return await _me(work.connection, await edit_person(work, now.id, PersonEdit(**facts)))

    async def current(work: UnitOfWork) -> MeOut:
        return await _me(work.connection, await get_person(work.connection, request.person.person_id, locked=True))

    return await request.change(command, current=current)


@sessions.get("", verb="list", name="list_own_sessions", scope=Scope.PERSON_READ, summary="Where you are signed in")
async def list_own_sessions(request: PersonRead, query: Annotated[PageQuery, Query()]) -> Page[SessionOut]:
    """The browsers in which you are signed in."""

    async def ask(connection: AsyncConnection) -> list[SessionOut]:
        found = await list_sessions(connection, request.person.person_id, request.exchange.now)
        return [_session(one, request.person) for one in query.cut(found, lambda one: wire(SessionId, one.id))]

    return request.page(query, await request.read(ask), lambda one: wire(SessionId, one.id))


@sessions.post(
    "/{session_id}/end", verb="end", name="end_own_session", scope=Scope.PERSON_WRITE, summary="Sign a browser out"
)
async def end(request: PersonWrite, session_id: SessionIdText) -> SessionsEnded:
    """Sign one of your browsers out."""

    async def command(work: UnitOfWork) -> SessionsEnded:
        await end_session(work, request.person.person_id, session_id)
        return SessionsEnded(ended=1)

    return await request.change(command)


@sessions.post(
    "/end-others",
    verb="end-others",
    name="end_other_sessions",
    scope=Scope.PERSON_WRITE,
    summary="Sign all other browsers out",
)
async def end_others(request: PersonWrite) -> SessionsEnded:
    """Sign out every browser but the one that this request came in; all, where a key sends it."""

    async def command(work: UnitOfWork) -> SessionsEnded:
        person = request.person
        return SessionsEnded(ended=await end_sessions(work, person.person_id, but=person.session_id))

    return await request.change(command)


@passkeys.get("", verb="list", name="list_own_passkeys", scope=Scope.PERSON_READ, summary="List your passkeys")
async def list_own_passkeys(request: PersonRead, query: Annotated[PageQuery, Query()]) -> Page[PasskeyOut]:
    """Your passkeys, the oldest first."""

    async def ask(connection: AsyncConnection) -> list[PasskeyOut]:
        found = await list_passkeys(connection, request.person.person_id)
        return [_passkey(one) for one in query.cut(found, lambda one: wire(PasskeyId, one.id))]

    return request.page(query, await request.read(ask), lambda one: wire(PasskeyId, one.id))


@passkeys.post(
    "/{passkey_id}/rename",
    verb="rename",
    name="rename_own_passkey",
    scope=Scope.PERSON_WRITE,
    summary="Rename a passkey",
)
async def rename(request: PersonWrite, passkey_id: PasskeyIdText, body: PasskeyRename) -> PasskeyOut:
    """Give one of your passkeys another name."""

    async def command(work: UnitOfWork) -> PasskeyOut:
        return _passkey(await rename_passkey(work, request.person.person_id, passkey_id, body.name))

    return await request.change(command)


@passkeys.delete(
    "/{passkey_id}", verb="remove", name="remove_own_passkey", scope=Scope.PERSON_WRITE, summary="Remove a passkey"
)
async def remove(request: PersonWrite, passkey_id: PasskeyIdText) -> PasskeyGone:
    """Remove one of your passkeys; all of your addresses are mailed."""

    async def command(work: UnitOfWork) -> PasskeyGone:
        await remove_passkey(work, request.person.person_id, passkey_id)
        return PasskeyGone(id=passkey_id)

    return await request.change(command)


async def _me(connection: AsyncConnection, person: Person) -> MeOut:
    accounts = tuple(
        OwnMembershipOut(
            account=one.account_id,
            account_name=one.account_name,
            account_status=one.account_status,
            member=one.member_id,
            role=one.role,
        )
        for one in await memberships_of(connection, person)
        if one.account_id is not None
    )
    return answer_of(MeOut, person, accounts=accounts)


def _session(session: Session, person: PersonPrincipal) -> SessionOut:
    return answer_of(SessionOut, session, is_this_one=session.id == person.session_id)


def _passkey(passkey: Passkey) -> PasskeyOut:
    return answer_of(PasskeyOut, passkey)
