"""Logs devices in by a code that they show (RFC 8628): a member approves it, and the device gets a management key.

The key acts for the member: it has no scope that the member's role has not, and ends with the membership. It is made
when the device fetches it, so that its text is stored nowhere.
"""

import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import AuthorizationPending, Conflict, DeviceCodeExpired, LoginDenied, NotFound, PolledTooFast
from router.identity.management_keys import validate_scopes
from router.identity.people.limits import Bound
from router.identity.principals import MemberPrincipal
from router.identity.scopes import GRANTABLE_TO_MEMBERS, Scope
from store.ids import AccountId, DeviceLoginId, MemberId, new_id, wire
from store.postgres import Database

LASTS = timedelta(minutes=10)
KEY_LASTS = timedelta(days=90)
INTERVAL_S = 5
# A poll that comes a little early is still in time.
_INTERVAL_MIN = timedelta(seconds=INTERVAL_S - 1)
# Consonants alone: no word can be read out of it, and none looks like another or like a digit (RFC 8628 §6.1).
ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
CODE_LENGTH = 8
CODES_OF_NETWORK = Bound("device codes of a network", 30, timedelta(hours=1))

_INSERT = text("""
    INSERT INTO device_logins (id, digest, user_code, client, network, scopes, created_at, expires_at)
    VALUES (:id, :digest, :code, :client, :network, :scopes, :now, :until)
""")
_BY_CODE = "SELECT * FROM device_logins WHERE user_code = :code"
_FIND = text(_BY_CODE)
_LOCK = text(f"{_BY_CODE} FOR UPDATE")
_LOCK_BY_SECRET = text("SELECT * FROM device_logins WHERE digest = :digest FOR UPDATE")
_POLLED = text("UPDATE device_logins SET polled_at = :now WHERE id = :id")
_APPROVE = text("""
    UPDATE device_logins SET state = 'approved', account_id = :account, member_id = :member, scopes = :scopes
    WHERE id = :id
""")
_MOVE = text("UPDATE device_logins SET state = :state WHERE id = :id")
_FORGET = text("DELETE FROM device_logins WHERE expires_at < now() - interval '1 day'")


class LoginState(StrEnum):
    """The life of a login; one that has expired leads nowhere, whatever its state is."""

    WAITING = "waiting"
    APPROVED = "approved"
    DENIED = "denied"
    TAKEN = "taken"


class DeviceLogin(msgspec.Struct, frozen=True):
    """A device that wants a management key, as the member who may approve it sees it.

    ``network``: where it asked from; None where that is not known. ``scopes``: wished for, and granted once approved.
    """

    id: DeviceLoginId
    user_code: str
    client: str
    network: str | None
    scopes: tuple[Scope, ...]
    state: LoginState
    expires_at: datetime
    account_id: AccountId | None
    member_id: MemberId | None
    polled_at: datetime | None


async def begin_login(
    connection: AsyncConnection, *, client: str, network: str | None, scopes: Collection[Scope], now: datetime
) -> tuple[str, DeviceLogin]:
    """Begin a login, and return the secret that the device polls with. Raises ``InvalidRequest`` for scopes."""
    validate_scopes(scopes, GRANTABLE_TO_MEMBERS)
    secret, login_id = secrets.token_urlsafe(32), DeviceLoginId(new_id())
    code = "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))
    values: dict[str, object] = {"id": login_id, "digest": _digest(secret), "code": code, "client": client}
    values |= {"network": network, "scopes": _texts(scopes), "now": now, "until": now + LASTS}
    await connection.execute(_INSERT, values)
    return secret, _login((await connection.execute(_FIND, {"code": code})).one())


async def find_login(connection: AsyncConnection, code: str, now: datetime) -> DeviceLogin:
    """Find a login by the code that the device shows, however it is typed. Raises ``NotFound``, also once expired."""
    return _open((await connection.execute(_FIND, {"code": canonical_code(code)})).one_or_none(), now)


async def approve_login(
    work: UnitOfWork, member: MemberPrincipal, code: str, scopes: Collection[Scope] | None
) -> DeviceLogin:
    """Approve a login for the member's account, with ``scopes`` or as it wished, as far as the member has them.

    Raises ``NotFound``, ``Conflict`` for one that was decided already, ``InvalidRequest`` where no scope is left.
    """
    login = await _waiting(work, code)
    wanted = frozenset(login.scopes if scopes is None else scopes)
    granted = frozenset(scope for scope in wanted if scope in member.scopes)
    validate_scopes(granted, GRANTABLE_TO_MEMBERS)
    values: dict[str, object] = {"id": login.id, "account": member.account_id, "member": member.member_id}
    await work.connection.execute(_APPROVE, values | {"scopes": _texts(granted)})
    facts: dict[str, object] = {"client": login.client, "scopes": _texts(granted)}
    work.record_change(Change("device.approve", wire(DeviceLoginId, login.id), member.account_id, after=facts))
    return _login((await work.connection.execute(_FIND, {"code": login.user_code})).one())


