"""Runs each step of a plan as the command that an operator would use by hand, in the plan's transaction."""

from collections.abc import Awaitable, Callable, Iterable
from datetime import date
from typing import TypeVar

import msgspec

from billing.money import from_usd
from catalog import models
from catalog.errors import LaunchRefused
from catalog.values import ModelFacts
from router.admin.launch import launch_model
from router.admin.licenses import record_claim, resolve_license
from router.admin.prices import set_price
from router.changes.transaction import UnitOfWork
from router.errors import InvalidRequest
from router.manifest.fields import value_of
from router.manifest.values import CurrentState, Fields, Kind, PlanStep, Verb
from router.registry.endpoints import edit_endpoint, get_endpoint, move_endpoint, register_endpoint
from router.registry.indexes import ProviderRecord
from router.registry.models import add_model, edit_model
from router.registry.providers import edit_provider, find_provider, load_provider_records, register_provider
from router.registry.specs import EndpointSpec, ProviderSpec
from router.values import EndpointState
from store.ids import ModelId

Spec = TypeVar("Spec", ProviderSpec, EndpointSpec, ModelFacts)

REASON = "no longer in the catalogue file"


async def execute(
    work: UnitOfWork,
    state: CurrentState,
    steps: Iterable[PlanStep],
    check_provider: Callable[[ProviderRecord], Awaitable[None]] | None,
) -> dict[str, str]:
    """Run the steps in their order. Returns what each launch that has to wait lacks, by model.

    ``check_provider`` raises where the record of a provider that was changed could not be called. Raises what the
    commands raise.
    """
    waiting: dict[str, str] = {}
    changed_providers: set[str] = set()
    for step in steps:
        match step.kind:
            case Kind.PROVIDER:
                changed_providers.add(step.subject)
                await _provider(work, state, step)
            case Kind.MODEL if step.verb is Verb.LAUNCH:
                try:
                    await launch_model(work, ModelId(step.subject), reason="catalogue file")
                except LaunchRefused as refused:
                    waiting[step.subject] = refused.message
            case Kind.MODEL:
                await _model(work, step)
            case Kind.ENDPOINT:
                await _endpoint(work, state, step)
            case Kind.CLAIM:
                await _claim(work, step)
            case Kind.RESOLUTION:
                resolution = {name: str(step.fields_after[name]) for name in ("license", "reason", "evidence")}
                await resolve_license(work, ModelId(step.subject), **resolution)
            case Kind.PRICE:
                await _price(work, step)
    if check_provider is not None and changed_providers:
        for record in await load_provider_records(work.connection):
            if record.name in changed_providers:
                await check_provider(record)
    return waiting


async def _provider(work: UnitOfWork, state: CurrentState, step: PlanStep) -> None:
    fields_after = step.fields_after or {**state.fields[step.kind, step.subject], "enabled": False}
    spec = _convert({name: value for name, value in fields_after.items() if name != "kind"}, ProviderSpec)
    if step.verb is Verb.CREATE:
        await register_provider(work, None, name=step.subject, kind=str(fields_after["kind"]), spec=spec)
    else:
        await edit_provider(work, None, state.providers[step.subject].id, spec)


async def _model(work: UnitOfWork, step: PlanStep) -> None:
    facts = {name: value for name, value in step.fields_after.items() if name != "status"}
    model = _convert({"id": step.subject, **facts}, ModelFacts)
    await (add_model if step.verb is Verb.CREATE else edit_model)(work, model)


async def _endpoint(work: UnitOfWork, state: CurrentState, step: PlanStep) -> None:
    if step.verb in (Verb.DRAIN, Verb.OFF):
        endpoint_id = state.endpoints[step.subject].id
        now = (await get_endpoint(work.connection, endpoint_id, locked=True)).endpoint.state
        # An edit of its provider in the same plan may have taken its traffic already.
        drains = step.verb is Verb.DRAIN and now is EndpointState.LIVE
        await move_endpoint(work, endpoint_id, EndpointState.DRAINING if drains else EndpointState.OFF, REASON)
        return
    spec = _convert({"upstream_model": step.identity["upstream_model"], **step.fields_after}, EndpointSpec)
    if step.verb is Verb.CHANGE:
        await edit_endpoint(work, state.endpoints[step.subject].id, spec)
        return
    provider = await find_provider(work.connection, step.identity["provider"])
    assert provider is not None, "a plan names providers that exist; this is a bug"
    model = await models.get(work.connection, step.identity["model"])
    await register_endpoint(work, model, provider.id, spec, space=step.identity.get("space"))


async def _claim(work: UnitOfWork, step: PlanStep) -> None:
    await record_claim(
        work,
        ModelId(step.identity["model"]),
        license=step.identity["license"],
        source=step.identity["source"],
        evidence=str(step.fields_after["evidence"]),
        claimed_on=date.fromisoformat(str(step.fields_after["claimed_on"])),
    )


async def _price(work: UnitOfWork, step: PlanStep) -> None:
    batch = step.fields_after["batch_usd_per_mtok"]
    await set_price(
        work,
        ModelId(step.identity["model"]),
        from_usd(str(step.fields_after["usd_per_mtok"])),
        step.effective_at,
        batch_nano_per_mtok=None if batch is None else from_usd(str(batch)),
        note=step.identity.get("note", ""),
    )


def _convert(fields: Fields, struct: type[Spec]) -> Spec:
    try:
        return value_of(fields, struct)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"{error}.") from error
