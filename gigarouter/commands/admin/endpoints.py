"""`gigarouter admin endpoints`."""

from typing import Annotated

import msgspec
import typer
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import to_usd
from catalog import models
from gigarouter.commands.admin.output import AsJson, Row, show_list, show_one
from gigarouter.commands.admin.providers import provider_of, speaking_to
from gigarouter.commands.admin.session import PROVIDER_FAILED, actor, fail, id_of, read, run, usd, write
from router.certify import certify
from router.endpoints import (
    EndpointSpec,
    EndpointView,
    edit_endpoint,
    get_endpoint,
    list_endpoints,
    move_endpoint,
    register_endpoint,
)
from router.registered import provider_records
from router.values import Endpoint, EndpointState
from router.verdicts import Occasion, Report, Verdict
from router.write import Work
from store.ids import EndpointId, ModelId, wire
from store.postgres import Database

app = typer.Typer(no_args_is_help=True)
Cost = Annotated[str | None, typer.Option(help="What it charges us, in USD per million tokens.")]


@app.command("create")
def create(
    model: Annotated[str, typer.Argument(help="The model of the catalogue.")],
    provider: Annotated[str, typer.Argument(help="Id or name.")],
    *,
    upstream: Annotated[str | None, typer.Option(help="The provider's name of the model, where it differs.")] = None,
    cost: Cost = "0.00",
    priority: Annotated[int, typer.Option(help="Smaller goes first.")] = 100,
    base64: Annotated[bool, typer.Option(help="It understands encoding_format base64.")] = True,
    native_input_type: Annotated[bool, typer.Option(help="It has its own query and document.")] = False,
    max_batch: Annotated[int | None, typer.Option(help="The most inputs in one attempt.")] = None,
    space: Annotated[str | None, typer.Option(help="The vector space that it claims; the model's by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Register an endpoint, as a draft."""
    charged = usd(cost or "0.00")

    async def change(work: Work) -> EndpointView:
        served = await models.get(work.connection, model)
        by = await provider_of(work.connection, provider)
        spec = EndpointSpec(upstream or served.id, charged, priority, base64, native_input_type, max_batch)
        endpoint = await register_endpoint(work, served, by.id, spec, space=space)
        return await get_endpoint(work.connection, endpoint.id)

    show_one(_row(write(change)), as_json=as_json)


@app.command("list")
def list_all(model: str | None = None, as_json: AsJson = False) -> None:
    """All endpoints, or a model's."""

    async def ask(connection: AsyncConnection) -> list[Row]:
        return [_row(view) for view in await list_endpoints(connection, None if model is None else ModelId(model))]

    show_list(read(ask), as_json=as_json)


@app.command("show")
def show(endpoint: str, as_json: AsJson = False) -> None:
    """One endpoint."""
    endpoint_id = _id(endpoint)
    show_one(_row(read(lambda connection: get_endpoint(connection, endpoint_id))), as_json=as_json)


@app.command("edit")
def edit(
    endpoint: str,
    *,
    upstream: str | None = None,
    cost: Cost = None,
    priority: int | None = None,
    base64: Annotated[bool | None, typer.Option("--base64/--no-base64")] = None,
    max_batch: int | None = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given."""
    endpoint_id = _id(endpoint)
    given = {
        "upstream_model": upstream,
        "cost_nano_per_mtok": None if cost is None else usd(cost),
        "priority": priority,
        "asks_base64": base64,
        "max_batch": max_batch,
    }

    async def change(work: Work) -> EndpointView:
        now = (await get_endpoint(work.connection, endpoint_id)).endpoint
        spec = msgspec.convert(now, EndpointSpec, from_attributes=True)
        spec = msgspec.structs.replace(spec, **{name: value for name, value in given.items() if value is not None})
        await edit_endpoint(work, endpoint_id, spec)
        return await get_endpoint(work.connection, endpoint_id)

    show_one(_row(write(change)), as_json=as_json)


@app.command("move")
def move(
    endpoint: str,
    to: Annotated[EndpointState, typer.Argument(help="Only live ones get traffic.")],
    reason: str = "",
    as_json: AsJson = False,
) -> None:
    """One step: probing, live, draining, quarantined, off."""
    endpoint_id = _id(endpoint)

    async def change(work: Work) -> EndpointView:
        moved: Endpoint = await move_endpoint(work, endpoint_id, to, reason)
        return EndpointView(moved, reason)

    show_one(_row(write(change)), as_json=as_json)


@app.command("test")
def try_(
    endpoint: str,
    as_reference: Annotated[
        str, typer.Option(help="Let its vectors be the space's reference from now on; the reason why they may be.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Ask it the probes and compare with its space's reference: live, or quarantined with the reason (exit 7).

    Without a reference nothing is known (exit 1): it stays in probing.
    """
    endpoint_id = _id(endpoint)
    report, view = run(lambda db: _test(db, endpoint_id, as_reference))
    result = {
        "verdict": report.verdict,
        "passed": report.passed,
        "cosine_min": report.cosine_min,
        "numerics": report.numerics,
        "reference": report.reference,
        "dimensions": report.dimensions,
        "tokens": report.tokens,
        "provider_says_space": report.space,
        "calls_since_last_good": report.calls_since,
    }
    show_one({**_row(view), **result}, as_json=as_json)
    if report.verdict is Verdict.NO_REFERENCE:
        fail(f"{view.endpoint.provider_name} was not compared: {report.reason}.")
    if not report.passed:
        fail(f"{view.endpoint.provider_name} failed the test: {report.reason}", PROVIDER_FAILED)


async def _test(db: Database, endpoint_id: EndpointId, as_reference: str) -> tuple[Report, EndpointView]:
    async with db.transaction() as connection:
        endpoint = (await get_endpoint(connection, endpoint_id)).endpoint
        model = await models.get(connection, endpoint.model_id)
        records = await provider_records(connection)
    record = next(record for record in records if record.id == endpoint.provider_id)
    occasion = Occasion.REGISTRATION if endpoint.state is EndpointState.DRAFT else Occasion.MANUAL
    async with speaking_to(record) as provider:
        report = await certify(db, provider, endpoint, model, actor(), occasion, as_reference=as_reference)
    async with db.transaction() as connection:
        return report, await get_endpoint(connection, endpoint_id)


def _id(text: str) -> EndpointId:
    return EndpointId(id_of(EndpointId, text))


def _row(view: EndpointView) -> Row:
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
        "space": endpoint.space,
        "max_batch": endpoint.max_batch,
    }
