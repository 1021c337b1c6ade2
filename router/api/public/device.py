"""``/v1/device``: a command line logs in by a code that it shows (RFC 8628), and a member approves it.

The two operations of the device need no key. They take JSON, with the RFC's error codes as the ``code`` of our
envelope, and forms of OAuth clients, which get errors as the RFC has them (:mod:`router.api.oauth_form`). The other
three are those of the page ``/device``, for a member who is signed in: a management key approves nothing.
"""

from datetime import datetime
from typing import Annotated, ClassVar, Literal

from fastapi import Depends, Request, Response
from pydantic import Field

from router.api.admin.request import NO_STORE
from router.api.exchange import EXCHANGE, Exchange
from router.api.fields import AccountIdText, Instant
from router.api.forms import Answer, Body, answer_of
from router.api.operation import Operations, Who, check_request
from router.api.public.account_request import AccountRead, AccountReading, AccountWrite
from router.api.public.postgres import ask_postgres
from router.changes.audit import Actor
from router.changes.transaction import UnitOfWork, transact
from router.context import RouterContext
from router.errors import InvalidRequest, NotAllowed
from router.identity.device_logins import (
    CODES_OF_NETWORK,
    INTERVAL_S,
    KEY_LASTS,
    LASTS,
    DeviceLogin,
    LoginState,
    approve_login,
    begin_login,
    deny_login,
    find_login,
    note_poll,
    poll_login,
    shown_code,
    take_login,
)
from router.identity.key_policies import clamped_expiry
from router.identity.management_keys import ManagementKeySpec, create_management_key
from router.identity.members import get_member
from router.identity.people.limits import count_try
from router.identity.principals import MemberPrincipal
from router.identity.scopes import Scope
from router.statistics.collect import text_of_network
from store.ids import AccountId, MemberId, wire

operations = Operations("device", "/v1/device", tag="Account", one="device_login", who=Who.ANYONE)
ONE = "/logins/{user_code}"
PAGE = "/device"
_Checked = Annotated[None, Depends(check_request)]


class DeviceCodeCreate(Body):
    """A device that wants to log in."""

    scope: str = Field(
        "keys:write usage:read",
        max_length=200,
        description="The scopes that it wants, with blanks: keys:write usage:read.",
    )
    client_id: str = Field(
        "", max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$", description="What it is, for the member."
    )


class DeviceCodeOut(Answer):
    """What the device shows, and what it asks with."""

    device_code: str = Field(description="The secret with which it asks for its key.")
    user_code: str = Field(description="What a member types at verification_uri.")
    verification_uri: str
    verification_uri_complete: str
    expires_in: int = Field(description="Seconds.")
    interval: int = Field(description="Seconds from one question to the next.")


class DeviceTokenCreate(Body):
    """The question whether it may."""

    device_code: str = Field(max_length=200)
    grant_type: Literal["urn:ietf:params:oauth:grant-type:device_code"] = "urn:ietf:params:oauth:grant-type:device_code"
    client_id: str = Field("", max_length=100)


class DeviceTokenOut(Answer):
    """The management key, once."""

    once: ClassVar[frozenset[str]] = frozenset({"access_token"})

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - a word of RFC 6749
    expires_in: int = Field(description="Seconds.")
    expires_at: Instant
    scope: str
    account: AccountIdText


class DeviceLoginOut(Answer):
    """A device that wants to log in, for the member who decides."""

    user_code: str
    client: str = Field(description="What the device says that it is: nobody has checked it.")
    network: str | None = Field(description="Where it asked from.")
    scopes: list[Scope] = Field(description="What it wants; what it got, once approved.")
    grantable: list[Scope] = Field(description="Of these, what the member's role has.")
    state: LoginState
    expires_at: Instant
    object: Literal["device_login"] = "device_login"


class DeviceApproval(Body):
    """What is granted."""

    scopes: tuple[Scope, ...] | None = Field(None, description="Null: what it wants, as far as the member has it.")


@operations.post("/code", verb="begin", summary="Begin a login of a device", takes_form=True)
async def begin(request: Request, response: Response, body: DeviceCodeCreate, _: _Checked) -> DeviceCodeOut:
    """A code for a member to type, and a secret for the device to ask with; both last ten minutes."""
    response.headers.update(NO_STORE)
    exchange: Exchange = request.scope[EXCHANGE]
    context: RouterContext = request.app.state.context
    exchange.holds_secret = True
    scopes = _scopes(body.scope)
    network = text_of_network(exchange.client_address())
    await count_try(context.db, CODES_OF_NETWORK, network or "")
    secret, login = await ask_postgres(
        context,
        lambda tx: begin_login(tx, client=body.client_id, network=network, scopes=scopes, now=exchange.now),
    )
    code, uri = shown_code(login.user_code), f"{request.app.state.web_url or ''}{PAGE}"
    return DeviceCodeOut(
        device_code=secret,
        user_code=code,
        verification_uri=uri,
        verification_uri_complete=f"{uri}?code={code}",
        expires_in=int(LASTS.total_seconds()),
        interval=INTERVAL_S,
    )


