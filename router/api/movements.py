"""Answers what changed an account's balance: to its customer, and to operators with what is noted beside it."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, TypeVar

import msgspec
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.archives import put_away_in
from billing.entry_calls import EntryCall, calls_of
from billing.money import MAX_INT64, NanoUSD
from billing.movements import Movement, Position, Span, find_movement, list_movements, read_span
from billing.shares import GrantShare
from router.api.exchange import Exchange
from router.api.fields import EntryIdText, GrantIdText, Instant, Usd
from router.api.forms import Answer, Page, PageQuery, closed
from router.api.periods import SpanFields
from router.errors import InvalidRequest, NotFound
from store.ids import AccountId, EntryId, RequestId, wire

M = TypeVar("M", "SingleMovementOut", "SingleOpsMovementOut")
P = TypeVar("P", bound="MovementsOut")


class MovementQuery(PageQuery, SpanFields):
    """Which movements; a cursor has the span of time of its first page."""

    async def page(self, tx: AsyncConnection, account_id: AccountId, exchange: Exchange) -> tuple[Span, list[Movement]]:
        """The span that is meant, and one movement more than the page has. Raises ``InvalidRequest``."""
        if self.cursor is None:
            meant = self.span(exchange.now)
            span = await read_span(tx, account_id, meant.since, meant.until)
            return span, await list_movements(tx, account_id, span, span.start, self.limit + 1)
        try:
            span, after = _decode(self.after() or "")
        except (msgspec.DecodeError, ValueError):
            raise InvalidRequest("'cursor' is the next_cursor of the page before.", param="cursor") from None
        return span, await list_movements(tx, account_id, span, after, self.limit + 1)


class _Cursor(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A span and a position in it, as a cursor has them. Whoever changes it changes what is shown to themselves."""

    span: Span
    after: Position


def _decode(cursor: str) -> tuple[Span, Position]:
    found = msgspec.json.decode(cursor, type=_Cursor)
    # What Postgres reads as a snapshot: the oldest and the next transaction, and in their order those that are open.
    oldest, following, running = found.span.snapshot.split(":")
    numbers = [int(oldest), *(int(number) for number in running.split(",") if running), int(following)]
    if numbers != sorted(numbers) or not 0 < numbers[0] <= numbers[-1] <= MAX_INT64 or numbers[-1] in numbers[1:-1]:
        raise ValueError(cursor)
    if any(at.tzinfo is None for at in (found.span.since, found.span.until, found.after.at)):
        raise ValueError(cursor)
    return found.span, found.after


class GrantShareOut(Answer):
    """How much one grant paid of an entry, or gave."""

    grant: GrantIdText
    kind: str = Field(description="promotional, goodwill, purchased, or line.")
    amount_usd: Usd


class MovementOut(Answer):
    """One entry of the ledger that changed the balance, or the debt. Amounts are USD."""

    columns: ClassVar[tuple[str, ...]] = (
        *("at", "kind", "balance_change_usd", "debt_change_usd", "balance_usd", "debt_usd", "reference"),
        "entry",
    )

    entry: EntryIdText
    at: Instant = Field(
        description="When it counts: when it was booked; for calls of an earlier month, at that month's end."
    )
    booked_at: Instant
    kind: str = Field(
        description="What caused it: usage, grant, expiry, refund, dispute, line (drawn or lowered), debt (paid), "
        "minimum (of a contract), or correction; later releases may have more."
    )
    reference: str = Field(description="The fact behind it, which is booked once, such as a grant's source.")
    balance_change_usd: Usd = Field(description="By how much the balance changed; what a call costs is negative.")
    debt_change_usd: Usd = Field(description="By how much the debt changed.")
    balance_usd: Usd | None = Field(description="The balance after it; null where it is shown by itself.")
    debt_usd: Usd | None = Field(description="The debt after it; null where it is shown by itself.")
    paid_by: list[GrantShareOut] = Field(description="The grants that were used up by it, in that order.")
    grant: GrantShareOut | None = Field(description="The grant that was given by it.")
    object: Literal["movement"] = "movement"


