"""Registers and checks passkeys (WebAuthn level 3), by the one library that reads them.

A person has several, each with a name. A counter that does not grow is noted and not refused: synced passkeys do not
count. For operators a passkey is the only way in, so only somebody who has signed in with one adds another.
"""

import secrets
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import (
    parse_authentication_credential_json,
    parse_client_data_json,
    parse_registration_credential_json,
)
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticationCredential,
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    RegistrationCredential,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, InvalidRequest, NotAllowed
from router.identity.members import OPERATOR_ROLES
from router.identity.people.limits import PASSKEYS_OF_NETWORK, count_try
from router.identity.people.mails import PasskeyAdded
from router.identity.people.own_passkeys import LIST_PASSKEYS, PASSKEY_COLUMNS, Passkey
from router.identity.people.people import notify_person
from router.identity.people.values import Person, SignedIn, digest_of_secret, is_secret
from store.ids import PasskeyId, PersonId, new_id, wire
from store.postgres import Database

CHALLENGE_LASTS = timedelta(minutes=5)
PASSKEYS_MAX, CREDENTIAL_BYTES_MAX = 20, 16_384
REFUSED = "That passkey could not be checked. Try again, or sign in by e-mail."

_CHALLENGE = text("""
    INSERT INTO passkey_challenges (challenge, browser_digest, purpose, person_id, expires_at)
    VALUES (:challenge, :browser, :purpose, :person, :expires_at)
""")
_TAKE_CHALLENGE = text("""
    DELETE FROM passkey_challenges
    WHERE challenge = :challenge AND browser_digest = :browser AND purpose = :purpose AND expires_at > :now
    RETURNING person_id
""")
_BY_CREDENTIAL = text(f"SELECT {PASSKEY_COLUMNS} FROM passkeys WHERE credential_id = :credential FOR UPDATE")  # noqa: S608
_INSERT = text("""
    INSERT INTO passkeys (id, person_id, credential_id, public_key, sign_count, is_synced, transports, name, created_at)
    VALUES (:id, :person, :credential, :public_key, :count, :synced, :transports, :name, :now)
    ON CONFLICT (credential_id) DO NOTHING
""")
_USED = text("""
    UPDATE passkeys SET sign_count = greatest(sign_count, :count), is_synced = :synced, last_used_at = :now,
        stalled_at = CASE WHEN :stalled THEN CAST(:now AS timestamptz) ELSE stalled_at END
    WHERE id = :id
""")
_REMOVE_ALL = text("DELETE FROM passkeys WHERE person_id = :person")


class RelyingParty(msgspec.Struct, frozen=True):
    """Who wants the signature: the pages' host name, what it is called, and their origin with scheme and port."""

    id: str
    name: str
    origin: str


def require_may_add(signed_in: SignedIn, now: datetime) -> None:
    """Raise ``NotAllowed`` where an operator did not sign in with a passkey: they are let in on the machine alone."""
    is_operator = any(one.role in OPERATOR_ROLES for one in signed_in.memberships)
    if is_operator and signed_in.operator_membership(now) is None:
        raise NotAllowed(
            "An operator's passkey is added after signing in with another, or by an invitation that is made on the "
            "machine: `gigarouter admin operators invite`."
        )


async def begin_registration(
    db: Database, party: RelyingParty, person: Person, browser: str, *, excludes: bool = True
) -> str:
    """Options for ``navigator.credentials.create``, as JSON. ``browser`` is a secret of its cookie.

    ``excludes``: an authenticator that has one of the person's passkeys makes no second one.
    """
    async with db.transaction() as tx:
        existing = (await tx.execute(LIST_PASSKEYS, {"person": person.id})).all()
        if len(existing) >= PASSKEYS_MAX:
            raise Conflict(f"You have {PASSKEYS_MAX} passkeys. Remove one first.")
        challenge = await _challenge(tx, db.clock.now(), browser, "register", person.id)
    options = generate_registration_options(
        rp_id=party.id,
        rp_name=party.name,
        user_id=person.id.bytes,
        user_name=person.email,
        user_display_name=person.name or person.email,
        challenge=challenge,
        # Without a resident key nobody could sign in without typing an address first.
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
        ),
        exclude_credentials=[PublicKeyCredentialDescriptor(id=row.credential_id) for row in existing if excludes],
    )
    return options_to_json(options)


async def finish_registration(
    work: UnitOfWork, party: RelyingParty, person_id: PersonId, browser: str, credential: str, name: str
) -> Passkey:
    """Register what the authenticator made; all of the person's addresses are told.

    Raises ``InvalidRequest``, and ``Conflict`` for a passkey that is registered.
    """
    name = name.strip() or "Passkey"
    if len(name) > 100 or not name.isprintable():
        raise InvalidRequest("A passkey's name has at most 100 characters, without line breaks.", param="name")
    parsed, challenge = _parse_registration(credential)
    if await _take_challenge(work, challenge, browser, "register") != person_id:
        raise InvalidRequest("That took longer than five minutes, or was begun in another browser. Begin again.")
    try:
        verified = verify_registration_response(
            credential=parsed,
            expected_challenge=challenge,
            expected_rp_id=party.id,
            expected_origin=party.origin,
            require_user_verification=True,
        )
    except WebAuthnException as fault:
        raise InvalidRequest(REFUSED, detail=str(fault)) from fault
    passkey_id, transports = PasskeyId(new_id(work.now)), parsed.response.transports or []
    row = {"id": passkey_id, "person": person_id, "credential": verified.credential_id, "name": name, "now": work.now}
    row |= {"public_key": verified.credential_public_key, "count": verified.sign_count}
    row |= {"synced": verified.credential_backed_up, "transports": [one.value for one in transports]}
    if not (await work.connection.execute(_INSERT, row)).rowcount:
        raise Conflict("That passkey is registered already.")
    after: dict[str, object] = {"passkey": wire(PasskeyId, passkey_id), "name": name}
    work.record_change(Change("passkey.add", wire(PersonId, person_id), after=after))
    dedupe = f"passkey-added:{passkey_id.hex}"
    await notify_person(work, person_id, PasskeyAdded(name=name, at=work.now), dedupe=dedupe)
    return Passkey(passkey_id, name, verified.credential_backed_up, work.now, None, None)


