"""``/admin/v1/finance/differences``: where the ledger and others' statements are not one, and who explains it."""

from typing import Annotated, ClassVar

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.reconciliation.differences import Difference, DifferenceState, find_difference, list_differences
from billing.reconciliation.values import Kind
from router.admin.reconciliation import assign_difference, resolve_difference
from router.api.admin.request import Edit, Read, Write
from router.api.fields import DifferenceIdText, EntryIdText, Flag, Instant, Usd, text_of
from router.api.forms import Body, Page, PageQuery, Patch, Resource, answer_of
from router.api.operation import ALL, MONEY, V1, Operations
from router.changes.transaction import UnitOfWork
from router.errors import NotFound
from store.ids import DifferenceId, wire

operations = Operations("differences", f"{V1}/finance/differences", tag="Finance")


class DifferenceFacts(Body):
    """Who looks after a difference, and what is known of it."""

    owner: str = Field("", max_length=200, description="Who looks after it.")
    note: str = Field("", max_length=2_000, description="What is known of it so far.")


class DifferenceOut(Resource):
    """One difference."""

    volatile: ClassVar[frozenset[str]] = frozenset({"age_days", "seen_at"})
    columns: ClassVar[tuple[str, ...]] = ("id", "age_days", "kind", "object", "amount_usd", "message", "owner", "state")

    id: DifferenceIdText
    scope: str = Field(description="Which comparison looks at it: stripe, or invoice: and the invoice's id.")
    kind: Kind
    object: str = Field(description="What differs: the object at Stripe, or provider, invoice, day and model.")
    amount_usd: Usd = Field(description="What the ledger lacks of what the other side says.")
    message: str
    state: DifferenceState = Field(
        description="open; resolved, by a person; gone, by a comparison that found it right."
    )
    age_days: int = Field(description="For how many days it has been open, or was.")
    found_at: Instant
    seen_at: Instant = Field(description="When it was found the last time.")
    gone_at: Instant | None
    owner: str
    note: str
    resolved_at: Instant | None
    resolved_by: str | None
    reason: str
    entry: EntryIdText | None = Field(description="The entry that explains it.")


class DifferenceEdit(DifferenceFacts, Patch):
    """What of it changes."""


class DifferenceResolution(Body):
    """What explains it: an entry, a reason, or both."""

    reason: Annotated[str, text_of(2_000)] | None = Field(None, description="Why it is right as it is.")
    entry: EntryIdText | None = Field(None, description="The entry that books it.")


class DifferenceQuery(PageQuery):
    """Which part of the queue is listed."""

    all: Flag = Field(False, description="1: what is resolved or gone, too.")
    scope: str | None = Field(None, description="Those of one comparison.")
    owner: str | None = Field(None, description="Those that somebody looks after.")


@operations.get("", verb="list", summary="List differences", roles=ALL)
async def list_(admin: Read, query: Annotated[DifferenceQuery, Query()]) -> Page[DifferenceOut]:
    """The queue, the oldest first."""
    after = query.after_id(DifferenceId)

    async def ask(connection: AsyncConnection) -> list[DifferenceOut]:
        rows = await list_differences(
            connection,
            is_open=not query.all,
            scope=query.scope,
            owner=query.owner,
            after=None if after is None else DifferenceId(after),
            most=query.limit + 1,
        )
        return [_out(row, admin) for row in rows]

    return admin.page(query, await admin.read(ask), lambda row: wire(DifferenceId, row.id))


@operations.get("/{difference_id}", verb="show", summary="Retrieve a difference", roles=ALL)
async def retrieve(admin: Read, difference_id: DifferenceIdText) -> DifferenceOut:
    """One difference."""

    async def ask(connection: AsyncConnection) -> DifferenceOut:
        found = await find_difference(connection, difference_id)
        if found is None:
            raise NotFound(f"There is no difference {wire(DifferenceId, difference_id)}.", param="difference")
        return _out(found, admin)

    return await admin.read(ask)


@operations.patch("/{difference_id}", verb="edit", summary="Give a difference an owner or a note", roles=MONEY)
async def edit(admin: Edit, difference_id: DifferenceIdText, body: DifferenceEdit) -> DifferenceOut:
    """Say who looks after it, and what is known of it."""
    given = body.given()

    async def command(work: UnitOfWork) -> DifferenceOut:
        return _out(await assign_difference(work, difference_id, given.get("owner"), given.get("note")), admin)

    async def current(work: UnitOfWork) -> DifferenceOut:
        found = await find_difference(work.connection, difference_id, locked=True)
        if found is None:
            raise NotFound(f"There is no difference {wire(DifferenceId, difference_id)}.", param="difference")
        return _out(found, admin)

    return await admin.change(command, current=current)


@operations.post("/{difference_id}/resolve", verb="resolve", summary="Resolve a difference", roles=MONEY)
async def resolve(admin: Write, difference_id: DifferenceIdText, body: DifferenceResolution) -> DifferenceOut:
    """Close it by the entry that books it, or the reason that explains it. With another amount, it is open again."""

    async def command(work: UnitOfWork) -> DifferenceOut:
        return _out(await resolve_difference(work, difference_id, body.reason or "", body.entry), admin)

    return await admin.change(command)


def _out(found: Difference, admin: Read | Write | Edit) -> DifferenceOut:
    ended = found.resolved_at or found.gone_at or admin.exchange.now
    age = max(0, (ended - found.found_at).days)
    return answer_of(DifferenceOut, found, amount_usd=found.amount, age_days=age, entry=found.entry_id)
