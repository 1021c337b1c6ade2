"""What the database has now, in the words of the file, and what was applied last."""

from collections.abc import Mapping
from datetime import datetime

import msgspec
from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import Price, to_usd
from billing.prices import list_prices, price_at
from catalog import models
from catalog.model_edits import BARE
from catalog.values import Model
from router.changes.audit import Actor
from router.errors import Conflict
from router.manifest.schema import subject_of
from router.manifest.values import Fields, Kind, Name, Present, ProviderNow, Remembered, Source
from router.registry.endpoints import list_endpoints
from router.registry.model_facts import REQUIRED_FACTS
from router.registry.models import model_as_json
from router.registry.providers import list_providers
from router.registry.specs import EndpointSpec, ProviderSpec
from router.tables import CatalogueFileRow
from router.values import Endpoint
from store.ids import ModelId

# How long an apply waits for others. While it waits, those who come after it wait, too.
LOCKED_WITHIN_S = 5
LOCK_NOT_AVAILABLE = "55P03"


async def load(connection: AsyncConnection, source: Source, now: datetime) -> Present:
    """Everything at once."""
    found: dict[Name, Fields] = {}
    providers: dict[str, ProviderNow] = {}
    for view in await list_providers(connection):
        providers[view.name] = ProviderNow(view.id, view.spec.enabled, view.credential is not None)
        found[Kind.PROVIDER, view.name] = _provider(view.spec) | {"kind": view.kind}
    catalogue: dict[str, Model] = {model.id: model for model in await models.load_models(connection)}
    for model in catalogue.values():
        found |= _model(model)
    endpoints: dict[str, Endpoint] = {}
    for one in await list_endpoints(connection):
        subject = endpoint_subject(one.endpoint)
        endpoints[subject] = one.endpoint
        found[Kind.ENDPOINT, subject] = _endpoint(one.endpoint)
    prices: dict[ModelId, tuple[Price, ...]] = {}
    for price in await list_prices(connection):
        prices[price.model_id] = (*prices.get(price.model_id, ()), price)
        found[Kind.PRICE, subject_of(Kind.PRICE, {"model": price.model_id}, price.effective_at)] = _price(price)
    for model_id, versions in prices.items():
        if current := price_at(list(versions), now):
            found[Kind.PRICE, model_id] = _price(current)
    remembered = await _remembered(connection, source)
    return Present(found, defaults(), providers, catalogue, endpoints, prices, remembered)


async def lock(connection: AsyncConnection) -> None:
    """Nobody else changes any of it until the transaction ends; those who only read, as calls do, go on.

    Prices, claims and resolutions refer to models, so a lock that shuts out their foreign keys shuts out them, too.
    Raises ``Conflict`` where others are at it and do not end.
    """
    await connection.execute(text(f"SET LOCAL lock_timeout = '{LOCKED_WITHIN_S}s'"))
    try:
        await connection.execute(text("LOCK TABLE models, providers, endpoints IN EXCLUSIVE MODE"))
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
            raise
        raise Conflict("Someone else is changing providers, models or endpoints. Try again shortly.") from error


def defaults() -> dict[Kind, Fields]:
    """What a new thing's fields are where nobody states them."""
    return {
        Kind.PROVIDER: _provider(ProviderSpec()),
        Kind.ENDPOINT: _endpoint(EndpointSpec("")),
        Kind.MODEL: {name: value for name, value in model_as_json(BARE).items() if name not in REQUIRED_FACTS},
    }


def _provider(spec: ProviderSpec) -> Fields:
    return msgspec.structs.asdict(spec) | {"regions": sorted(spec.regions)}


def _endpoint(endpoint: Endpoint | EndpointSpec) -> Fields:
    names = (name for name in EndpointSpec.__struct_fields__ if name not in ("upstream_model", "cost_nano_per_mtok"))
    return {
        "cost_usd_per_mtok": to_usd(endpoint.cost_nano_per_mtok),
        **{name: getattr(endpoint, name) for name in names},
    }


def endpoint_subject(endpoint: Endpoint) -> str:
    """What names an endpoint in the file."""
    identity = {
        "model": endpoint.model_id,
        "provider": endpoint.provider_name,
        "upstream_model": endpoint.upstream_model,
    }
    return subject_of(Kind.ENDPOINT, identity)


def _price(price: Price) -> Fields:
    batch = price.batch_nano_per_mtok
    return {
        "usd_per_mtok": to_usd(price.nano_per_mtok),
        "batch_usd_per_mtok": None if batch is None else to_usd(batch),
    }


def _model(model: Model) -> dict[Name, Fields]:
    found: dict[Name, Fields] = {(Kind.MODEL, model.id): model_as_json(model) | {"status": model.status.value}}
    for claim in model.claims:
        identity = {"model": model.id, "license": claim.license, "source": claim.source}
        facts: Fields = {"evidence": claim.evidence, "claimed_on": claim.claimed_on.isoformat()}
        found[Kind.CLAIM, subject_of(Kind.CLAIM, identity)] = facts
    if (ruled := model.resolution) is not None:
        ruling: Fields = {"license": ruled.license, "reason": ruled.reason, "evidence": ruled.evidence}
        found[Kind.RESOLUTION, model.id] = ruling
    return found


async def _remembered(connection: AsyncConnection, source: Source) -> dict[Name, Remembered]:
    rows = await connection.execute(select(CatalogueFileRow.__table__).where(CatalogueFileRow.source == source))
    return {(Kind(row.kind), row.subject): msgspec.convert(row.applied, Remembered) for row in rows}


async def remember(
    connection: AsyncConnection,
    source: Source,
    actor: Actor,
    present: Present,
    remembered: Mapping[Name, Remembered],
    forgotten: tuple[Name, ...],
) -> None:
    """Write down what was applied; a row that says so already is left alone."""
    for (kind, subject), what in remembered.items():
        if present.remembered.get((kind, subject)) == what:
            continue
        row = {"applied": msgspec.to_builtins(what), "applied_by": actor}
        statement = insert(CatalogueFileRow).values(source=source, kind=kind.value, subject=subject, **row)
        key = ["source", "kind", "subject"]
        await connection.execute(
            statement.on_conflict_do_update(index_elements=key, set_=row | {"applied_at": func.now()})
        )
    for kind, subject in forgotten:
        await connection.execute(
            delete(CatalogueFileRow).where(
                CatalogueFileRow.source == source,
                CatalogueFileRow.kind == kind.value,
                CatalogueFileRow.subject == subject,
            )
        )
