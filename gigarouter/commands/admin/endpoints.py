"""`gigarouter admin endpoints`."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import to_usd
from catalog import models
from gigarouter.commands.admin.options import Unset, offers, taken_away, typed
from gigarouter.commands.admin.output import AsJson, Row, show_list, show_one
from gigarouter.commands.admin.providers import provider_of, speaking_to
from gigarouter.commands.admin.session import PROVIDER_FAILED, actor, fail, id_of, read, run, usd, write
from router.changes.transaction import UnitOfWork
from router.manifest.cost_sources import cost_sources
from router.registry.endpoints import (
    EndpointView,
    edit_endpoint,
    get_endpoint,
    list_endpoints,
    move_by_hand,
    register_endpoint,
)
from router.registry.providers import provider_records
from router.values import EndpointSpec, EndpointState
from router.verification.endpoint_check import Report, try_endpoint
from router.verification.report import Verdict
from store.ids import EndpointId, ModelId, wire
from store.postgres import Database

app = typer.Typer(no_args_is_help=True)
OPTIONS = {
    "cost": Annotated[str | None, typer.Option(help="What it charges us, in USD per million tokens.")],
    "priority": Annotated[int | None, typer.Option(help="Smaller goes first; 100 by default.")],
    "weight": Annotated[
        int | None, typer.Option(help="Its share among those of the same priority and cost; 100 by default.")
    ],
    "base64": Annotated[
        bool | None, typer.Option("--base64/--no-base64", help="It understands encoding_format base64; yes by default.")
    ],
    "native_input_type": Annotated[
        bool | None,
        typer.Option("--native-input-type/--no-native-input-type", help="It has its own query and document."),
    ],
    "numerics": Annotated[str | None, typer.Option(help="Class of its weights' numbers, such as bf16 or int8.")],
    "max_batch": Annotated[int | None, typer.Option(help="The most inputs in one attempt.")],
    "max_batch_tokens": Annotated[int | None, typer.Option(help="The most tokens in one attempt.")],
    "requests_per_minute": Annotated[int | None, typer.Option(help="What the provider grants us.")],
    "tokens_per_minute": Annotated[int | None, typer.Option(help="What the provider grants us.")],
    "concurrency": Annotated[int | None, typer.Option(help="Attempts at once that the provider grants us.")],
}
LIMITS = ("max_batch", "max_batch_tokens", "requests_per_minute", "tokens_per_minute", "concurrency", "numerics")


@app.command("create")
@offers(OPTIONS)
def create(
    model: Annotated[str, typer.Argument(help="The model of the catalogue.")],
    provider: Annotated[str, typer.Argument(help="Id or name.")],
    *,
    upstream: Annotated[str | None, typer.Option(help="The provider's name of the model, where it differs.")] = None,
    space: Annotated[str | None, typer.Option(help="The vector space that it claims; the model's by default.")] = None,
    as_json: AsJson = False,
    **given: object,
) -> None:
    """Register an endpoint, as a draft."""
    facts = _facts(given)

    async def change(work: UnitOfWork) -> Row:
        served = await models.get(work.connection, model)
        by = await provider_of(work.connection, provider)
        spec = msgspec.structs.replace(EndpointSpec(upstream or served.id), **facts)
        endpoint = await register_endpoint(work, served, by.id, spec, space=space)
        return await _one(work.connection, endpoint.id)

    show_one(write(change), as_json=as_json)


@app.command("list")
def list_all(model: str | None = None, as_json: AsJson = False) -> None:
    """All endpoints, or a model's."""

    async def ask(connection: AsyncConnection) -> list[Row]:
        return await _rows(connection, await list_endpoints(connection, None if model is None else ModelId(model)))

    show_list(read(ask), as_json=as_json)


@app.command("show")
def show(endpoint: str, as_json: AsJson = False) -> None:
    """One endpoint."""
    endpoint_id = _id(endpoint)
    show_one(read(lambda connection: _one(connection, endpoint_id)), as_json=as_json)


@app.command("edit")
@offers(OPTIONS)
def edit(
    endpoint: str, *, upstream: str | None = None, unset: Unset = None, as_json: AsJson = False, **given: object
) -> None:
    """Change what is given; --unset takes a limit or the numerics away."""
    endpoint_id = _id(endpoint)
    facts = taken_away(unset, dict.fromkeys(LIMITS)) | _facts(given) | typed({"upstream_model": upstream})

    async def change(work: UnitOfWork) -> Row:
        now = (await get_endpoint(work.connection, endpoint_id, locked=True)).endpoint
        spec = msgspec.structs.replace(msgspec.convert(now, EndpointSpec, from_attributes=True), **facts)
        await edit_endpoint(work, endpoint_id, spec)
        return await _one(work.connection, endpoint_id)

    show_one(write(change), as_json=as_json)


