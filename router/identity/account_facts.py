"""Reads what an account has of people and keys, in one statement, for who looks at the account as a whole."""

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from store.ids import AccountId

_READ = text("""
    SELECT (SELECT count(*) FROM keys k WHERE k.account_id = :account AND k.revoked_at IS NULL) AS keys,
        (SELECT array_agg(m.email ORDER BY m.id) FROM members m
            WHERE m.account_id = :account AND m.removed_at IS NULL) AS emails
""")


class AccountFacts(msgspec.Struct, frozen=True):
    """How many keys it has that are not revoked, and its people's addresses in the order in which they came."""

    keys: int
    emails: tuple[str, ...]


async def read_account_facts(connection: AsyncConnection, account_id: AccountId) -> AccountFacts:
    """Read an account's facts."""
    row = (await connection.execute(_READ, {"account": account_id})).one()
    return AccountFacts(row.keys, tuple(row.emails or ()))
