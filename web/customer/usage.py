"""``/accounts/{account}/usage``: what an account used and spent, over any days of any zone, by model, key or lane.

Chart and tables are made of the same sums, which are those of ``GET /v1/usage`` and of the ledger.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import ClassVar

import msgspec

from billing.rollups.columns import LATENCY_BOUNDS_MS
from billing.rollups.read import Horizon, read_horizon, sum_rolled
from billing.usage import GroupBy, UsageFilter, UsageSum
from router.explain.call_log import Outcome
from router.explain.receipts import KEPT_DAYS
from router.explain.standing import COUNTED_MAX, Standing, read_standing
from router.identity.key_views import key_labels
from router.identity.members import Role
from router.statistics.counts import percentile
from store.ids import AccountId, KeyId, ModelId, wire
from web.answers import Page
from web.customer.calls import KEYS_SHOWN, KeyOption
from web.customer.usage_span import By, Each, UsageFields, UsageSpan, key_of, presets, span_of
from web.parts.chart import SERIES_MAX, Chart, Series
from web.parts.tables import Column, address
from web.parts.times import iso
from web.request import PageRequest

ROWS_MAX = 20_000
OTHERS = "all others"
GROUP_NAMES: dict[By, str] = {"model": "Model", "key": "Key", "lane": "Lane"}
UsageRow = tuple[str, tuple[int, ...], int]


class GroupTotal(msgspec.Struct, frozen=True):
    """What a model, a key or a lane used in the whole span; ``href`` filters by it."""

    name: str
    calls: int
    tokens: int
    spent: int
    share: float
    href: str | None


class Unanswered(msgspec.Struct, frozen=True):
    """How many calls ended otherwise than with an answer, and the list of just these. ``is_least``: or more."""

    word: str
    count: int
    is_least: bool
    href: str


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """The figures above the chart; amounts in nano-USD. ``*_before``: in as many days before."""

    spent: int
    spent_before: int
    tokens: int
    tokens_before: int
    calls: int
    calls_before: int
    unanswered: tuple[Unanswered, ...] | None
    p50_ms: float | None
    p95_ms: float | None
    balance: int
    days_left: int | None


class UsagePage(Page, frozen=True, kw_only=True):
    """Figures, chart, and its table by time, a table by group."""

    template: ClassVar[str] = "customer/usage.html"

    base: str
    query: UsageFields
    first: date
    last: date
    days: int
    each: Each
    zone: str
    by_name: str
    figures: Figures
    chart: Chart
    head: tuple[Column, ...]
    rows: tuple[UsageRow, ...]
    groups: tuple[GroupTotal, ...]
    keys: tuple[KeyOption, ...]
    bys: tuple[By, ...]
    models: tuple[str, ...]
    presets: tuple[tuple[str, str, bool], ...]
    csv_href: str
    proof_href: str
    sees_calls: bool
    as_of: datetime
    kept_days: int
    is_filtered: bool


class _Read(msgspec.Struct, frozen=True):
    horizon: Horizon
    sums: list[UsageSum]
    before: list[UsageSum]
    keys: tuple[KeyOption, ...]
    standing: Standing


def fields_of(request: PageRequest) -> UsageFields:
    """The fields of the address; who sees money and no keys groups by model or lane."""
    fields = request.query_as(UsageFields)
    if not may_see_keys(request) and (fields.by == "key" or fields.key_id):
        return msgspec.structs.replace(fields, by="model", key_id="")
    return fields


def may_see_keys(request: PageRequest) -> bool:
    """Whether the reader's role has anything to do with keys and calls."""
    membership = request.viewer.membership(request.account())
    return membership is not None and membership.role is not Role.FINANCE


def filter_of(fields: UsageFields, since: datetime, until: datetime, account_id: AccountId) -> UsageFilter:
    """The filter of an address. Raises :class:`web.faults.InvalidInput`."""
    models = (ModelId(fields.model),) if fields.model else None
    return UsageFilter(since, until, account_id=account_id, key_ids=key_of(fields), model_ids=models)