@app.command("move")
def move(
    endpoint: str,
    to: Annotated[EndpointState, typer.Argument(help="Only live ones get traffic.")],
    reason: str = "",
    as_json: AsJson = False,
) -> None:
    """One step: probing, draining and back to live, quarantined, off. Any other goes live by passing its test."""
    endpoint_id = _id(endpoint)

    async def change(work: UnitOfWork) -> Row:
        await move_by_hand(work, endpoint_id, to, reason)
        return await _one(work.connection, endpoint_id)

    show_one(write(change), as_json=as_json)


@app.command("test")
def try_(
    endpoint: str,
    as_reference: Annotated[
        str, typer.Option(help="Let its vectors be the space's reference from now on; the reason why they may be.")
    ] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="Be the reference though others serve by another one: they pass again.")
    ] = False,
    dry_run: Annotated[bool, typer.Option(help="Make the calls, write and move nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask it the probes and compare with its space's reference: live, or quarantined with the reason (exit 7).

    Without a reference nothing is known (exit 1): it stays in probing.
    """
    endpoint_id = _id(endpoint)
    report = run(lambda db: _test(db, endpoint_id, as_reference, replace=replace, dry_run=dry_run))
    assert report.endpoint is not None, "a test of an endpoint tells of it; this is a bug"
    certified = report.certified
    result: Row = {
        "passed": report.passed,
        "dimensions": report.dimensions,
        "tokens": report.tokens,
        "provider_says_space": report.space,
        "steps": {step.name: f"{step.outcome} {step.said}".strip() for step in report.steps},
    }
    if certified is not None:
        result = {
            **result,
            "verdict": certified.verdict,
            "cosine_min": certified.cosine_min,
            "numerics": certified.numerics,
            "reference": certified.reference,
            "became_reference": certified.became_reference,
            "calls_since_last_good": certified.calls_since,
        }
    tested = report.endpoint.endpoint.id
    show_one({**read(lambda connection: _one(connection, tested)), **result}, as_json=as_json)
    if certified is not None and certified.verdict is Verdict.NO_REFERENCE:
        fail(f"{report.endpoint.endpoint.provider_name} was not compared: {report.reason}.")
    if not report.passed:
        fail(f"{report.endpoint.endpoint.provider_name} failed the test: {report.reason}", PROVIDER_FAILED)


async def _test(db: Database, endpoint_id: EndpointId, as_reference: str, *, replace: bool, dry_run: bool) -> Report:
    async with db.transaction() as connection:
        endpoint = (await get_endpoint(connection, endpoint_id)).endpoint
        records = await provider_records(connection)
    record = next(record for record in records if record.id == endpoint.provider_id)
    async with speaking_to(record) as provider:
        return await try_endpoint(
            db, actor(), endpoint_id, record, provider, as_reference=as_reference, replace=replace, dry_run=dry_run
        )


def _id(text: str) -> EndpointId:
    return EndpointId(id_of(EndpointId, text))


def _facts(given: Mapping[str, object]) -> dict[str, object]:
    """What was typed, under the names of an ``EndpointSpec``."""
    facts = typed(given)
    if "cost" in facts:
        facts["cost_nano_per_mtok"] = usd(str(facts.pop("cost")))
    if "base64" in facts:
        facts["asks_base64"] = facts.pop("base64")
    return facts


async def _one(connection: AsyncConnection, endpoint_id: EndpointId) -> Row:
    (row,) = await _rows(connection, [await get_endpoint(connection, endpoint_id)])
    return row


async def _rows(connection: AsyncConnection, views: list[EndpointView]) -> list[Row]:
    sources = await cost_sources(connection, [view.endpoint for view in views])
    return [_row(view, sources.get(view.endpoint.id)) for view in views]


def _row(view: EndpointView, cost_source: str | None) -> Row:
    endpoint = view.endpoint
    return {
        "id": wire(EndpointId, endpoint.id),
        "model": endpoint.model_id,
        "provider": endpoint.provider_name,
        "upstream": endpoint.upstream_model,
        "state": endpoint.state,
        "reason": view.reason,
        "priority": endpoint.priority,
        "cost_usd_per_mtok": to_usd(endpoint.cost_nano_per_mtok),
        "cost_source": cost_source,
        "space": endpoint.space,
        "max_batch": endpoint.max_batch,
        "weight": endpoint.weight,
        "numerics": endpoint.numerics,
        "max_batch_tokens": endpoint.max_batch_tokens,
        "requests_per_minute": endpoint.requests_per_minute,
        "tokens_per_minute": endpoint.tokens_per_minute,
        "concurrency": endpoint.concurrency,
    }
