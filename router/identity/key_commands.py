"""Creates, changes, rotates, pauses and revokes the API keys of an account, in Postgres.

A key's text is returned once, by :func:`create_key` and :func:`rotate_key`, and is stored here as its digest alone. A
rotation never ends an old secret earlier than the rotation that replaced it has said; :func:`end_old_secrets` does.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from billing.cap_rules import ordered
from billing.money import MAX_AMOUNT, to_usd
from billing.values import Cap
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork, violated_constraint
from router.errors import Conflict, InvalidRequest, NotFound
from router.identity.key_caps import write_further_caps
from router.identity.key_mails import MailedKey, mail_created, mail_revoked, mail_rotated
from router.identity.key_networks import canonical_networks
from router.identity.key_policies import bounded_expiry, clamped_expiry
from router.identity.key_views import KeySpec, KeyView, get_key
from router.identity.keys import new_key
from router.tables import Json, KeyRow, OldSecretRow
from store.ids import AccountId, KeyId, new_id, wire
from store.postgres import Database

OVERLAP_MAX = timedelta(hours=72)
# Each works, so each is one more that may leak, and is in the memory of every process.
OLD_SECRETS_MAX = 10
# What the audit has otherwise, or what changes without a change of the key.
NO_FACTS = ("id", "account_id", "created_at", "last_use", "exceeds_max_life")


class IssuedKey(msgspec.Struct, frozen=True):
    """A key with its text, which is shown this once."""

    text: str
    view: KeyView


async def create_key(
    work: UnitOfWork, account_id: AccountId, spec: KeySpec, *, is_test: bool = False, is_mailed: bool = True
) -> IssuedKey:
    """Create a key of an account. Raises ``NotFound`` for an unknown one, ``InvalidRequest`` for limits below one.

    ``is_mailed``: its account's owners and developers are told of it by mail.
    """
    expires_at = await bounded_expiry(work.connection, account_id, spec.expires_at, work.now)
    spec = msgspec.structs.replace(spec, expires_at=expires_at)
    _validate(spec, work.now)
    fresh = new_key(is_test=is_test)
    key_id = KeyId(new_id())
    row = {
        "id": key_id,
        "account_id": account_id,
        "handle": fresh.handle,
        "last4": fresh.last4,
        "digest": fresh.digest,
        "is_test": is_test,
        "paused": False,
        **_columns(spec),
    }
    try:
        await work.connection.execute(insert(KeyRow), row)
    except IntegrityError as error:
        if violated_constraint(error) == "keys_account_id_fkey":
            raise NotFound("There is no such account.", param="account") from error
        raise
    await write_further_caps(work.connection, key_id, spec.caps)
    view = await get_key(work.connection, key_id)
    work.record_change(Change("key.create", wire(KeyId, key_id), account_id, after=_audit_facts(view)))
    if is_mailed:
        await mail_created(work, _mailed(view))
    return IssuedKey(text=fresh.text, view=view)


async def change_key(
    work: UnitOfWork, key_id: KeyId, spec: KeySpec, *, sets_expiry: bool = True, reason: str = ""
) -> KeyView:
    """Replace what may be set on a key. Raises ``NotFound``, ``InvalidRequest``, ``Conflict`` for a revoked one.

    Where ``sets_expiry``, an expiry that is new is bounded by the account's longest life, and so is none at all; an
    edit of something else leaves a key that exceeds it as it is.
    """
    before = await _lock(work, key_id)
    if sets_expiry and (spec.expires_at is None or spec.expires_at != before.spec.expires_at):
        expires_at = await bounded_expiry(work.connection, before.account_id, spec.expires_at, work.now)
        spec = msgspec.structs.replace(spec, expires_at=expires_at)
    _validate(spec, work.now)
    await write_further_caps(work.connection, key_id, spec.caps)
    return await _update(work, before, "key.change", _columns(spec), reason)


async def pause_key(work: UnitOfWork, key_id: KeyId, *, paused: bool = True, reason: str = "") -> KeyView:
    """Pause a key, or resume it. Raises ``NotFound``, ``Conflict`` for a revoked one."""
    before = await _lock(work, key_id)
    return await _update(work, before, "key.pause" if paused else "key.resume", {"paused": paused}, reason)


async def revoke_key(work: UnitOfWork, key_id: KeyId, *, is_mailed: bool = True, reason: str = "") -> KeyView:
    """End a key for good; every process refuses it within a second. Raises ``NotFound``, ``Conflict``."""
    before = await _lock(work, key_id)
    if is_mailed:
        await mail_revoked(work, _mailed(before))
    return await _update(work, before, "key.revoke", {"revoked_at": work.now}, reason)


async def rotate_key(work: UnitOfWork, key_id: KeyId, overlap: timedelta = timedelta(hours=24)) -> IssuedKey:
    """Give a key a new secret; the old one works for ``overlap`` more. Usage stays with the key's id.

    A secret that is still in its overlap from an earlier rotation works on until that overlap ends. A key that exceeds
    its account's longest life ends at that life's end from then on. Raises
    ``NotFound``, ``InvalidRequest``, and ``Conflict`` for a revoked key and for more old secrets than a key may have.
    """
    if not timedelta() <= overlap <= OVERLAP_MAX:
        raise InvalidRequest("The overlap is between 0 and 72 hours.", param="overlap")
    before = await _lock(work, key_id)
    has_overlap = overlap > timedelta()
    if has_overlap and len(before.old_secrets) >= OLD_SECRETS_MAX:
        raise Conflict(
            f"{OLD_SECRETS_MAX} old secrets of this key still work, the first of them until "
            f"{before.old_secrets[0]:%Y-%m-%dT%H:%M:%SZ}. Wait for that, or end them by end-old-secrets."
        )
    query = select(KeyRow.handle, KeyRow.digest, KeyRow.previous_digest, KeyRow.previous_until)
    old = (await work.connection.execute(query.where(KeyRow.id == key_id))).one()
    if old.previous_until is not None and old.previous_until > work.now:
        earlier = {"digest": old.previous_digest, "key_id": key_id, "works_until": old.previous_until}
        await work.connection.execute(insert(OldSecretRow), earlier)
    fresh = new_key(is_test=before.is_test, handle=old.handle)
    columns = {
        "digest": fresh.digest,
        "last4": fresh.last4,
        "expires_at": await clamped_expiry(work.connection, before.account_id, before.spec.expires_at, work.now),
        "previous_digest": old.digest if has_overlap else None,
        "previous_until": work.now + overlap if has_overlap else None,
    }
    view = await _update(work, before, "key.rotate", columns)
    await mail_rotated(work, _mailed(view), view.previous_until if has_overlap else None)
    return IssuedKey(text=fresh.text, view=view)


async def end_old_secrets(work: UnitOfWork, key_id: KeyId) -> KeyView:
    """End every secret of a key but the latest, within a second and whatever a rotation has said of them.

    Raises ``NotFound``, ``Conflict`` for a revoked key.
    """
    before = await _lock(work, key_id)
    await work.connection.execute(delete(OldSecretRow).where(OldSecretRow.key_id == key_id))
    return await _update(work, before, "key.end_old_secrets", {"previous_digest": None, "previous_until": None})


async def delete_ended_secrets(db: Database) -> None:
    """Delete secrets that ended a day ago; until then a caller is answered that the secret has expired."""
    async with db.transaction() as tx:
        await tx.execute(text("DELETE FROM old_secrets WHERE works_until < now() - interval '1 day'"))


async def _lock(work: UnitOfWork, key_id: KeyId) -> KeyView:
    view = await get_key(work.connection, key_id, locked=True)
    if view.revoked_at is not None:
        raise Conflict(f"{wire(KeyId, key_id)} was revoked at {view.revoked_at:%Y-%m-%d %H:%M} UTC, which is final.")
    return view


async def _update(
    work: UnitOfWork, before: KeyView, action: str, columns: dict[str, object], reason: str = ""
) -> KeyView:
    await work.connection.execute(update(KeyRow).where(KeyRow.id == before.id).values(**columns))
    after = await get_key(work.connection, before.id)
    subject = wire(KeyId, before.id)
    work.record_change(
        Change(action, subject, before.account_id, _audit_facts(before), _audit_facts(after), reason=reason)
    )
    return after


def _validate(spec: KeySpec, now: datetime) -> None:
    if not 1 <= len(spec.name) <= 200:
        raise InvalidRequest("A key has a name of 1 to 200 characters.", param="name")
    limits = (spec.limits.requests_per_minute, spec.limits.tokens_per_minute, spec.limits.concurrency)
    if min(limits) < 1 or max(limits) > 2**31 - 1:
        raise InvalidRequest("A limit is between 1 and 2147483647; to stop a key, pause it.", param="limits")
    if spec.expires_at is not None and spec.expires_at <= now:
        raise InvalidRequest("The key would be expired already.", param="expires_at")
    validate_caps(spec.caps)


def validate_caps(caps: Iterable[Cap]) -> None:
    """Raise ``InvalidRequest`` for an amount that no cap has, and for two caps of one period."""
    caps = list(caps)
    if not all(0 <= cap.amount <= MAX_AMOUNT for cap in caps):
        raise InvalidRequest(f"A cap is between 0.00 and {to_usd(MAX_AMOUNT)} USD.", param="caps")
    if len({cap.period for cap in caps}) < len(caps):
        raise InvalidRequest("There is at most one cap of each period: total, month and day.", param="caps")


def _columns(spec: KeySpec) -> dict[str, object]:
    first = next(iter(ordered(spec.caps)), None)
    return {
        "name": spec.name,
        "use": spec.use.value,
        "models": list(spec.models),
        "allow_token_ids": spec.allow_token_ids,
        "requests_per_minute": spec.limits.requests_per_minute,
        "tokens_per_minute": spec.limits.tokens_per_minute,
        "concurrency": spec.limits.concurrency,
        "cap_nano": first.amount if first else None,
        "cap_period": first.period.value if first else None,
        "expires_at": spec.expires_at,
        "networks": list(canonical_networks(spec.networks)),
    }


def _mailed(view: KeyView) -> MailedKey:
    return MailedKey(view.id, view.account_id, view.spec.name, view.masked)


def _audit_facts(view: KeyView) -> Json:
    facts: Json = msgspec.to_builtins(view)
    return {name: value for name, value in facts.items() if name not in NO_FACTS}
