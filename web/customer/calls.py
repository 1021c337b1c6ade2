"""``/accounts/{account}/calls``: the log of an account's calls, refused and failed ones too, and each one explained.

The list is what ``GET /v1/requests`` answers, an explanation what ``GET /v1/requests/{id}`` does.
"""

from datetime import datetime
from functools import partial
from typing import ClassVar

import msgspec

from catalog.values import Status
from router.api.in_process import OperationRefused
from router.api.public.calls import CallsQuery, call_filter
from router.explain.call_csv import copy_calls
from router.explain.call_log import Outcome
from router.identity.key_views import key_labels, key_names
from store.copy_out import blocks_of
from store.ids import KeyId, parse, wire
from web.answers import Crumb, File, Page
from web.customer.days import day_begins
from web.customer.remedies import Remedy, remedy_of
from web.faults import InvalidInput
from web.parts.tables import Column, address
from web.request import PageRequest

HEAD = (
    Column("Time"),
    Column("Model"),
    Column("Key"),
    Column("Outcome"),
    Column("Took", "ms", is_number=True),
    Column("Tokens", is_number=True),
    Column("Cost", is_number=True),
    Column("Attempts", is_number=True),
)
OUTCOME_WORDS = {
    Outcome.ANSWERED: "answered",
    Outcome.REPLAYED: "replayed: a stored answer again",
    Outcome.REFUSED: "refused",
    Outcome.FAILED: "failed",
    Outcome.CANCELED: "canceled: the client hung up",
}
KEYS_SHOWN = 1_000
LIMIT = "50"


