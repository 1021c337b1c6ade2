"""Erases who somebody was: with a closed account its members, and people who are members of no other one."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from mail.outbox import erase_addresses
from store.ids import AccountId

# An address that is none (RFC 2606), and different for each person.
_PEOPLE = text("""
    SELECT DISTINCT m.person_id AS id, p.email FROM members m JOIN people p ON p.id = m.person_id
    WHERE m.account_id = :account AND p.erased_at IS NULL AND NOT EXISTS (
        SELECT FROM members o WHERE o.removed_at IS NULL AND o.account_id IS DISTINCT FROM m.account_id
            AND (o.person_id = p.id OR (o.person_id IS NULL AND lower(o.email) = lower(p.email)))
    )
""")
_MEMBERS = text("""
    UPDATE members SET email = 'erased@erased.invalid', name = '', removed_at = coalesce(removed_at, now())
    WHERE account_id = :account
""")
_INVITED = text("""
    SELECT i.email FROM invitations i
    WHERE i.account_id = :account AND NOT EXISTS (SELECT FROM people p WHERE lower(p.email) = lower(i.email))
""")
_INVITATIONS = text("""
    UPDATE invitations SET email = 'erased@erased.invalid', invited_by = '', ended_at = coalesce(ended_at, now()),
        state = CASE WHEN state = 'open' THEN 'withdrawn' ELSE state END
    WHERE account_id = :account
""")
_ERASE = (
    text("DELETE FROM sign_in_codes WHERE lower(email) IN (SELECT lower(email) FROM people WHERE id = ANY(:people))"),
    text("DELETE FROM sessions WHERE person_id = ANY(:people)"),
    text("DELETE FROM passkeys WHERE person_id = ANY(:people)"),
    text("DELETE FROM passkey_challenges WHERE person_id = ANY(:people)"),
    text("DELETE FROM outside_identities WHERE person_id = ANY(:people)"),
    text("""
        UPDATE people SET email = 'erased-' || replace(CAST(id AS text), '-', '') || '@erased.invalid', name = '',
            locale = 'en', zone = 'UTC', erased_at = now()
        WHERE id = ANY(:people)
    """),
)


async def erase_people(tx: AsyncConnection, account_id: AccountId) -> int:
    """Erase an account's members and invitations, and how many people that leaves in no account."""
    found = (await tx.execute(_PEOPLE, {"account": account_id})).all()
    people, invited = [row.id for row in found], await tx.scalars(_INVITED, {"account": account_id})
    await erase_addresses(tx, [*(row.email for row in found), *invited])
    await tx.execute(_MEMBERS, {"account": account_id})
    await tx.execute(_INVITATIONS, {"account": account_id})
    if people:
        for statement in _ERASE:
            await tx.execute(statement, {"people": people})
    return len(people)
