"""`gigarouter admin route explain`: why a call went where it did, or where one would go, with what-if changes."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, NoReturn

import msgspec
import typer

from billing.money import to_usd
from billing.prices import list_prices
from catalog.models import Catalog, load_models
from catalog.values import Use
from gigarouter.commands.admin.output import AsJson, Row, prints_json, show_list, show_one
from gigarouter.commands.admin.session import NOT_FOUND, USAGE, account_of, fail, id_of, run, usd
from router.dry_run import (
    Asked,
    Difference,
    Every,
    Otherwise,
    Scene,
    WhatIf,
    difference,
    dry_run,
    imagined,
    key_of,
    scene,
)
from router.explain.receipts import find_call, may_be_unwritten
from router.explain.views import CallRecord, OpsRequestOut, ops_view
from router.registry.indexes import PriceIndex
from router.routing.health import Health
from router.values import EndpointState, Lane
from store.ids import EndpointId, KeyId, RequestId
from store.postgres import Database

app = typer.Typer(no_args_is_help=True)

LOOK_AGAIN_S = 0.2


@app.callback()
def route() -> None:
    """Routes of calls."""


@app.command("explain")
def explain(
    request: Annotated[str | None, typer.Argument(help="A request's id, as x-request-id says it.")] = None,
    *,
    model: Annotated[str | None, typer.Option(help="Dry run: where would a call of this model go?")] = None,
    key: Annotated[str | None, typer.Option(help="Dry run: whose call, by the key's id.")] = None,
    account: Annotated[str | None, typer.Option(help="Dry run: whose call, by account.")] = None,
    use: Annotated[Use, typer.Option(help="Dry run: what the key would be for.")] = Use.COMMERCIAL,
    preferences: Annotated[str | None, typer.Option(help="Dry run: a call's `provider` object, as JSON.")] = None,
    inputs: int = 1,
    tokens: int = 100,
    lane: Lane = Lane.INTERACTIVE,
    exclude: Annotated[list[str] | None, typer.Option(help="What if: without this provider or endpoint.")] = None,
    endpoint: Annotated[
        list[str] | None,
        typer.Option(help="What if: ep_…:state=live,cost=0.01,priority=10,weight=50,healthy=no"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """A call that was made, or one that is only imagined (nothing is called, nothing held).

    A dry run here knows what is in Postgres: breakers are in the memory of each serve process, whose admin API knows
    them.
    """
    if (request is None) == (model is None):
        fail("Give either a request's id or --model.", USAGE)
    if request is not None:
        _show(_recorded(RequestId(id_of(RequestId, request))), as_json=as_json)
        return
    asked = Asked(str(model), (preferences or "null").encode(), inputs, tokens, lane)
    whose = (None if key is None else KeyId(id_of(KeyId, key)), account, use)
    what_if = WhatIf(dict(map(_otherwise, endpoint or [])), frozenset(exclude or []))
    now, then, found = run(lambda db: _imagine(db, asked, whose, what_if))
    if what_if == WhatIf():
        _show(now, as_json=as_json)
        return
    told = _difference(found)
    if prints_json(as_json):
        show_one({"now": now, "then": then, "difference": told}, as_json=as_json)
        return
    _show(then, as_json=as_json)
    show_one(told, as_json=as_json)


def _recorded(request_id: RequestId) -> OpsRequestOut:
    recorded = run(lambda db: _find(db, request_id))
    if recorded is None:
        fail("There is no record of this request. Calls without a known key are in the log alone.", NOT_FOUND)
    return ops_view(recorded)


async def _find(db: Database, request_id: RequestId) -> CallRecord | None:
    """What is known of a call; one of this moment is waited for until its process has written it down."""
    while True:
        recorded = await find_call(db, request_id)
        is_whole = recorded is not None and recorded.explanation is not None
        if is_whole or not may_be_unwritten(request_id, datetime.now(UTC)):
            return recorded
        await asyncio.sleep(LOOK_AGAIN_S)


async def _imagine(
    db: Database, asked: Asked, whose: tuple[KeyId | None, str | None, Use], what_if: WhatIf
) -> tuple[OpsRequestOut, OpsRequestOut, Difference]:
    key_id, account, use = whose
    async with db.transaction() as tx:
        account_id = None if account is None else (await account_of(tx, account)).id
        key = await key_of(tx, key_id=key_id, account_id=account_id, use=use)
        models, prices = Catalog(await load_models(tx)), PriceIndex(await list_prices(tx))
        known = Scene(models, prices, Every([]), Health(), lambda: 0.0)
        as_it_is = await scene(tx, asked.model, known)
    at = datetime.now(UTC)
    now, then = (
        dry_run(asked, key, as_it_is, at),
        dry_run(asked, key, imagined(as_it_is, what_if), at),
    )
    return ops_view(CallRecord(now, None)), ops_view(CallRecord(then, None)), difference(now, then)


def _otherwise(text: str) -> tuple[EndpointId, Otherwise]:
    """``ep_…:state=live,cost=0.01``."""
    name, _, changes = text.partition(":")
    given: dict[str, object] = {}
    for change in filter(None, changes.split(",")):
        field, _, value = change.partition("=")
        match field:
            case "state" if value in set(EndpointState):
                given["state"] = EndpointState(value)
            case "cost":
                given["cost_nano_per_mtok"] = usd(value)
            case "priority" | "weight" if value.isdecimal():
                given[field] = int(value)
            case "healthy" if value in ("yes", "no"):
                given["healthy"] = value == "yes"
            case _:
                _wrong(change)
    return EndpointId(id_of(EndpointId, name)), msgspec.convert(given, Otherwise)


def _wrong(change: str) -> NoReturn:
    fail(f"{change!r} is none of state=…, cost=<USD per million>, priority=…, weight=…, healthy=yes|no.", USAGE)


def _difference(found: Difference) -> Row:
    return {
        "chosen_now": found.chosen_now,
        "chosen_then": found.chosen_then,
        "enters": list(found.enters),
        "leaves": list(found.leaves),
        "cost_usd_per_mtok_now": None if found.cost_now is None else to_usd(found.cost_now),
        "cost_usd_per_mtok_then": None if found.cost_then is None else to_usd(found.cost_then),
    }


def _show(shown: OpsRequestOut, *, as_json: bool) -> None:
    """The whole as JSON, or for people: what it was, who was looked at, what was tried."""
    fields = msgspec.to_builtins(shown)
    if prints_json(as_json):
        show_one(fields, as_json=as_json)
        return
    candidates, attempts = fields.pop("candidates"), fields.pop("attempts")
    show_one({name: value for name, value in fields.items() if value not in (None, "", [], {})}, as_json=False)
    typer.echo("\nCandidates")
    show_list(candidates, as_json=False)
    if attempts:
        typer.echo("\nAttempts")
        show_list(attempts, as_json=False)
