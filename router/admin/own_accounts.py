"""Opens an account for a person: they own it, and have a key, a key for tests, and free credit, once for a person.

Apart from signing in, whose checks of passkeys are slow to import: a process that serves opens accounts, too.
"""

from datetime import datetime
from hashlib import sha256

import msgspec
from sqlalchemy import text

from billing.credits import GrantKind
from billing.money import NanoUSD, to_usd
from router.admin.accounts import open_account
from router.admin.credit import give_credit
from router.changes.transaction import UnitOfWork
from router.errors import Conflict
from router.identity.key_commands import IssuedKey, create_key
from router.identity.key_views import KeySpec
from router.identity.members import Role, add_member
from router.identity.people.mails import Welcome
from router.identity.people.people import notify_person
from router.identity.people.set_up import FreeCredit
from router.identity.people.values import Person
from store.ids import AccountId, wire

FIRST_KEY, TEST_KEY = "first key", "test key"
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('gigarouter welcome ' || :source, 0))")
_WAS_GIVEN = text("SELECT EXISTS (SELECT FROM grants WHERE source_ref = :source)")
_OWNED = text("""
    SELECT count(*) FROM members m JOIN accounts a ON a.id = m.account_id
    WHERE m.person_id = :person AND m.role = 'owner' AND m.removed_at IS NULL AND a.status <> 'closed'
""")
OWN_ACCOUNTS_MAX = 5


class Opened(msgspec.Struct, frozen=True):
    """An account that was opened for a person, with its keys' texts, which are shown this once."""

    account_id: AccountId
    account_name: str
    key: IssuedKey
    test_key: IssuedKey
    credit: NanoUSD
    credit_until: datetime | None


async def open_own_account(work: UnitOfWork, person: Person, credit: FreeCredit) -> Opened:
    """Open an account of which a person is the owner, with two keys, and free credit if they never had any.

    Raises ``Conflict`` where they own five.
    """
    if int(await work.connection.scalar(_OWNED, {"person": person.id}) or 0) >= OWN_ACCOUNTS_MAX:
        raise Conflict(f"You own {OWN_ACCOUNTS_MAX} accounts. Close one first, or write to us.")
    account = await open_account(work, person.name or person.email.partition("@")[0])
    await add_member(work, account.id, person.email, Role.OWNER, person.name)
    key = await create_key(work, account.id, KeySpec(name=FIRST_KEY), is_mailed=False)
    test_key = await create_key(work, account.id, KeySpec(name=TEST_KEY), is_test=True, is_mailed=False)
    until = await _give_free_credit(work, person, account.id, credit)
    amount = credit.amount if until else NanoUSD(0)
    mail = Welcome(
        account_name=account.name,
        credit_usd=to_usd(amount) if amount else "",
        credit_until=until,
        path=f"/accounts/{wire(AccountId, account.id)}",
    )
    await notify_person(work, person.id, mail, dedupe=f"welcome:{account.id.hex}")
    return Opened(account.id, account.name, key, test_key, amount, until)


async def _give_free_credit(
    work: UnitOfWork, person: Person, account_id: AccountId, credit: FreeCredit
) -> datetime | None:
    """Give free credit once for a mailbox, whatever is written behind a plus; until when it lasts."""
    if not credit.amount:
        return None
    local, _, domain = person.email.lower().rpartition("@")
    mailbox = f"{local.partition('+')[0] or local}@{domain}"
    # Of an erased person nothing else is left, and this names nobody.
    source = f"welcome:{sha256(mailbox.encode()).hexdigest()}"
    await work.connection.execute(_LOCK, {"source": source})
    if await work.connection.scalar(_WAS_GIVEN, {"source": source}):
        return None
    until = work.now + credit.lasts
    kind = GrantKind.PROMOTIONAL
    await give_credit(work, account_id, credit.amount, kind, source=source, expires_at=until, note="Free credit.")
    return until
