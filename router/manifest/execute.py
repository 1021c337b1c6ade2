"""Each step of a plan as the command that an operator would type, in the plan's transaction."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import date
from typing import TypeVar

import msgspec

from billing.money import from_usd
from catalog import models
from catalog.errors import LaunchRefused
from catalog.seed import SeedModel
from router.admin.launch import launch_model
from router.admin.licenses import record_claim, resolve_license
from router.admin.prices import set_price
from router.changes.transaction import UnitOfWork
from router.errors import InvalidRequest
from router.manifest.values import Fields, Kind, Present, Step, Verb
from router.registry.endpoints import edit_endpoint, get_endpoint, move_endpoint, register_endpoint
from router.registry.indexes import ProviderRecord
from router.registry.models import add_model, edit_model
from router.registry.providers import edit_provider, find_provider, load_provider_records, register_provider
from router.registry.specs import EndpointSpec, ProviderSpec
from router.values import EndpointState
from store.ids import ModelId

Made = TypeVar("Made", ProviderSpec, EndpointSpec, SeedModel)

REASON = "no longer in the catalogue file"


async def run(
    work: UnitOfWork,
    present: Present,
    steps: Iterable[Step],
    usable: Callable[[ProviderRecord], Awaitable[None]] | None,
) -> dict[str, str]:
    """Run the steps in their order; answers the launches that wait, by model, with what they lack.

    ``usable`` raises where a provider that was changed could not be spoken to. Raises what the commands raise.
    """
    waiting: dict[str, str] = {}
    touched: set[str] = set()
    for step in steps:
        match step.kind:
            case Kind.PROVIDER:
                touched.add(step.subject)
                await _provider(work, present, step)
            case Kind.MODEL if step.verb is Verb.LAUNCH:
                try:
                    await launch_model(work, ModelId(step.subject), reason="catalogue file")
                except LaunchRefused as refused:
                    waiting[step.subject] = refused.message
            case Kind.MODEL:
                await _model(work, step)
            case Kind.ENDPOINT:
                await _endpoint(work, present, step)
            case Kind.CLAIM:
                await _claim(work, step)
            case Kind.RESOLUTION:
                ruling = {name: str(step.whole[name]) for name in ("license", "reason", "evidence")}
                await resolve_license(work, ModelId(step.subject), **ruling)
            case Kind.PRICE:
                await _price(work, step)
    if usable is not None and touched:
        for record in await load_provider_records(work.connection):
            if record.name in touched:
                await usable(record)
    return waiting


async def _provider(work: UnitOfWork, present: Present, step: Step) -> None:
    whole = step.whole or {**present.fields[step.kind, step.subject], "enabled": False}
    spec = _convert({name: value for name, value in whole.items() if name != "kind"}, ProviderSpec)
    if step.verb is Verb.CREATE:
        await register_provider(work, None, name=step.subject, kind=str(whole["kind"]), spec=spec)
    else:
        await edit_provider(work, None, present.providers[step.subject].id, spec)


async def _model(work: UnitOfWork, step: Step) -> None:
    facts = {name: value for name, value in step.whole.items() if name != "status"}
    if isinstance(estimate := facts.get("estimate"), Mapping):
        said = {name: value for name, value in estimate.items() if name != "usd_per_mtok"}
        facts["estimate"] = {**said, "nano_per_mtok": from_usd(str(estimate["usd_per_mtok"]))}
    entry = _convert({"id": step.subject, "claim": (), **facts}, SeedModel)
    await (add_model if step.verb is Verb.CREATE else edit_model)(work, entry)


async def _endpoint(work: UnitOfWork, present: Present, step: Step) -> None:
    if step.verb in (Verb.DRAIN, Verb.OFF):
        endpoint_id = present.endpoints[step.subject].id
        now = (await get_endpoint(work.connection, endpoint_id, locked=True)).endpoint.state
        # An edit of its provider in the same plan may have taken its traffic already.
        drains = step.verb is Verb.DRAIN and now is EndpointState.LIVE
        await move_endpoint(work, endpoint_id, EndpointState.DRAINING if drains else EndpointState.OFF, REASON)
        return
    fields = {name: value for name, value in step.whole.items() if name != "cost_usd_per_mtok"}
    fields["cost_nano_per_mtok"] = from_usd(str(step.whole["cost_usd_per_mtok"]))
    spec = _convert({"upstream_model": step.identity["upstream_model"], **fields}, EndpointSpec)
    if step.verb is Verb.CHANGE:
        await edit_endpoint(work, present.endpoints[step.subject].id, spec)
        return
    provider = await find_provider(work.connection, step.identity["provider"])
    assert provider is not None, "a plan names providers that exist; this is a bug"
    model = await models.get(work.connection, step.identity["model"])
    await register_endpoint(work, model, provider.id, spec, space=step.identity.get("space"))


async def _claim(work: UnitOfWork, step: Step) -> None:
    await record_claim(
        work,
        ModelId(step.identity["model"]),
        license=step.identity["license"],
        source=step.identity["source"],
        evidence=str(step.whole["evidence"]),
        claimed_on=date.fromisoformat(str(step.whole["claimed_on"])),
    )


async def _price(work: UnitOfWork, step: Step) -> None:
    batch = step.whole["batch_usd_per_mtok"]
    await set_price(
        work,
        ModelId(step.identity["model"]),
        from_usd(str(step.whole["usd_per_mtok"])),
        step.effective_at,
        batch_nano_per_mtok=None if batch is None else from_usd(str(batch)),
        note=step.identity.get("note", ""),
    )


def _convert(fields: Fields, kind: type[Made]) -> Made:
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"{error}.") from error
