"""Mails codes and links to sign in with, and checks them: for ten minutes, five tries, once, in one browser.

A code is compared in the browser that wanted it alone, which has a secret in a cookie; so a scanner that opens the link
of a mail uses nothing up and is nobody. Whether somebody has the address makes no difference to what is answered.
"""

import hmac
import secrets
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, text

from router.changes.transaction import UnitOfWork
from router.errors import InvalidRequest
from router.identity.people.limits import TRIES_OF_NETWORK, count_code, count_try
from router.identity.people.mails import Recipient, SignInCode, enqueue
from router.identity.people.values import Method, digest_of_secret, is_secret, require_email
from store.ids import new_id
from store.postgres import Database

CODE_LASTS = timedelta(minutes=10)
TRIES_MAX = 5
DIGITS = 6
LINK_PATH = "/sign-in/link/"

_REPLACE = text("""
    UPDATE sign_in_codes SET replaced_at = :now
    WHERE browser_digest = :browser AND used_at IS NULL AND replaced_at IS NULL
""")
_INSERT = text("""
    INSERT INTO sign_in_codes (id, email, browser_digest, code_digest, link_digest, created_at, expires_at)
    VALUES (:id, :email, :browser, :code, :link, :now, :expires_at)
""")
_COLUMNS = "id, email, browser_digest, code_digest, tries, expires_at, used_at, replaced_at"
_NEWEST = text(
    f"SELECT {_COLUMNS} FROM sign_in_codes WHERE browser_digest = :browser ORDER BY id DESC LIMIT 6"  # noqa: S608
)
_BY_LINK = text(f"SELECT {_COLUMNS} FROM sign_in_codes WHERE link_digest = :link")  # noqa: S608 - constants
# Counted before it is compared, so that those who try at the same moment have five tries together.
_TAKE_TRY = text("""
    UPDATE sign_in_codes SET tries = tries + 1
    WHERE id = :id AND tries < 5 AND used_at IS NULL AND replaced_at IS NULL AND expires_at > :now RETURNING tries
""")
_USE = text("UPDATE sign_in_codes SET used_at = :now WHERE id = :id AND used_at IS NULL AND replaced_at IS NULL")
_FORGET = text("DELETE FROM sign_in_codes WHERE expires_at < now() - interval '1 day'")

# Why a code is refused -> the sentence, and whether another one has to be sent.
_SENTENCES = {
    "wrong": "That is not the code of the newest mail. {left} left.",
    "replaced": "A newer code was sent after that one. Type the one of the newest mail. {left} left.",
    "too_many": "That was tried five times. Have a new code sent.",
    "expired": "That code is older than ten minutes. Have a new one sent.",
    "used": "That code was used. Have a new one sent.",
    "other_browser": "Signing in was not begun in this browser. Type the six digits of the mail where you began, or "
    "have a new code sent here.",
}


class PendingSignIn(msgspec.Struct, frozen=True):
    """What the browser that wanted a code keeps in its cookie, and until when the code works."""

    browser: str
    email: str
    expires_at: datetime


class CheckedCode(msgspec.Struct, frozen=True):
    """A code that was right, or a link that was pressed in its own browser; it still has to be used."""

    id: UUID
    email: str
    method: Method
    browser_digest: bytes


