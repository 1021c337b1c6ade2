"""Reads what concerns one signed-in reader of a model's page: which of their accounts voted, and their keys."""

from collections.abc import Collection
from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog.values import Use
from catalog.verdict import KeyUse
from router.identity.keys import LIVE, TEST
from store.ids import AccountId, KeyId, ModelId

KEYS_MAX = 20
UNLIKE_MAX = 200

_READER = text("""
SELECT a.id AS account_id,
    EXISTS (SELECT FROM model_votes v WHERE v.model_id = :model_id AND v.account_id = a.id) AS has_voted,
    EXISTS (SELECT FROM launch_mails l WHERE l.model_id = :model_id AND l.account_id = a.id) AS is_mailed,
    ARRAY(SELECT l.license || '@' || l.text_version FROM license_acceptances l WHERE l.account_id = a.id) AS accepted,
    (SELECT coalesce(jsonb_agg(jsonb_build_array(k.name, k.handle, k.last4, k.use, k.is_test) ORDER BY k.id), '[]')
        FROM (SELECT * FROM keys WHERE account_id = a.id AND revoked_at IS NULL ORDER BY id DESC LIMIT :keys_max) k
    ) AS keys
FROM accounts a WHERE a.id = ANY(CAST(:accounts AS uuid[]))
""")


# One key of each kind: what tells keys of an account apart, where it is asked what they may call.
_UNLIKE = text("""
SELECT DISTINCT ON (account_id, use, models) id FROM keys
WHERE account_id = ANY(CAST(:accounts AS uuid[])) AND revoked_at IS NULL AND NOT paused AND NOT is_test
    AND (expires_at IS NULL OR expires_at > :now)
ORDER BY account_id, use, models, id LIMIT :most
""")


class ReaderAccount(msgspec.Struct, frozen=True):
    """One account of the reader: its vote, its mail at launch, and its newest keys.

    ``shown`` are the keys' beginnings, no secrets.
    """

    id: AccountId
    has_voted: bool
    is_mailed: bool
    keys: tuple[KeyUse, ...]
    shown: tuple[str, ...]


async def read_accounts(
    connection: AsyncConnection, model_id: ModelId | None, accounts: Collection[AccountId]
) -> list[ReaderAccount]:
    """Read the accounts in one statement, in the order in which they are given; their votes are for ``model_id``."""
    if not accounts:
        return []
    given = {"model_id": model_id, "accounts": list(accounts), "keys_max": KEYS_MAX}
    found = {}
    for row in await connection.execute(_READER, given):
        accepted = frozenset(row.accepted)
        found[row.account_id] = ReaderAccount(
            AccountId(row.account_id),
            row.has_voted,
            row.is_mailed,
            tuple(KeyUse(name or handle[:4], Use(use), accepted) for name, handle, _, use, _ in row.keys),
            tuple(f"{TEST if is_test else LIVE}{handle[:4]}…{last4}" for _, handle, last4, _, is_test in row.keys),
        )
    return [found[account] for account in accounts if account in found]


async def read_unlike_keys(connection: AsyncConnection, accounts: Collection[AccountId], now: datetime) -> list[KeyId]:
    """Read one key of each use and list of models of the accounts, of those that may call; test keys call no model."""
    if not accounts:
        return []
    given = {"accounts": list(accounts), "now": now, "most": UNLIKE_MAX}
    return [KeyId(row.id) for row in await connection.execute(_UNLIKE, given)]