class CallsFields(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of the address: the operation's own, which says what is wrong with them; days are ``zone``'s."""

    since: str = msgspec.field(name="from", default="")
    until: str = msgspec.field(name="to", default="")
    key_id: str = ""
    model: str = ""
    outcome: str = ""
    code: str = ""
    slower_than_ms: str = ""
    cursor: str = ""
    zone: str = ""

    def filters(self) -> tuple[tuple[str, str], ...]:
        """The filters that are filled in, as the page's query."""
        found = msgspec.to_builtins(self)
        is_dated = bool(self.since or self.until)
        left_out = {"cursor"} if is_dated else {"cursor", "zone"}
        return tuple((name, value) for name, value in found.items() if value and name not in left_out)

    def wanted(self) -> tuple[tuple[str, str], ...]:
        """The filters, as the operation's query. Raises :class:`InvalidInput`."""
        instants = {"from": self.since, "to": self.until}
        return tuple(
            (name, day_begins(value, self.zone) if name in instants else value)
            for name, value in self.filters()
            if name != "zone"
        )


class CallRow(msgspec.Struct, frozen=True):
    """A call, as the operation answers it."""

    id: str
    created_at: datetime
    key: str | None
    key_name: str | None
    model: str | None
    lane: str
    outcome: str
    code: str | None
    took_ms: int
    tokens: int | None
    cost_usd: str | None
    attempts: int


class _Calls(msgspec.Struct, frozen=True):
    data: list[CallRow]
    next_cursor: str | None
    kept_days: int
    searched_to: datetime | None


class KeyOption(msgspec.Struct, frozen=True):
    """A key to choose: by its name, or by its prefix where it has none."""

    id: str
    name: str


class CallsPage(Page, frozen=True, kw_only=True):
    """The list with its filters. ``fault``: why the filters cannot be taken."""

    template: ClassVar[str] = "customer/calls.html"

    base: str
    query: CallsFields
    head: tuple[Column, ...]
    calls: tuple[CallRow, ...]
    keys: tuple[KeyOption, ...]
    models: tuple[str, ...]
    outcomes: tuple[tuple[str, str], ...]
    kept_days: int
    is_filtered: bool
    csv_href: str
    next_href: str | None = None
    first_href: str | None = None
    searched_to: datetime | None = None
    fault: str = ""


async def show(request: PageRequest) -> CallsPage:
    """A page of the log, the newest calls first."""
    query = _fields(request)
    cursor = (("cursor", query.cursor),) if query.cursor else ()
    fault, status = "", 200
    found = _Calls([], None, 30, None)
    try:
        outcome = await request.run("list_requests", _Calls, query=(*query.wanted(), *cursor, ("limit", LIMIT)))
        found = outcome.value
    except OperationRefused as refused:
        if refused.status >= 500:
            raise
        fault, status = " ".join(one.message for one in refused.faults), refused.status
    filters = query.filters()
    following = () if found.next_cursor is None else (("cursor", found.next_cursor),)
    return CallsPage(
        title="Calls",
        status=status,
        base=request.path,
        query=query,
        head=HEAD,
        calls=tuple(found.data),
        keys=await key_options(request),
        models=tuple(
            sorted(model.id for model in request.context.reads.catalog.all() if model.status is not Status.COMING_SOON)
        ),
        outcomes=tuple((one.value, words) for one, words in OUTCOME_WORDS.items()),
        kept_days=found.kept_days,
        is_filtered=bool(filters),
        csv_href=address(f"{request.path}.csv", filters),
        next_href=address(request.path, (*filters, *following)) if following else None,
        first_href=address(request.path, filters) if query.cursor else None,
        searched_to=found.searched_to,
        fault=fault,
    )


async def show_csv(request: PageRequest) -> File:
    """The whole selection as CSV, streamed."""
    fields = _fields(request)
    try:
        query = CallsQuery.model_validate_strings(dict(fields.wanted()))
    except ValueError:
        raise InvalidInput("These filters cannot be taken: open the list with them, which says why.") from None
    reads = request.context.reads
    which = call_filter(query, request.account(), reads, request.exchange.now)
    return File(body=blocks_of(partial(copy_calls, reads.db, which)), media="text/csv; charset=utf-8", name="calls.csv")


def _fields(request: PageRequest) -> CallsFields:
    """The fields of the address; days that come without a zone are the reader's."""
    fields = request.query_as(CallsFields)
    return fields if fields.zone else msgspec.structs.replace(fields, zone=request.viewer.zone)


async def key_options(request: PageRequest) -> tuple[KeyOption, ...]:
    """The keys of the account, the newest first, revoked ones too."""
    async with request.context.reads.db.transaction() as connection:
        labels = await key_labels(connection, request.account(), limit=KEYS_SHOWN)
    return tuple(KeyOption(wire(KeyId, key), label) for key, label in labels.items())


class _Candidate(msgspec.Struct, frozen=True):
    provider: str
    endpoint: str
    state: str
    place: int | None
    chosen: bool
    left_out: str | None
    facts: dict[str, float | None]


class _Attempt(msgspec.Struct, frozen=True):
    provider: str
    why: str
    began_ms: float
    took_ms: float
    outcome: str
    reason: str


class _License(msgspec.Struct, frozen=True):
    allowed: bool
    reasons: list[str]


class _Price(msgspec.Struct, frozen=True):
    id: str
    per_million_tokens: str
    contract: str | None


class _Charge(msgspec.Struct, frozen=True):
    amount: str
    tokens: int
    entry: str | None
    debt: str
    exact: str
    rounding: str
    forgiven: str


class _Timings(msgspec.Struct, frozen=True):
    admitted_ms: float | None
    delivered_ms: float | None
    charged_ms: float | None
    total_ms: float


class _Error(msgspec.Struct, frozen=True):
    code: str
    message: str


class ExplainedCall(msgspec.Struct, frozen=True):
    """A call's explanation, as the operation answers its customer."""

    id: str
    created_at: datetime
    status: int | None
    key: str | None
    model: str
    space: str
    lane: str | None
    inputs: int
    policy: str
    candidates: list[_Candidate]
    attempts: list[_Attempt]
    license: _License | None
    price: _Price | None
    cost: str | None
    charge: _Charge | None
    charge_pending: bool
    timings: _Timings | None
    error: _Error | None
    replayed: bool
    explained: bool


class CallPage(Page, frozen=True, kw_only=True):
    """One call: what became of it, why it went where it did, what it cost."""

    template: ClassVar[str] = "customer/call.html"

    call: ExplainedCall
    key_name: str
    remedy: Remedy | None
    list_href: str
    why_words: dict[str, str]


WHY_WORDS = {"first": "the first choice", "next": "the one before had failed", "hedge": "beside a slow one"}


async def show_one(request: PageRequest) -> CallPage:
    """Explain a call of the account; another account's is not found."""
    call = (await request.run("retrieve_request", ExplainedCall, path={"request_id": request.values["call"]})).value
    base = request.path.rpartition("/calls/")[0]
    async with request.context.reads.db.transaction() as connection:
        names = await key_names(connection, () if call.key is None else (KeyId(parse(KeyId, call.key)),))
    return CallPage(
        title="Call",
        crumbs=(Crumb("Calls", f"{base}/calls"), Crumb(call.id)),
        call=call,
        key_name=next(iter(names.values()), ""),
        remedy=None if call.error is None else remedy_of(call.error.code, call.model, base),
        list_href=f"{base}/calls",
        why_words=WHY_WORDS,
    )
