"""Reads the API keys of accounts as people see them: all but their text, with caps, old secrets and last use."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from sqlalchemy import ColumnElement, DateTime, Integer, Row, Select, Text, func, literal_column, select, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import NanoUSD
from billing.values import Cap, CapPeriod, Limits
from catalog.values import Use
from router.errors import NotFound
from router.identity.key_caps import caps_of_row
from router.identity.key_policies import exceeds
from router.identity.keys import LIVE, TEST
from router.statistics.collect import KeyUse
from router.tables import KeyRow
from store.ids import AccountId, KeyId, ModelId, wire

KEYS = KeyRow.__table__
NEVER_ENDS = datetime.max.replace(tzinfo=UTC)


class KeySpec(msgspec.Struct, frozen=True):
    """What may be set on a key, now and later. ``models`` empty means every model.

    ``allow_token_ids`` says that its token ids are those of the called model's own tokenizer. ``caps`` are at most one
    of each period. ``networks`` are those from which it may be used, as ``203.0.113.0/24``, empty for every one.
    """

    name: str
    use: Use = Use.COMMERCIAL
    limits: Limits = Limits()
    caps: tuple[Cap, ...] = ()
    models: tuple[ModelId, ...] = ()
    expires_at: datetime | None = None
    allow_token_ids: bool = False
    networks: tuple[str, ...] = ()


class KeyView(msgspec.Struct, frozen=True):
    """A key as people see it: everything but its text, of which ``masked`` is the beginning and the end.

    ``previous_until`` is when the secret that the latest rotation replaced ends, or has ended; ``old_secrets`` is when
    each one ends that still works, the first to end first. ``exceeds_max_life``: it works for longer than its account
    lets a new key work.
    """

    id: KeyId
    account_id: AccountId
    masked: str = msgspec.field(name="shown")
    spec: KeySpec
    is_test: bool
    paused: bool
    revoked_at: datetime | None
    created_at: datetime
    previous_until: datetime | None = None
    old_secrets: tuple[datetime, ...] = ()
    last_use: KeyUse | None = None
    exceeds_max_life: bool = False

    @property
    def state(self) -> Literal["active", "paused", "revoked"]:
        """What it is at the moment, in a word."""
        return "revoked" if self.revoked_at is not None else "paused" if self.paused else "active"


def _of_key(statement: str, name: str, kind: Any) -> ColumnElement[Any]:  # noqa: ANN401 - a type of SQLAlchemy's
    return literal_column(f"({statement})", kind).label(name)


# One statement for a list of any length: what other tables have of a key is read beside it, by their indexes. Secrets
# of trial calls are no rotation's, and nobody's to see.
_VIEWS = select(
    KEYS,
    func.clock_timestamp().label("read_at"),
    _of_key(
        "SELECT array_agg(o.works_until) FROM old_secrets o WHERE o.key_id = keys.id AND NOT o.is_trial",
        "old_ends",
        ARRAY(DateTime(timezone=True)),
    ),
    _of_key(
        "SELECT jsonb_object_agg(c.period, c.amount_nano) FROM key_caps c WHERE c.key_id = keys.id",
        "further_caps",
        JSONB,
    ),
    _of_key("SELECT p.max_days FROM key_policies p WHERE p.account_id = keys.account_id", "max_days", Integer),
    literal_column("used.used_at", DateTime(timezone=True)).label("used_at"),
    literal_column("used.network::text", Text).label("used_network"),
    literal_column("used.client", Text).label("used_client"),
).select_from(KEYS.outerjoin(text("key_uses AS used"), text("used.key_id = keys.id")))


async def get_key(connection: AsyncConnection, key_id: KeyId, *, locked: bool = False) -> KeyView:
    """Read one key, and lock its row where ``locked``. Raises ``NotFound``."""
    if locked:
        # Before it is read: what other tables have of it is then as whoever had the lock before has left it.
        await connection.execute(select(KeyRow.id).where(KeyRow.id == key_id).with_for_update())
    found = await _read(connection, _VIEWS.where(KeyRow.id == key_id))
    if not found:
        raise NotFound(f"There is no key {wire(KeyId, key_id)}.", param="key")
    return found[0]


async def keys_named(connection: AsyncConnection, name: str) -> list[KeyView]:
    """The keys of that name, of every account, the newest first, revoked ones too."""
    return await _read(connection, _VIEWS.where(KeyRow.name == name).order_by(KeyRow.id.desc()))


async def list_keys(
    connection: AsyncConnection,
    account_id: AccountId | None = None,
    *,
    before: KeyId | None = None,
    limit: int | None = None,
) -> list[KeyView]:
    """List the keys of an account, or all, the newest first, revoked ones too; ``before`` one and at most ``limit``."""
    query = _VIEWS.order_by(KeyRow.id.desc()).limit(limit)
    if before is not None:
        query = query.where(KeyRow.id < before)
    if account_id is not None:
        query = query.where(KeyRow.account_id == account_id)
    return await _read(connection, query)


async def key_names(connection: AsyncConnection, among: Collection[KeyId]) -> dict[KeyId, str]:
    """The names of some keys."""
    rows = await connection.execute(
        text("SELECT id, name FROM keys WHERE id = ANY(CAST(:ids AS uuid[]))"), {"ids": list(among)}
    )
    return {KeyId(row.id): row.name for row in rows}


async def key_labels(connection: AsyncConnection, account_id: AccountId, *, limit: int) -> dict[KeyId, str]:
    """What people call the keys of an account, the newest first: by name, or by beginning and end where it has none."""
    query = select(KEYS.c.id, KEYS.c.name, KEYS.c.is_test, KEYS.c.handle, KEYS.c.last4, KEYS.c.revoked_at)
    rows = await connection.execute(
        query.where(KEYS.c.account_id == account_id).order_by(KEYS.c.id.desc()).limit(limit)
    )
    return {
        KeyId(row.id): (row.name.strip() or _masked(row)) + (" (revoked)" if row.revoked_at is not None else "")
        for row in rows.all()
    }


async def _read(connection: AsyncConnection, query: Select[Any]) -> list[KeyView]:
    return [_view(row) for row in await connection.execute(query)]


def _view(row: Row[Any]) -> KeyView:
    key_id, now, expires_at = KeyId(row.id), row.read_at, row.expires_at or NEVER_ENDS
    previous_until = None if row.previous_until is None else min(row.previous_until, expires_at)
    old_ends = [*(row.old_ends or ()), *([] if row.previous_until is None else [row.previous_until])]
    old_secrets = sorted(min(ends, expires_at) for ends in old_ends if min(ends, expires_at) > now)
    further = [Cap(NanoUSD(amount), CapPeriod(period)) for period, amount in (row.further_caps or {}).items()]
    spec = KeySpec(
        name=row.name,
        use=Use(row.use),
        limits=Limits(row.requests_per_minute, row.tokens_per_minute, row.concurrency),
        caps=caps_of_row(row, {key_id: further}),
        models=tuple(ModelId(model) for model in row.models),
        expires_at=row.expires_at,
        allow_token_ids=row.allow_token_ids,
        networks=tuple(str(network) for network in row.networks),
    )
    return KeyView(
        id=key_id,
        account_id=AccountId(row.account_id),
        masked=_masked(row),
        spec=spec,
        is_test=row.is_test,
        paused=row.paused,
        revoked_at=row.revoked_at,
        created_at=row.created_at,
        previous_until=previous_until,
        old_secrets=() if row.revoked_at is not None else tuple(old_secrets),
        last_use=None if row.used_at is None else KeyUse(row.used_at, row.used_network, row.used_client),
        exceeds_max_life=row.revoked_at is None and exceeds(row.expires_at, row.max_days, now),
    )


def _masked(row: Any) -> str:  # noqa: ANN401 - a row with the columns that it names
    """The beginning and the end of a key's text."""
    return f"{TEST if row.is_test else LIVE}{row.handle[:4]}…{row.last4}"
