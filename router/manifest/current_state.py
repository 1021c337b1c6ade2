"""Reads the database by the manifest's kinds and fields, and keeps the record of the last apply."""

from collections.abc import Mapping
from datetime import datetime

import msgspec
from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import Price, price_at, to_usd
from billing.prices import list_prices
from catalog import models
from catalog.model_edits import BARE
from catalog.values import Model
from router.changes.audit import Actor
from router.errors import Conflict
from router.manifest.fields import fields_of
from router.manifest.schema import subject_of
from router.manifest.values import CurrentState, Fields, Kind, LastApplied, Name, ProviderState, Source
from router.registry.endpoints import list_endpoints
from router.registry.model_facts import REQUIRED_FACTS
from router.registry.models import model_as_json
from router.registry.providers import list_providers
from router.registry.specs import EndpointSpec, ProviderSpec
from router.tables import CatalogueFileRow
from router.values import Endpoint
from store.ids import ModelId

# How long an apply waits for other changes. While it waits, changes that come after it wait, too.
LOCKED_WITHIN_S = 5
LOCK_NOT_AVAILABLE = "55P03"


async def load(connection: AsyncConnection, source: Source, now: datetime) -> CurrentState:
    """The current state at ``now``, with the record of the last apply of ``source``."""
    fields: dict[Name, Fields] = {}
    providers: dict[str, ProviderState] = {}
    for view in await list_providers(connection):
        providers[view.name] = ProviderState(view.id, view.spec.enabled, view.credential is not None)
        fields[Kind.PROVIDER, view.name] = fields_of(view.spec, ProviderSpec) | {"kind": view.kind}
    catalogue: dict[str, Model] = {model.id: model for model in await models.load_models(connection)}
    for model in catalogue.values():
        fields |= _model(model)
    endpoints: dict[str, Endpoint] = {}
    for endpoint in (view.endpoint for view in await list_endpoints(connection)):
        subject = endpoint_subject(endpoint)
        endpoints[subject] = endpoint
        fields[Kind.ENDPOINT, subject] = _endpoint(endpoint)
    prices: dict[ModelId, tuple[Price, ...]] = {}
    for price in await list_prices(connection):
        prices[price.model_id] = (*prices.get(price.model_id, ()), price)
        fields[Kind.PRICE, subject_of(Kind.PRICE, {"model": price.model_id}, price.effective_at)] = _price(price)
    for model_id, versions in prices.items():
        if current := price_at(list(versions), now):
            fields[Kind.PRICE, model_id] = _price(current)
    last_applied = await _last_applied(connection, source)
    return CurrentState(fields, defaults(), providers, catalogue, endpoints, prices, last_applied)


async def lock(connection: AsyncConnection) -> None:
    """Lock models, providers and endpoints against other changes until the transaction ends; reads, as calls do, go on.

    Prices, claims and resolutions refer to models, so the lock that excludes their foreign keys excludes them, too.
    Raises ``Conflict`` where another change does not end within :data:`LOCKED_WITHIN_S`.
    """
    await connection.execute(text(f"SET LOCAL lock_timeout = '{LOCKED_WITHIN_S}s'"))
    try:
        await connection.execute(text("LOCK TABLE models, providers, endpoints IN EXCLUSIVE MODE"))
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
            raise
        raise Conflict(
            "Someone else is changing providers, models or endpoints. Try again shortly.", retry_after_s=1
        ) from error


def defaults() -> dict[Kind, Fields]:
    """The fields of a new entry where the file does not state them."""
    return {
        Kind.PROVIDER: fields_of(ProviderSpec(), ProviderSpec),
        Kind.ENDPOINT: _endpoint(EndpointSpec("")),
        Kind.MODEL: {name: value for name, value in model_as_json(BARE).items() if name not in REQUIRED_FACTS},
    }


def _endpoint(endpoint: Endpoint | EndpointSpec) -> Fields:
    fields = fields_of(endpoint, EndpointSpec)
    # It is part of the endpoint's name.
    del fields["upstream_model"]
    return fields


def endpoint_subject(endpoint: Endpoint) -> str:
    """The name of an endpoint in the manifest."""
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
    fields: dict[Name, Fields] = {(Kind.MODEL, model.id): model_as_json(model) | {"status": model.status.value}}
    for claim in model.claims:
        identity = {"model": model.id, "license": claim.license, "source": claim.source}
        facts: Fields = {"evidence": claim.evidence, "claimed_on": claim.claimed_on.isoformat()}
        fields[Kind.CLAIM, subject_of(Kind.CLAIM, identity)] = facts
    if (resolution := model.resolution) is not None:
        fields[Kind.RESOLUTION, model.id] = {
            "license": resolution.license,
            "reason": resolution.reason,
            "evidence": resolution.evidence,
        }
    return fields


async def _last_applied(connection: AsyncConnection, source: Source) -> dict[Name, LastApplied]:
    rows = await connection.execute(select(CatalogueFileRow.__table__).where(CatalogueFileRow.source == source))
    return {(Kind(row.kind), row.subject): msgspec.convert(row.applied, LastApplied) for row in rows}


async def record_applied(
    connection: AsyncConnection,
    source: Source,
    actor: Actor,
    state: CurrentState,
    applied: Mapping[Name, LastApplied],
    stale: tuple[Name, ...],
) -> None:
    """Record what was applied and delete ``stale`` records; a record that is right already is not written."""
    for (kind, subject), record in applied.items():
        if state.last_applied.get((kind, subject)) == record:
            continue
        row = {"applied": msgspec.to_builtins(record), "applied_by": actor}
        statement = insert(CatalogueFileRow).values(source=source, kind=kind.value, subject=subject, **row)
        key = ["source", "kind", "subject"]
        await connection.execute(
            statement.on_conflict_do_update(index_elements=key, set_=row | {"applied_at": func.now()})
        )
    for kind, subject in stale:
        await connection.execute(
            delete(CatalogueFileRow).where(
                CatalogueFileRow.source == source,
                CatalogueFileRow.kind == kind.value,
                CatalogueFileRow.subject == subject,
            )
        )
