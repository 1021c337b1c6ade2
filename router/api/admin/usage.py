"""``/admin/v1/usage``: calls, tokens and money over a span of time, grouped; as JSON, or as CSV for a spreadsheet."""

import asyncio
from typing import Annotated

from fastapi import Query, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.rollups.read import sum_rolled
from billing.usage import GroupBy, UsageFilter, UsageSum
from router.api.admin.references import account_of, key_of, model_id_of, provider_of
from router.api.admin.request import Read
from router.api.admin.usage_rows import Names, OperatorUsageOut, names_of, operator_csv, operator_json
from router.api.fields import AccountRef, KeyRef, ModelRef, ProviderRef
from router.api.operation import ALL, CSV, V1, Operations
from router.api.periods import Period, SpanQuery
from router.api.usage_report import MEDIA, Commas, check_rows, media_of

operations = Operations("usage", f"{V1}/usage")

ROWS_MAX = 100_000


class UsageQuery(SpanQuery):
    """Whose usage, when, by what."""

    group_by: Annotated[tuple[GroupBy, ...], Commas] = Field(
        ("day",),
        description="account, key, model, lane, hour, day, month, provider: one or several, with commas or repeated.",
    )
    account: AccountRef | None = Field(None, description="That of this account.")
    key: KeyRef | None = Field(None, description="That of this key.")
    model: ModelRef | None = Field(None, description="That of this model.")
    provider: ProviderRef | None = Field(None, description="What this provider served.")


@operations.get(
    "", verb="list", name="admin_usage", summary="Sum usage", roles=ALL, answer=OperatorUsageOut, media=MEDIA
)
async def list_(admin: Read, query: Annotated[UsageQuery, Query()]) -> Response:
    """Calls, tokens and money by account, key, model, lane, hour, day, month or provider; the sums are the ledger's."""
    span, group_by = query.span(admin.exchange.now), tuple(dict.fromkeys(query.group_by))
    media = media_of(query.format, admin.accept)

    async def ask(connection: AsyncConnection) -> tuple[list[UsageSum], Names]:
        sums = await sum_rolled(connection, await _filter(connection, query, span), group_by, limit=ROWS_MAX + 1)
        check_rows(sums, ROWS_MAX)
        return sums, await names_of(connection, sums)

    sums, names = await admin.read(ask)
    # A hundred thousand rows take a second to write.
    body = await asyncio.to_thread(operator_csv if media == CSV else operator_json, span, group_by, sums, names)
    return admin.respond(body, media)


async def _filter(connection: AsyncConnection, query: UsageQuery, span: Period) -> UsageFilter:
    """Raises ``NotFound``, ``Conflict`` and ``ModelUnknown`` for what is named."""
    account = None if query.account is None else await account_of(connection, query.account)
    key = None if query.key is None else await key_of(connection, query.key)
    owner = None if key is None else key.account_id  # Usage has an index by account, which a key's is found by, too.
    return UsageFilter(
        span.since,
        span.until,
        account_id=owner if account is None else account.id,
        key_ids=None if key is None else (key.id,),
        model_ids=None if query.model is None else (await model_id_of(connection, query.model),),
        provider_id=None if query.provider is None else (await provider_of(connection, query.provider)).id,
    )
