"""``/accounts/{account}/usage.csv``: the whole selection of the usage page, a row for each bucket and group."""

import asyncio
from functools import partial

from billing.money import to_usd
from billing.rollups.read import sum_rolled
from billing.usage import GroupBy, UsageSum
from router.api.fields import rfc3339
from router.api.spreadsheet import csv_text
from router.identity.key_views import key_labels
from store.ids import KeyId, wire
from web.answers import File
from web.customer.calls import KEYS_SHOWN
from web.customer.usage import ROWS_MAX, fields_of, filter_of, group_name, may_see_keys
from web.customer.usage_span import UsageFields, UsageSpan, span_of
from web.faults import InvalidInput
from web.request import PageRequest

COLUMNS = ("calls", "inputs", "tokens", "free_calls", "free_tokens", "charged_usd", "overdraft_usd", "currency")


async def show(request: PageRequest) -> File:
    """All rows of the selection, with the zone that their days are of."""
    fields = fields_of(request)
    span = span_of(fields, request.exchange.now, request.viewer.zone)
    groups: list[GroupBy] = [span.each, fields.by]
    which = filter_of(fields, span.since, span.until, request.account())
    async with request.context.reads.db.transaction() as tx:
        sums = await sum_rolled(tx, which, groups, zone=span.zone, limit=ROWS_MAX + 1)
        labels = await key_labels(tx, request.account(), limit=KEYS_SHOWN) if may_see_keys(request) else {}
    if len(sums) > ROWS_MAX:
        raise InvalidInput(f"These are more than {ROWS_MAX} rows: choose fewer days.", "from")
    names = {wire(KeyId, key): label for key, label in labels.items()}
    body = await asyncio.to_thread(partial(_csv, sums, fields, span, names))
    return File(body=body, media="text/csv; charset=utf-8", name=f"usage-{span.first}-{span.last}.csv")


def _csv(sums: list[UsageSum], fields: UsageFields, span: UsageSpan, names: dict[str, str]) -> bytes:
    header = (span.each, "timezone", fields.by, *(("key_name",) if fields.by == "key" else ()), *COLUMNS)
    return csv_text(header, (_row(one, fields, span, names) for one in sums)).encode()


def _row(one: UsageSum, fields: UsageFields, span: UsageSpan, names: dict[str, str]) -> tuple[object, ...]:
    name = group_name(one, fields.by)
    bucket = one.day or one.month or ("" if one.hour is None else rfc3339(one.hour))
    named = (names.get(name, ""),) if fields.by == "key" else ()
    counts = (one.calls, one.inputs, one.tokens, one.free_calls, one.free_tokens)
    return (bucket, span.zone.key, name, *named, *counts, to_usd(one.charged), to_usd(one.overdraft), "USD")