class EntryCallOut(Answer):
    """One call of an entry."""

    request: str
    at: Instant
    model: str
    tokens: int
    per_million_tokens_usd: Usd
    cost_usd: Usd
    debt_usd: Usd = Field(description="Of the cost, what the credit did not reach.")


class SingleMovementOut(MovementOut):
    """One movement with the calls that it charged."""

    calls: list[EntryCallOut] = Field(description="The calls that it charged, where it is usage.")


class MovementsOut(Page[MovementOut]):
    """Movements over ``[from, to)``: opening plus all movements of all pages is closing, exactly."""

    object: Literal["movements"] = "movements"  # type: ignore[assignment]
    since: Instant = Field(serialization_alias="from")
    until: Instant = Field(serialization_alias="to")
    opening_balance_usd: Usd
    opening_debt_usd: Usd
    closing_balance_usd: Usd
    closing_debt_usd: Usd
    currency: Literal["USD"] = "USD"


class OpsMovementOut(MovementOut):
    """With what was noted for operators."""

    note: str


class OpsMovementsOut(MovementsOut):
    """Movements as operators see them."""

    data: list[OpsMovementOut]  # type: ignore[assignment]


class SingleOpsMovementOut(OpsMovementOut):
    """One movement with the calls that it charged, as operators see it."""

    calls: list[EntryCallOut] = Field(description="The calls that it charged, where it is usage.")


def page_of(kind: type[P], row: type[MovementOut], limit: int, span: Span, found: Sequence[Movement]) -> P:
    """A page from up to one movement more than it has."""
    has_more, shown = len(found) > limit, found[:limit]
    cursor = msgspec.json.encode(_Cursor(span, shown[-1].position)).decode() if has_more else None
    return kind(
        data=[row(**fields_of(movement, row)) for movement in shown],
        has_more=has_more,
        next_cursor=None if cursor is None else closed(cursor),
        since=span.since,
        until=span.until,
        opening_balance_usd=span.opening_balance,
        opening_debt_usd=span.opening_debt,
        closing_balance_usd=span.closing_balance,
        closing_debt_usd=span.closing_debt,
    )


async def single(tx: AsyncConnection, account_id: AccountId, entry_id: EntryId, kind: type[M]) -> M:
    """One movement of the account with its calls. Raises ``NotFound``, also for another account's entry."""
    movement = await find_movement(tx, account_id, entry_id)
    if movement is None:
        place = await put_away_in(tx, entry_id)
        where = f" What the calls of {place.month} booked was put away, in {place.file}." if place else ""
        name = wire(EntryId, entry_id)
        raise NotFound(f"No entry {name} changed the balance of this account.{where}", param="entry_id")
    calls = await calls_of(tx, account_id, movement) if movement.kind == "usage" else []
    return kind(**fields_of(movement, kind), calls=[_call(call) for call in calls])


def fields_of(movement: Movement, kind: type[MovementOut]) -> dict[str, Any]:
    """The fields of an answer, by their names."""
    fields = {
        "entry": movement.entry,
        "at": movement.at,
        "booked_at": movement.booked_at,
        "kind": movement.kind,
        "reference": movement.source_ref,
        "note": movement.note,
        "balance_change_usd": movement.balance_change,
        "debt_change_usd": movement.debt_change,
        "balance_usd": movement.balance,
        "debt_usd": movement.debt,
        "paid_by": [_share(share) for share in movement.paid_by],
        "grant": None if movement.given is None else _share(movement.given),
    }
    return {name: value for name, value in fields.items() if name in kind.model_fields}


def _share(share: GrantShare) -> GrantShareOut:
    return GrantShareOut(grant=share.grant, kind=share.kind, amount_usd=share.amount)


def _call(call: EntryCall) -> EntryCallOut:
    return EntryCallOut(
        request=wire(RequestId, call.request_id),
        at=call.occurred_at,
        model=call.model_id,
        tokens=call.tokens,
        per_million_tokens_usd=NanoUSD(call.nano_per_mtok),
        cost_usd=NanoUSD(call.cost_nano),
        debt_usd=NanoUSD(call.overdraft_nano),
    )