@operations.post("/token", verb="finish", summary="Finish a login of a device", shows_once=True, takes_form=True)
async def finish(request: Request, response: Response, body: DeviceTokenCreate, _: _Checked) -> DeviceTokenOut:
    """The management key, once a member has approved; before that 400 `authorization_pending`, or `slow_down`."""
    response.headers.update(NO_STORE)
    exchange: Exchange = request.scope[EXCHANGE]
    context: RouterContext = request.app.state.context
    try:
        login = await ask_postgres(context, lambda tx: poll_login(tx, body.device_code, exchange.now))
    finally:
        await note_poll(context.db, body.device_code, exchange.now)
    assert login.member_id is not None, "a login that is approved has its member; this is a bug"
    assert login.account_id is not None, "a login that is approved has its account; this is a bug"
    member_id, account_id = login.member_id, login.account_id

    async def command(work: UnitOfWork) -> DeviceTokenOut:
        approved = await poll_login(work.connection, body.device_code, work.now)
        member = await get_member(work.connection, member_id)
        await take_login(work, approved)
        until = await clamped_expiry(work.connection, account_id, work.now + KEY_LASTS, work.now)
        name = f"{approved.client or 'device'} of {member.email}"[:200]
        spec = ManagementKeySpec(name, frozenset(approved.scopes), until, member_id)
        key, view = await create_management_key(work, account_id, spec)
        return _token(key, approved, account_id, view.expires_at or work.now + KEY_LASTS)

    return await transact(context.db, Actor(wire(MemberId, member_id)), command)


@operations.get(
    ONE,
    verb="show",
    name="retrieve_device_login",
    summary="A login of a device",
    scope=Scope.KEYS_WRITE,
    who=Who.MANAGER,
)
async def retrieve(request: AccountRead, user_code: str) -> DeviceLoginOut:
    """What a device that shows this code says of itself, and what it wants."""
    member = _member(request)
    login = await request.read(lambda connection: find_login(connection, user_code, request.exchange.now))
    return _out(login, member)


@operations.post(
    f"{ONE}/approve",
    verb="approve",
    name="approve_device_login",
    summary="Approve a login of a device",
    scope=Scope.KEYS_WRITE,
    who=Who.MANAGER,
)
async def approve(request: AccountWrite, user_code: str, body: DeviceApproval) -> DeviceLoginOut:
    """Let the device have a management key that acts for the member, for 90 days while the membership lasts."""
    member = _member(request)

    async def command(work: UnitOfWork) -> DeviceLoginOut:
        return _out(await approve_login(work, member, user_code, body.scopes), member)

    return await request.change(command)


@operations.post(
    f"{ONE}/deny",
    verb="deny",
    name="deny_device_login",
    summary="Deny a login of a device",
    scope=Scope.KEYS_WRITE,
    who=Who.MANAGER,
)
async def deny(request: AccountWrite, user_code: str) -> DeviceLoginOut:
    """The device gets no key."""
    member = _member(request)

    async def command(work: UnitOfWork) -> DeviceLoginOut:
        return _out(await deny_login(work, member, user_code), member)

    return await request.change(command)


def _member(request: AccountReading) -> MemberPrincipal:
    if not isinstance(request.principal, MemberPrincipal):
        raise NotAllowed("A member who is signed in decides about logins; a management key makes no other one.")
    return request.principal


def _scopes(text: str) -> frozenset[Scope]:
    try:
        return frozenset(Scope(one) for one in text.split())
    except ValueError:
        raise InvalidRequest("'scope' is of scopes such as keys:write, with blanks between.", param="scope") from None


def _token(key: str, login: DeviceLogin, account_id: AccountId, expires_at: datetime) -> DeviceTokenOut:
    return DeviceTokenOut(
        access_token=key,
        expires_in=int(KEY_LASTS.total_seconds()),
        expires_at=expires_at,
        scope=" ".join(login.scopes),
        account=account_id,
    )


def _out(login: DeviceLogin, member: MemberPrincipal) -> DeviceLoginOut:
    return answer_of(
        DeviceLoginOut,
        login,
        user_code=shown_code(login.user_code),
        scopes=list(login.scopes),
        grantable=[scope for scope in login.scopes if scope in member.scopes],
    )
