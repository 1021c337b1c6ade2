"""Reads keys from Postgres as the pipeline needs them in memory, for :mod:`router.registry.refresh`."""

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, Row, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.account_caps import caps_of_accounts
from billing.accounts import suspended_accounts
from billing.cap_rules import ordered
from billing.values import Cap, Limits, Payer
from catalog.licenses import accepted_tokens
from catalog.values import Use
from router.identity.key_caps import caps_of_row, read_further_caps
from router.networks import NO_NETWORKS, ranges_of
from router.tables import KeyRow
from router.values import Key
from store.ids import AccountId, KeyId, ModelId

Keys = dict[KeyId, dict[bytes, Key]]
NO_ACCEPTANCES: frozenset[str] = frozenset()


# A page of rows becomes keys in about 10 ms, and the event loop has calls to answer in between.
PAGE = 500

NOT_REVOKED = KeyRow.revoked_at.is_(None)


def by_key(key_ids: Collection[UUID]) -> ColumnElement[bool]:
    """A condition: the keys with these ids."""
    return KeyRow.id.in_(key_ids)


def by_account(account_ids: Collection[UUID]) -> ColumnElement[bool]:
    """A condition: the keys of these accounts."""
    return KeyRow.account_id.in_(account_ids)


def by_change(seconds: float) -> ColumnElement[bool]:
    """A condition: keys that were changed within the last ``seconds``, by the database's clock."""
    return KeyRow.changed_at > func.now() - timedelta(seconds=seconds)


async def read_keys(connection: AsyncConnection, which: ColumnElement[bool]) -> AsyncIterator[Keys]:
    """Read keys by id in pages, each with its working digests: none for a revoked key."""
    accepted = await accepted_tokens(connection)
    suspended = await suspended_accounts(connection)
    last = UUID(int=0)
    while True:
        query = select(KeyRow.__table__).where(which, KeyRow.id > last).order_by(KeyRow.id).limit(PAGE)
        rows = (await connection.execute(query)).all()
        # Read after the keys: what a rotation in between moves from the one to the other is then found in one of them.
        old_secrets = await read_old_secrets(connection, [row.id for row in rows])
        further = await read_further_caps(connection, [row.id for row in rows])
        of_accounts = await caps_of_accounts(connection, {AccountId(row.account_id) for row in rows})
        yield {
            KeyId(row.id): _keys_by_digest(
                row,
                ordered((*caps_of_row(row, further), *of_accounts.get(AccountId(row.account_id), ()))),
                old_secrets.get(KeyId(row.id), {}),
                accepted.get(row.account_id, NO_ACCEPTANCES),
                suspended=row.account_id in suspended,
            )
            for row in rows
        }
        if len(rows) < PAGE:
            return
        last = rows[-1].id


class OldSecret(msgspec.Struct, frozen=True):
    """A secret beside the latest; ``is_trial``: it was made for one call and replaced nothing."""

    works_until: datetime
    is_trial: bool = False


async def read_old_secrets(
    connection: AsyncConnection, key_ids: Collection[UUID]
) -> dict[KeyId, dict[bytes, OldSecret]]:
    """Read the secrets that were replaced before the latest rotation, and those of trial calls, by key and digest."""
    found: dict[KeyId, dict[bytes, OldSecret]] = defaultdict(dict)
    query = text(
        "SELECT key_id, digest, works_until, is_trial FROM old_secrets WHERE key_id = ANY(CAST(:ids AS uuid[]))"
    )
    for row in await connection.execute(query, {"ids": list(key_ids)}):
        found[KeyId(row.key_id)][row.digest] = OldSecret(row.works_until, row.is_trial)
    return found


def _keys_by_digest(
    row: Row[Any],
    caps: tuple[Cap, ...],
    old_secrets: Mapping[bytes, OldSecret],
    accepted: frozenset[str],
    *,
    suspended: bool,
) -> dict[bytes, Key]:
    if row.revoked_at is not None:
        return {}
    limits = Limits(row.requests_per_minute, row.tokens_per_minute, row.concurrency)
    key = Key(
        id=KeyId(row.id),
        account_id=AccountId(row.account_id),
        name=row.name,
        use=Use(row.use),
        payer=Payer(AccountId(row.account_id), KeyId(row.id), limits, caps),
        models=frozenset(ModelId(model) for model in row.models),
        expires_at=row.expires_at,
        paused=row.paused or suspended,
        is_test=row.is_test,
        accepted=accepted,
        allow_token_ids=row.allow_token_ids,
        networks=ranges_of(row.networks),
    )
    others = dict(old_secrets)
    if row.previous_digest is not None:
        others[row.previous_digest] = OldSecret(row.previous_until)
    by_digest = {row.digest: key}
    for digest, secret in others.items():
        ends = secret.works_until if row.expires_at is None else min(secret.works_until, row.expires_at)
        # A trial call comes from the pages' machine, for a member who has signed in: no network of the key's is theirs.
        networks = NO_NETWORKS if secret.is_trial else key.networks
        by_digest[digest] = msgspec.structs.replace(key, expires_at=ends, is_trial=secret.is_trial, networks=networks)
    return by_digest
