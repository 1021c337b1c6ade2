"""``/admin/v1/manifest``: the catalogue as a file that is reviewed: planned, applied, exported."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Literal, TypeVar

import msgspec
from fastapi import Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from router.api.admin.request import Read, Reading, Write, Writing, translated
from router.api.forms import Answer, Body
from router.api.operation import ALL, OPS, V1, Operations
from router.changes import idempotency
from router.changes.transaction import UnitOfWork
from router.errors import InvalidRequest
from router.manifest import apply as applying
from router.manifest import current_state, report, schema
from router.manifest import export as exporting
from router.manifest.apply import ApplyRequest
from router.manifest.values import CurrentState, Decisions, Fault, FileRefused, Plan

operations = Operations("manifest", f"{V1}/manifest")

T = TypeVar("T", bound=Answer)

YAML = "text/yaml"
# Some 1,400 endpoints. Nearly all of it is one text, which costs its reader next to nothing.
FILE_BYTES_MAX = 1024 * 1024
Rows = list[dict[str, Any]]


class ManifestBody(Body):
    """A catalogue file, and what is decided about what was changed elsewhere."""

    file: str = Field(
        description="The catalogue file: its text, YAML.", json_schema_extra={"contentMediaType": "application/yaml"}
    )
    take_file: tuple[str, ...] = Field((), description="Paths where the file's value holds, as endpoints[3].priority.")
    take_theirs: tuple[str, ...] = Field((), description="Paths where what was changed elsewhere stays.")
    prune: bool = Field(False, description="End what is no longer in the file: endpoints, providers.")
    allow_loss: bool = Field(False, description="A price below an endpoint's cost is meant.")
    allow_zero_cost: bool = Field(
        False, description="A cost of 0 of an endpoint that serves at a paid provider is meant."
    )


class PlanOut(Answer):
    """What an apply would do, or did; amounts are USD per million tokens. ``lines`` tell the same to people."""

    columns: ClassVar[tuple[str, ...]] = ("lines",)

    steps: Rows
    conflicts: Rows = Field(description="What was changed elsewhere and is not decided.")
    left: Rows = Field(alias="kept", description="What was changed elsewhere and stays.")
    no_longer_in_file: Rows
    faults: Rows
    waiting: list[str] = Field(description="Launches that lack something.")
    refused: list[str] = Field(description="What forbids all of it.")
    margins: Rows
    endpoints_that_stop: list[str]
    endpoints_out_until_they_pass_their_probes: list[str]
    models_without_live_endpoint: list[str]
    customers_last_30_days: Rows
    something_to_do: bool
    lines: list[str]
    object: Literal["catalogue_plan"] = "catalogue_plan"


@operations.post(
    ":plan",
    verb="plan",
    name="plan_manifest",
    summary="Plan a catalogue file",
    roles=OPS,
    body_bytes_max=FILE_BYTES_MAX,
)
async def plan(admin: Read, body: ManifestBody) -> PlanOut:
    """What an apply would change, whom it affects, and what would refuse it. Changes nothing."""
    request = await _request(admin, body)
    with translated():
        planned = await applying.plan(admin.context.db, admin.actor, request)
    if planned.diff.faults:
        raise file_refused(planned.diff.faults)
    return plan_out(planned)


@operations.post(
    ":apply",
    verb="apply",
    name="apply_manifest",
    summary="Apply a catalogue file",
    roles=OPS,
    body_bytes_max=FILE_BYTES_MAX,
)
async def apply(admin: Write, body: ManifestBody) -> PlanOut:
    """Make the catalogue what the file says: all of it or nothing. A second time there is nothing to do."""
    return await carry_out(admin, await _request(admin, body), lambda done: plan_out(done, done=not admin.dry_run))


@operations.get(
    ":export", verb="export", name="export_manifest", summary="Export the catalogue", roles=ALL, media=(YAML,)
)
async def export(admin: Read) -> Response:
    """The present state as a catalogue file. Credentials are not in it."""

    async def ask(connection: AsyncConnection) -> CurrentState:
        return await current_state.load(connection, "file", admin.exchange.now)

    state = await admin.read(ask)
    return admin.respond((await asyncio.to_thread(exporting.manifest_text, state)).encode(), YAML)


async def carry_out(admin: Writing, request: ApplyRequest, answer: Callable[[Plan], T]) -> T:
    """Apply, or plan where it is a dry run. The answer is kept in the transaction that changes the catalogue.

    Raises ``InvalidRequest``, ``Conflict``, ``IdempotencyMismatch``;
    :class:`router.changes.idempotency.ReplayedOutcome`, which the application answers.
    """
    claim = admin.claim
    if claim is not None and (
        stored := await admin.read(lambda connection: idempotency.find_outcome(connection, claim))
    ):
        raise idempotency.ReplayedOutcome(stored)

    async def ending(work: UnitOfWork, done: Plan) -> None:
        if claim is not None:
            await idempotency.claim_key(work.connection, claim)
        await admin.keep(work, answer(done))

    run: Callable[..., Awaitable[Plan]] = applying.plan if admin.dry_run else applying.apply
    request = msgspec.structs.replace(request, ending=ending)
    try:
        with translated():
            done = await run(admin.context.db, admin.actor, request)
    except FileRefused as refused:
        raise file_refused(refused.faults) from None
    if done.diff.faults:
        raise file_refused(done.diff.faults)
    return admin.answer(answer(done))


async def _request(admin: Reading, body: ManifestBody) -> ApplyRequest:
    try:
        # A megabyte of YAML takes seconds to read.
        entries = await asyncio.to_thread(schema.read, body.file)
    except FileRefused as refused:
        raise file_refused(refused.faults) from None
    decisions = Decisions(
        body.take_file, body.take_theirs, body.prune, body.allow_loss, allow_zero_cost=body.allow_zero_cost
    )
    return ApplyRequest(lambda _: entries, decisions, check_provider=admin.context.check_provider)


def file_refused(faults: tuple[Fault, ...]) -> InvalidRequest:
    """Every fault with its line and path, the first in the sentence."""
    more = f" And {len(faults) - 1} more." if len(faults) > 1 else ""
    details = [{"param": fault.path or None, "line": fault.line, "message": str(fault)} for fault in faults]
    return InvalidRequest(f"The file cannot be used: {faults[0]}{more}", param="file", details={"faults": details})


def plan_out(plan: Plan, *, done: bool = False) -> PlanOut:
    """The plan for machines and for people."""
    return PlanOut.model_validate({**report.plan_json(plan), "lines": list(report.plan_lines(plan, applied=done))})
