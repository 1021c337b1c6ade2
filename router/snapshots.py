"""Keys as the line knows them, read from Postgres for :mod:`router.refresh`."""

from collections.abc import Collection
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.accounts import suspended_accounts
from billing.money import NanoUSD
from billing.values import Cap, CapPeriod, Limits, Payer
from catalog.licenses import accepted_by_account
from catalog.values import Use
from router.tables import KeyRow
from router.values import Key
from store.ids import AccountId, KeyId, ModelId

Keys = dict[KeyId, dict[bytes, Key]]


async def read_keys(
    connection: AsyncConnection,
    *,
    key_ids: Collection[UUID] | None = None,
    account_ids: Collection[UUID] | None = None,
    changed_within_s: float | None = None,
) -> Keys:
    """Keys by id, each with its working digests, none for a revoked one. Without a condition: all not revoked."""
    query = select(KeyRow.__table__)
    if key_ids is not None:
        query = query.where(KeyRow.id.in_(key_ids))
    elif account_ids is not None:
        query = query.where(KeyRow.account_id.in_(account_ids))
    elif changed_within_s is not None:
        query = query.where(KeyRow.changed_at > func.now() - timedelta(seconds=changed_within_s))
    else:
        query = query.where(KeyRow.revoked_at.is_(None))
    rows = (await connection.execute(query)).all()
    accepted = await accepted_by_account(connection)
    suspended = await suspended_accounts(connection)
    return {
        KeyId(row.id): _by_digest(row, accepted.get(row.account_id, frozenset()), suspended=row.account_id in suspended)
        for row in rows
    }


def _by_digest(row: Row[Any], accepted: frozenset[str], *, suspended: bool) -> dict[bytes, Key]:
    if row.revoked_at is not None:
        return {}
    cap = None if row.cap_nano is None else Cap(NanoUSD(row.cap_nano), CapPeriod(row.cap_period))
    limits = Limits(row.requests_per_minute, row.tokens_per_minute, row.concurrency)
    key = Key(
        id=KeyId(row.id),
        account_id=AccountId(row.account_id),
        name=row.name,
        use=Use(row.use),
        payer=Payer(AccountId(row.account_id), KeyId(row.id), limits, cap),
        models=frozenset(ModelId(model) for model in row.models),
        expires_at=row.expires_at,
        paused=row.paused or suspended,
        is_test=row.is_test,
        accepted=accepted,
    )
    if row.previous_digest is None:
        return {row.digest: key}
    ends = row.previous_until if row.expires_at is None else min(row.previous_until, row.expires_at)
    return {row.digest: key, row.previous_digest: msgspec.structs.replace(key, expires_at=ends)}