async def show(request: PageRequest) -> UsagePage:
    """Show the usage of the days that the address names."""
    fields = fields_of(request)
    span = span_of(fields, request.exchange.now, request.viewer.zone)
    read = await _read(request, fields, span)
    names = {option.id: option.name for option in read.keys}
    totals = _totals(read.sums, fields.by)
    shown = [name for name, _ in sorted(totals.items(), key=lambda item: (-item[1].spent, item[0]))]
    series, rows = _series(read.sums, span, fields.by, shown, names)
    spent = sum(total.spent for total in totals.values())
    today = request.exchange.now.astimezone(span.zone).date()
    return UsagePage(
        title="Usage",
        base=request.path,
        query=fields,
        first=span.first,
        last=span.last,
        days=span.days,
        each=span.each,
        zone=span.zone.key,
        by_name=GROUP_NAMES[fields.by],
        figures=_figures(read, span, _unanswered(request, fields, span, read)),
        chart=Chart(
            title=f"Spent, by {fields.by}", unit="USD", labels=tuple(name for name, _ in span.buckets()), series=series
        ),
        head=(
            Column(span.each.capitalize(), span.zone.key),
            *(Column(one.name, "USD", is_number=True) for one in series),
            Column("Together", "USD", is_number=True),
        ),
        rows=rows,
        groups=tuple(_group(name, totals[name], spent, fields, request.path, names) for name in shown),
        keys=read.keys,
        bys=("model", "key", "lane") if may_see_keys(request) else ("model", "lane"),
        models=tuple(sorted({row.model_id for row in read.sums if row.model_id is not None} | {fields.model} - {""})),
        presets=tuple(
            (name, _href(request.path, fields, since=first, until=last), (first, last) == (span.first, span.last))
            for name, first, last in presets(today)
        ),
        csv_href=_href(f"{request.path}.csv", fields, since=span.first, until=span.last, zone=span.zone.key),
        proof_href=f"{request.path}/proof",
        sees_calls=may_see_keys(request),
        as_of=read.horizon.at,
        kept_days=KEPT_DAYS,
        is_filtered=bool(fields.key_id or fields.model),
    )


async def _read(request: PageRequest, fields: UsageFields, span: UsageSpan) -> _Read:
    account = request.account()
    since, until = span.before()
    which = filter_of(fields, span.since, span.until, account)
    groups: list[GroupBy] = [span.each, fields.by]
    async with request.context.reads.db.transaction() as tx:
        horizon = await read_horizon(tx, account)
        sums = await sum_rolled(tx, which, groups, zone=span.zone, limit=ROWS_MAX, latency=True, horizon=horizon)
        before = await sum_rolled(tx, filter_of(fields, since, until, account), ["account"], horizon=horizon)
        labels = await key_labels(tx, account, limit=KEYS_SHOWN) if may_see_keys(request) else {}
        key = next(iter(which.key_ids or ()), None)
        standing = await read_standing(tx, account, span.since, span.until, key_id=key, model_id=fields.model or None)
    options = tuple(KeyOption(wire(KeyId, key), label) for key, label in labels.items())
    return _Read(horizon, sums, before, options, standing)


class _Total(msgspec.Struct):
    calls: int = 0
    tokens: int = 0
    spent: int = 0

    def add(self, row: UsageSum) -> None:
        self.calls += row.calls
        self.tokens += row.tokens
        self.spent += row.charged + row.overdraft


def group_name(row: UsageSum, by: By) -> str:
    """The name of the group that a sum is of: a model's or key's id, or a lane."""
    match by:
        case "model":
            return row.model_id or ""
        case "key":
            return "" if row.key_id is None else wire(KeyId, row.key_id)
        case "lane":
            return row.lane or ""


def _totals(sums: Sequence[UsageSum], by: By) -> dict[str, _Total]:
    totals: dict[str, _Total] = defaultdict(_Total)
    for row in sums:
        totals[group_name(row, by)].add(row)
    return totals


