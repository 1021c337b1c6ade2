"""Says whom a move of a model touches, before it is made: who used it of late, who gets a mail, which keys name it."""

from collections import Counter
from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.accounts import account_names
from billing.rollups.read import sum_rolled
from billing.usage import UsageFilter
from catalog.values import Model, Status
from router.admin.launch_mails import count_addresses
from router.admin.model_mails import accounts_to_mail
from router.admin.price_impact import SPAN
from router.registry.indexes import SANDBOX_PROVIDER
from store.ids import AccountId

_KEYS = text("""
    SELECT count(*) AS keys, count(*) FILTER (WHERE cardinality(models) = 1) AS only_keys
    FROM keys WHERE :model = ANY(models) AND revoked_at IS NULL
""")


class ModelUser(msgspec.Struct, frozen=True):
    """An account that used the model in the last 30 days, or gets a mail."""

    account_id: AccountId
    account_name: str
    calls: int
    tokens: int
    is_mailed: bool


class MoveImpact(msgspec.Struct, frozen=True):
    """Whom a move touches, the largest users first. ``addresses``: of owners that take mails about models.

    ``keys`` name the model among those that they may call, ``only_keys`` no other one.
    """

    since: datetime
    until: datetime
    users: tuple[ModelUser, ...]
    addresses: int
    keys: int
    only_keys: int


async def measure_move(tx: AsyncConnection, model: Model, to: Status, now: datetime) -> MoveImpact:
    """Whom it touches that a model, as it is now, makes this move. Test keys' calls are left out."""
    which = UsageFilter(now - SPAN, now, model_ids=(model.id,))
    calls, tokens = Counter[AccountId](), Counter[AccountId]()
    for row in await sum_rolled(tx, which, ("account", "provider")):
        if row.provider_id != SANDBOX_PROVIDER and row.account_id is not None:
            calls[row.account_id] += row.calls
            tokens[row.account_id] += row.tokens
    mailed = frozenset(await accounts_to_mail(tx, model, to, now))
    names = await account_names(tx, [*calls, *mailed])
    users = [ModelUser(one, names.get(one, ""), calls[one], tokens[one], one in mailed) for one in {*calls, *mailed}]
    keys = (await tx.execute(_KEYS, {"model": model.id})).one()
    return MoveImpact(
        since=now - SPAN,
        until=now,
        users=tuple(sorted(users, key=lambda user: (-user.tokens, user.account_id))),
        addresses=await count_addresses(tx, mailed),
        keys=keys.keys,
        only_keys=keys.only_keys,
    )