async def request_code(db: Database, email: str, browser: str | None, network: str) -> PendingSignIn:
    """Mail a code and a link to an address. ``browser`` is the cookie's secret, if the browser has one.

    A newer code of the same browser replaces the older. Raises ``InvalidRequest``, ``RequestLimit``.
    """
    email = require_email(email)
    await count_code(db, email, network)
    secret = browser if browser is not None and is_secret(browser) else secrets.token_urlsafe(32)
    code, link = f"{secrets.randbelow(10**DIGITS):0{DIGITS}}", secrets.token_urlsafe(32)
    now, code_id = db.clock.now(), new_id(db.clock.now())
    expires_at = now + CODE_LASTS
    async with db.transaction() as connection:
        row = {"id": code_id, "email": email, "browser": digest_of_secret(secret), "now": now}
        await connection.execute(_REPLACE, {"browser": row["browser"], "now": now})
        row |= {"code": _code_digest(secret, code), "link": digest_of_secret(link), "expires_at": expires_at}
        await connection.execute(_INSERT, row)
        mail = SignInCode(code=code, path=f"{LINK_PATH}{link}", minutes=CODE_LASTS // timedelta(minutes=1))
        await enqueue(connection, mail, Recipient(email), dedupe=f"sign-in:{code_id.hex}")
    return PendingSignIn(secret, email, expires_at)


async def find_pending(db: Database, browser: str | None) -> PendingSignIn | None:
    """Find what a browser waits for: the newest code that it wanted and that may still be typed."""
    if browser is None or not is_secret(browser):
        return None
    async with db.transaction() as tx:
        row = (await tx.execute(_NEWEST, {"browser": digest_of_secret(browser)})).first()
    if row is None or row.used_at is not None or row.expires_at <= db.clock.now():
        return None
    return PendingSignIn(browser, row.email, row.expires_at)


async def check_code(db: Database, browser: str | None, code: str, network: str) -> CheckedCode:
    """Compare the six digits, which counts as a try. Raises ``InvalidRequest`` with the reason, ``RequestLimit``."""
    await count_try(db, TRIES_OF_NETWORK, network)
    if browser is None or not is_secret(browser):
        raise _refused("other_browser")
    digits = "".join(code.split())
    if len(digits) != DIGITS or not digits.isascii() or not digits.isdigit():
        raise InvalidRequest("A code has six digits.", param="code", details={"reason": "wrong"})
    async with db.transaction() as tx:
        rows = (await tx.execute(_NEWEST, {"browser": digest_of_secret(browser)})).all()
        if not rows:
            raise _refused("other_browser")
        tries = await tx.scalar(_TAKE_TRY, {"id": rows[0].id, "now": db.clock.now()})
    if tries is None:
        raise _refused(_reason(rows[0], db.clock.now()))
    digest = _code_digest(browser, digits)
    if not hmac.compare_digest(rows[0].code_digest, digest):
        is_older = any(hmac.compare_digest(row.code_digest, digest) for row in rows[1:])
        raise _refused("replaced" if is_older else "wrong", TRIES_MAX - int(tries))
    return CheckedCode(rows[0].id, rows[0].email, Method.CODE, digest_of_secret(browser))


async def check_link(db: Database, browser: str | None, link: str, network: str) -> CheckedCode:
    """Check a link that was pressed, which counts as a try in its own browser and as none in others.

    Raises ``InvalidRequest`` with the reason, ``RequestLimit``.
    """
    await count_try(db, TRIES_OF_NETWORK, network)
    if browser is None or not is_secret(browser) or not is_secret(link):
        raise _refused("other_browser")
    async with db.transaction() as tx:
        row = (await tx.execute(_BY_LINK, {"link": digest_of_secret(link)})).one_or_none()
        if row is None or not hmac.compare_digest(row.browser_digest, digest_of_secret(browser)):
            raise _refused("other_browser")
        tries = await tx.scalar(_TAKE_TRY, {"id": row.id, "now": db.clock.now()})
    if tries is None:
        raise _refused(_reason(row, db.clock.now()))
    return CheckedCode(row.id, row.email, Method.LINK, row.browser_digest)


async def use_code(work: UnitOfWork, checked: CheckedCode) -> None:
    """Use a code up, in the transaction that signs in. Raises ``InvalidRequest`` where another has used it."""
    used = await work.connection.execute(_USE, {"id": checked.id, "now": work.now})
    if not used.rowcount:
        raise _refused("used")


async def forget_codes(db: Database) -> None:
    """Delete codes that ended a day ago."""
    async with db.transaction() as tx:
        await tx.execute(_FORGET)


def _reason(row: Row[Any], now: datetime) -> str:
    if row.used_at is not None:
        return "used"
    if row.replaced_at is not None:
        return "replaced"
    return "expired" if row.expires_at <= now else "too_many"


def _refused(reason: str, left: int = 0) -> InvalidRequest:
    tries = "One try is" if left == 1 else f"{left} tries are"
    if left == 0 and reason in ("wrong", "replaced"):
        reason = "too_many" if reason == "wrong" else reason
        tries = "No try is"
    details: dict[str, object] = {"reason": reason, "tries_left": left}
    return InvalidRequest(_SENTENCES[reason].format(left=tries), param="code", details=details)


def _code_digest(browser: str, code: str) -> bytes:
    return sha256(f"{browser} {code}".encode()).digest()