async def begin_sign_in(db: Database, party: RelyingParty, browser: str | None, network: str) -> tuple[str, str]:
    """Options for ``navigator.credentials.get``, as JSON, and the secret for the browser's cookie.

    They name nobody: the authenticator offers the passkeys that it has. Raises ``RequestLimit``.
    """
    await count_try(db, PASSKEYS_OF_NETWORK, network)
    secret = browser if browser is not None and is_secret(browser) else secrets.token_urlsafe(32)
    async with db.transaction() as tx:
        challenge = await _challenge(tx, db.clock.now(), secret, "sign_in", None)
    required = UserVerificationRequirement.REQUIRED
    options = generate_authentication_options(rp_id=party.id, challenge=challenge, user_verification=required)
    return options_to_json(options), secret


async def check_passkey(work: UnitOfWork, party: RelyingParty, browser: str | None, credential: str) -> PersonId:
    """Whose passkey has signed this browser's challenge. Raises ``InvalidRequest``."""
    parsed, challenge = _parse_authentication(credential)
    if browser is None or not is_secret(browser):
        raise InvalidRequest(REFUSED, detail="no browser's secret")
    await _take_challenge(work, challenge, browser, "sign_in")
    row = (await work.connection.execute(_BY_CREDENTIAL, {"credential": parsed.raw_id})).one_or_none()
    handle = parsed.response.user_handle
    if row is None or (handle is not None and handle != row.person_id.bytes):
        raise InvalidRequest("That passkey is not known here: it may have been removed. Sign in by e-mail.")
    try:
        verified = verify_authentication_response(
            credential=parsed,
            expected_challenge=challenge,
            expected_rp_id=party.id,
            expected_origin=party.origin,
            credential_public_key=row.public_key,
            # The library refuses a counter that does not grow; it is noted below.
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    except WebAuthnException as fault:
        raise InvalidRequest(REFUSED, detail=str(fault)) from fault
    count = verified.new_sign_count
    has_stalled = (count > 0 or row.sign_count > 0) and count <= row.sign_count
    values = {"id": row.id, "count": count, "synced": verified.credential_backed_up, "now": work.now}
    await work.connection.execute(_USED, {**values, "stalled": has_stalled})
    return PersonId(row.person_id)


async def remove_passkeys(work: UnitOfWork, person_id: PersonId) -> None:
    """Remove all passkeys of a person who is let in anew."""
    removed = (await work.connection.execute(_REMOVE_ALL, {"person": person_id})).rowcount
    if removed:
        work.record_change(Change("passkey.remove_all", wire(PersonId, person_id), after={"passkeys": removed}))


async def _challenge(
    tx: AsyncConnection, now: datetime, browser: str, purpose: str, person_id: PersonId | None
) -> bytes:
    challenge = secrets.token_bytes(32)
    row = {"challenge": challenge, "browser": digest_of_secret(browser), "purpose": purpose, "person": person_id}
    await tx.execute(_CHALLENGE, {**row, "expires_at": now + CHALLENGE_LASTS})
    return challenge


async def _take_challenge(work: UnitOfWork, challenge: bytes, browser: str, purpose: str) -> PersonId | None:
    """Use a challenge up; whom it was for. Raises ``InvalidRequest`` for one of another browser, or used before."""
    row = {"challenge": challenge, "browser": digest_of_secret(browser), "purpose": purpose, "now": work.now}
    taken = (await work.connection.execute(_TAKE_CHALLENGE, row)).one_or_none()
    if taken is None:
        raise InvalidRequest(REFUSED, detail="the challenge is unknown, used, late, or of another browser")
    return None if taken.person_id is None else PersonId(taken.person_id)


def _parse_registration(credential: str) -> tuple[RegistrationCredential, bytes]:
    try:
        if len(credential) > CREDENTIAL_BYTES_MAX:
            raise InvalidRequest(REFUSED, detail="too long")
        parsed = parse_registration_credential_json(credential)
        return parsed, parse_client_data_json(parsed.response.client_data_json).challenge
    except (WebAuthnException, ValueError) as fault:
        raise InvalidRequest(REFUSED, detail=str(fault)) from fault


def _parse_authentication(credential: str) -> tuple[AuthenticationCredential, bytes]:
    try:
        if len(credential) > CREDENTIAL_BYTES_MAX:
            raise InvalidRequest(REFUSED, detail="too long")
        parsed = parse_authentication_credential_json(credential)
        return parsed, parse_client_data_json(parsed.response.client_data_json).challenge
    except (WebAuthnException, ValueError) as fault:
        raise InvalidRequest(REFUSED, detail=str(fault)) from fault
