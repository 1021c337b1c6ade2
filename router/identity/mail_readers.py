"""Finds who of an account, or of the house, reads mails of a kind, for what sends them."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.documents.profiles import read_profile
from mail.outbox import StoredMail
from mail.values import Audience, Recipient, Staff, recipients
from router.identity.members import Role

_MEMBERS = text("""
    SELECT email FROM members
    WHERE account_id IS NOT DISTINCT FROM :account AND role = ANY(:roles) AND removed_at IS NULL ORDER BY created_at, id
""")
_ROLES: dict[Audience | Staff, tuple[Role, ...]] = {
    Audience.OWNERS: (Role.OWNER,),
    Audience.KEYS: (Role.OWNER, Role.DEVELOPER),
    Audience.MONEY: (Role.OWNER, Role.FINANCE),
    Staff.OPS: (Role.OPS,),
    Staff.FINANCE: (Role.FINANCE_ADMIN,),
}


async def find_readers(tx: AsyncConnection, stored: StoredMail) -> Sequence[Recipient]:
    """Whom a mail to an account, or to the staff, is for; nobody where no address is known."""
    audience = stored.staff or stored.mail.audience
    if audience is Audience.MONEY and stored.account_id is not None:
        profile = await read_profile(tx, stored.account_id)
        if profile is not None and (named := recipients(profile.profile.emails, profile.profile.language)):
            return named
    roles = [role.value for role in _ROLES[audience]]
    # The staff are members of no account.
    account = None if stored.staff else stored.account_id
    return recipients((await tx.execute(_MEMBERS, {"account": account, "roles": roles})).scalars())