async def deny_login(work: UnitOfWork, member: MemberPrincipal, code: str) -> DeviceLogin:
    """Deny a login. Raises ``NotFound``, ``Conflict`` for one that was decided already."""
    login = await _waiting(work, code)
    await work.connection.execute(_MOVE, {"id": login.id, "state": LoginState.DENIED.value})
    facts: dict[str, object] = {"client": login.client}
    work.record_change(Change("device.deny", wire(DeviceLoginId, login.id), member.account_id, after=facts))
    return msgspec.structs.replace(login, state=LoginState.DENIED)


async def poll_login(connection: AsyncConnection, secret: str, now: datetime) -> DeviceLogin:
    """Look at a login with the device's secret: the login where it is approved, its row locked.

    Raises ``AuthorizationPending``, ``PolledTooFast``, ``DeviceCodeExpired`` and ``LoginDenied``.
    """
    row = (await connection.execute(_LOCK_BY_SECRET, {"digest": _digest(secret)})).one_or_none()
    login = None if row is None else _login(row)
    if login is None or login.expires_at <= now or login.state is LoginState.TAKEN:
        raise DeviceCodeExpired("The code has expired, or was used. Begin anew: `gigarouter login`.")
    if login.state is LoginState.DENIED:
        raise LoginDenied("The login was denied.")
    if login.state is LoginState.WAITING:
        if login.polled_at is not None and now - login.polled_at < _INTERVAL_MIN:
            raise PolledTooFast(f"Ask once in {INTERVAL_S} seconds.", retry_after_s=INTERVAL_S)
        raise AuthorizationPending("Nobody has approved the login yet.", retry_after_s=INTERVAL_S)
    return login


async def note_poll(db: Database, secret: str, now: datetime) -> None:
    """Note that the device has asked, in a transaction of its own: a refusal does not take it back."""
    async with db.transaction() as tx:
        row = (await tx.execute(_LOCK_BY_SECRET, {"digest": _digest(secret)})).one_or_none()
        if row is not None:
            await tx.execute(_POLLED, {"id": row.id, "now": now})


async def take_login(work: UnitOfWork, login: DeviceLogin) -> None:
    """Mark a login as used: it has led to its key."""
    await work.connection.execute(_MOVE, {"id": login.id, "state": LoginState.TAKEN.value})


async def forget_device_logins(db: Database) -> None:
    """Delete logins that ended a day ago."""
    async with db.transaction() as tx:
        await tx.execute(_FORGET)


def canonical_code(text_: str) -> str:
    """A code as it is stored, from one as people type it: ``bcdf-ghjk``."""
    return "".join(character for character in text_.upper() if character in ALPHABET)


def shown_code(code: str) -> str:
    """A code as it is shown: ``BCDF-GHJK``."""
    return f"{code[:4]}-{code[4:]}"


async def _waiting(work: UnitOfWork, code: str) -> DeviceLogin:
    login = _open((await work.connection.execute(_LOCK, {"code": canonical_code(code)})).one_or_none(), work.now)
    if login.state is not LoginState.WAITING:
        raise Conflict("This login was approved or denied already.")
    return login


def _open(row: Row[Any] | None, now: datetime) -> DeviceLogin:
    if row is None or row.expires_at <= now:
        raise NotFound("There is no login with this code. Codes last ten minutes.", param="user_code")
    return _login(row)


def _digest(secret: str) -> bytes:
    return sha256(secret.encode(errors="replace")).digest()


def _texts(scopes: Collection[Scope]) -> list[str]:
    return [scope.value for scope in Scope if scope in scopes]


def _login(row: Row[Any]) -> DeviceLogin:
    return DeviceLogin(
        id=DeviceLoginId(row.id),
        user_code=row.user_code,
        client=row.client,
        network=row.network,
        scopes=tuple(Scope(scope) for scope in row.scopes),
        state=LoginState(row.state),
        expires_at=row.expires_at,
        account_id=row.account_id,
        member_id=row.member_id,
        polled_at=row.polled_at,
    )
