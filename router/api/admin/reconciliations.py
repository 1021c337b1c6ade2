"""``/admin/v1/finance/reconciliations``: comparisons of the ledger with Stripe and with providers' invoices."""

from typing import Annotated, ClassVar

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.reconciliation.runs import Run, RunKind, RunState, find_run, list_runs
from router.admin.reconciliation import order_run
from router.api.admin.request import Read, Write
from router.api.fields import Instant, ReconciliationIdText
from router.api.forms import Answer, Body, Page, PageQuery, answer_of
from router.api.operation import ALL, MONEY, V1, Operations
from router.changes.transaction import UnitOfWork
from router.errors import NotFound
from store.ids import ReconciliationId, wire

operations = Operations("reconciliations", f"{V1}/finance/reconciliations", tag="Finance")


class ReconciliationOut(Answer):
    """A comparison, and what came of it."""

    columns: ClassVar[tuple[str, ...]] = ("id", "kind", "state", "requested_at", "ended_at", "examined", "found")

    id: ReconciliationIdText
    kind: RunKind
    state: RunState = Field(description="queued, done, or failed: then nothing in the queue was changed.")
    requested_by: str
    requested_at: Instant
    ended_at: Instant | None
    examined: int = Field(description="How many objects were looked at.")
    found: int = Field(description="How many of them differ, resolved ones among them: `differences list` has them.")
    failure: str


class ReconciliationOrder(Body):
    """What is to be compared."""

    kind: RunKind = Field(
        description="stripe; providers: all invoices that are not settled; or meters: mirrored usage at Stripe."
    )


@operations.get("", verb="list", summary="List reconciliations", roles=ALL)
async def list_(admin: Read, query: Annotated[PageQuery, Query()]) -> Page[ReconciliationOut]:
    """The newest first. `gigarouter jobs` makes one of each kind a day by itself."""
    after = query.after_id(ReconciliationId)

    async def ask(connection: AsyncConnection) -> list[ReconciliationOut]:
        before = None if after is None else ReconciliationId(after)
        return [_out(run) for run in await list_runs(connection, before, query.limit + 1)]

    return admin.page(query, await admin.read(ask), lambda row: wire(ReconciliationId, row.id))


@operations.get("/{reconciliation_id}", verb="show", summary="Retrieve a reconciliation", roles=ALL)
async def retrieve(admin: Read, reconciliation_id: ReconciliationIdText) -> ReconciliationOut:
    """How far it is."""

    async def ask(connection: AsyncConnection) -> ReconciliationOut:
        found = await find_run(connection, reconciliation_id)
        if found is None:
            raise NotFound(
                f"There is no reconciliation {wire(ReconciliationId, reconciliation_id)}.", param="reconciliation"
            )
        return _out(found)

    return await admin.read(ask)


@operations.post("", verb="run", summary="Reconcile now", roles=MONEY, status=201)
async def run(admin: Write, body: ReconciliationOrder) -> ReconciliationOut:
    """`gigarouter jobs` begins within seconds. One that waits already is the same."""

    async def command(work: UnitOfWork) -> ReconciliationOut:
        return _out(await order_run(work, body.kind, admin.context.stripe))

    return await admin.change(command)


def _out(found: Run) -> ReconciliationOut:
    return answer_of(ReconciliationOut, found)