def _series(
    sums: Sequence[UsageSum], span: UsageSpan, by: By, shown: Sequence[str], names: Mapping[str, str]
) -> tuple[tuple[Series, ...], tuple[UsageRow, ...]]:
    """The series of the chart, the largest groups first and all others as one; and the rows of its table."""
    single = list(shown) if len(shown) <= SERIES_MAX else list(shown[: SERIES_MAX - 1])
    places = {name: place for place, name in enumerate(single)}
    count = len(single) + (len(shown) > len(single))
    buckets = span.buckets()
    amounts = {value: [0] * count for _, value in buckets}
    for row in sums:
        place = places.get(group_name(row, by), len(single))
        amounts[_bucket(row, span.each)][place] += row.charged + row.overdraft
    titles = [names.get(name, name) for name in single] + ([OTHERS] if count > len(single) else [])
    series = tuple(
        Series(title, tuple(amounts[value][place] / 10**9 for _, value in buckets))
        for place, title in enumerate(titles)
    )
    rows = tuple((name, tuple(amounts[value]), sum(amounts[value])) for name, value in buckets)
    return series, rows


def _bucket(row: UsageSum, each: Each) -> object:
    return row.hour if each == "hour" else row.day if each == "day" else row.month


def _unanswered(
    request: PageRequest, fields: UsageFields, span: UsageSpan, read: _Read
) -> tuple[Unanswered, ...] | None:
    """Refused and failed calls of the span, for those who see calls; None where the log does not reach back so far."""
    if not may_see_keys(request) or (read.horizon.at - span.since).days > KEPT_DAYS:
        return None
    path = request.path.removesuffix("/usage") + "/calls"
    filters = tuple(
        (name, value)
        for name, value in (("key_id", fields.key_id), ("model", fields.model), ("from", iso(span.since)))
        if value
    )
    counts = ((Outcome.REFUSED, read.standing.refused), (Outcome.FAILED, read.standing.failed))
    return tuple(
        Unanswered(
            outcome.value,
            count,
            count >= COUNTED_MAX,
            address(path, (*filters, ("to", iso(span.until)), ("outcome", outcome.value))),
        )
        for outcome, count in counts
    )


def _figures(read: _Read, span: UsageSpan, unanswered: tuple[Unanswered, ...] | None) -> Figures:
    now, before = _Total(), _Total()
    for row in read.sums:
        now.add(row)
    for row in read.before:
        before.add(row)
    latency = [sum(counts) for counts in zip(*(row.latency or () for row in read.sums), strict=True)]
    # Of a span that goes on, the days that have passed.
    passed = (min(span.until, read.horizon.at) - span.since).total_seconds() / 86_400
    a_day = now.spent / passed if passed > 0 else 0.0
    return Figures(
        spent=now.spent,
        spent_before=before.spent,
        tokens=now.tokens,
        tokens_before=before.tokens,
        calls=now.calls,
        calls_before=before.calls,
        unanswered=unanswered,
        p50_ms=percentile(latency, 0.5, LATENCY_BOUNDS_MS),
        p95_ms=percentile(latency, 0.95, LATENCY_BOUNDS_MS),
        balance=read.standing.credit,
        days_left=int(read.standing.credit / a_day) if a_day > 0 else None,
    )


def _group(
    name: str, total: _Total, spent: int, fields: UsageFields, path: str, names: Mapping[str, str]
) -> GroupTotal:
    share = total.spent / spent if spent else 0.0
    changed: dict[By, dict[str, str]] = {"model": {"model": name}, "key": {"key_id": name, "by": "model"}, "lane": {}}
    href = _href(path, fields, **changed[fields.by]) if changed[fields.by] else None
    return GroupTotal(names.get(name, name), total.calls, total.tokens, total.spent, share, href)


def _href(path: str, fields: UsageFields, **changed: object) -> str:
    """The address with some fields changed."""
    new = msgspec.structs.replace(fields, **changed)
    found = msgspec.to_builtins(new)
    return address(path, tuple((name, str(value)) for name, value in found.items() if value))
