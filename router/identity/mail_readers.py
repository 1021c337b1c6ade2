"""Finds who of an account, or of the house, reads mails of a kind, for what sends them."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.documents.profiles import read_profile
from mail.outbox import StoredMail
from mail.values import Audience, Recipient, Staff, recipients
from router.identity.members import Role

_MEMBERS = text("""
    SELECT m.email, coalesce(p.locale, 'en') AS locale, coalesce(p.zone, 'UTC') AS zone
    FROM members m LEFT JOIN people p ON p.id = m.person_id
    WHERE m.account_id IS NOT DISTINCT FROM :account AND m.role = ANY(:roles) AND m.removed_at IS NULL
    ORDER BY m.created_at, m.id
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
    rows = await tx.execute(_MEMBERS, {"account": account, "roles": roles})
    return [one for row in rows for one in recipients([row.email], row.locale, row.zone)]
