"""Pure. Computes what a plan affects: margins per endpoint before and after it, and endpoints that would stop."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from uuid import UUID

import msgspec

from billing.money import Price, from_usd, price_at
from router.manifest.values import CurrentState, Fields, Impact, Kind, LaneName, Margin, PlanStep, Verb
from router.registry.specs import VERIFIED_FIELDS, VERIFIED_PROVIDER_FIELDS
from router.values import EndpointState
from store.ids import ModelId, PriceId

_PLANNED = PriceId(UUID(int=0))


class _Serving(msgspec.Struct, frozen=True):
    """What margins need of an endpoint. ``counts``: its cost matters, since it serves or may serve again."""

    model: str
    provider: str
    cost: int
    counts: bool
    live: bool


def impact_of(steps: Iterable[PlanStep], state: CurrentState, now: datetime) -> Impact:
    """What the steps mean for models, margins and endpoints at ``now``; :mod:`.apply` adds the customers."""
    planned = tuple(steps)
    before, after = _endpoints(state), _endpoints(state)
    off = {step.subject for step in planned if step.kind is Kind.PROVIDER and _switches_off(step, state)}
    for step in planned:
        if step.kind is Kind.ENDPOINT:
            after[step.subject] = _after(step, before.get(step.subject))
    # A provider that is switched off comes back by a switch: what its endpoints cost still counts.
    moved = _changed(planned, Kind.PROVIDER, VERIFIED_PROVIDER_FIELDS)
    unverified = _changed(planned, Kind.ENDPOINT, VERIFIED_FIELDS)
    unverified |= {name for name, endpoint in after.items() if endpoint.live and endpoint.provider in moved - off}
    after = {
        name: msgspec.structs.replace(endpoint, live=False)
        if endpoint.provider in off or name in unverified
        else endpoint
        for name, endpoint in after.items()
    }
    stopping = tuple(name for name, endpoint in before.items() if endpoint.live and not after[name].live)
    models = _models(planned, before, after)
    return Impact(
        models=models,
        margins=tuple(row for model in models for row in _margins(model, planned, state, (before, after), now)),
        stopping=tuple(name for name in stopping if name not in unverified),
        unverified=tuple(name for name in stopping if name in unverified),
        without_live_endpoint=tuple(
            model
            for model in sorted({before[name].model for name in stopping})
            if not any(endpoint.live and endpoint.model == model for endpoint in after.values())
        ),
    )


def _endpoints(state: CurrentState) -> dict[str, _Serving]:
    return {
        name: _Serving(
            model=endpoint.model_id,
            provider=endpoint.provider_name,
            cost=endpoint.cost_nano_per_mtok,
            counts=endpoint.state is not EndpointState.OFF,
            live=endpoint.state is EndpointState.LIVE and state.providers[endpoint.provider_name].enabled,
        )
        for name, endpoint in state.endpoints.items()
    }


def _after(step: PlanStep, before: _Serving | None) -> _Serving:
    if step.verb in (Verb.DRAIN, Verb.OFF):
        assert before is not None, "a plan ends endpoints that exist; this is a bug"
        return msgspec.structs.replace(before, counts=False, live=False)
    cost = from_usd(str(step.fields_after["cost_usd_per_mtok"]))
    if before is None:
        return _Serving(step.identity["model"], step.identity["provider"], cost, counts=True, live=False)
    return msgspec.structs.replace(before, cost=cost)


def _changed(steps: tuple[PlanStep, ...], kind: Kind, fields: tuple[str, ...]) -> set[str]:
    """The subjects of a kind of which one of these fields is changed."""
    changes = (step for step in steps if step.kind is kind and step.verb is Verb.CHANGE)
    return {step.subject for step in changes if any(change.field in fields for change in step.changes)}


def _switches_off(step: PlanStep, state: CurrentState) -> bool:
    before = state.providers.get(step.subject)
    return (
        before is not None and before.enabled and (step.verb is Verb.OFF or step.fields_after.get("enabled") is False)
    )


def _models(steps: tuple[PlanStep, ...], before: dict[str, _Serving], after: dict[str, _Serving]) -> tuple[str, ...]:
    models = set()
    for step in steps:
        match step.kind:
            case Kind.PROVIDER:
                models |= {endpoint.model for endpoint in before.values() if endpoint.provider == step.subject}
            case Kind.ENDPOINT:
                models.add(after[step.subject].model)
            case Kind.MODEL:
                models.add(step.subject)
            case Kind.PRICE | Kind.CLAIM | Kind.RESOLUTION:
                models.add(step.identity["model"])
    return tuple(sorted(models))


def _margins(
    model: str,
    steps: tuple[PlanStep, ...],
    state: CurrentState,
    endpoints: tuple[dict[str, _Serving], dict[str, _Serving]],
    now: datetime,
) -> Iterator[Margin]:
    """A row for each endpoint, lane and instant at which the plan changes price or cost."""
    endpoints_before, endpoints_after = endpoints
    old = sorted(state.prices.get(ModelId(model), ()), key=lambda price: price.effective_at)
    new = sorted([*old, *_planned(model, steps, now)], key=lambda price: price.effective_at)
    starts = sorted({now, *(price.effective_at for price in new if price.effective_at > now)})
    for name, endpoint in sorted(endpoints_after.items()):
        if endpoint.model != model or not endpoint.counts:
            continue
        last_rows: dict[LaneName, tuple[int, int, int | None]] = {}
        for since in starts:
            lanes, lanes_before = _lanes(price_at(new, since)), _lanes(price_at(old, since))
            for lane, price in lanes.items():
                before = lanes_before.get(lane)
                costs_before = _cost(endpoints_before.get(name))
                margin = None if before is None or costs_before is None else before - costs_before
                row = (price, endpoint.cost, margin)
                # The batch lane has a row of its own only where it differs from the interactive one.
                differs = lane == "interactive" or (price, before) != (
                    lanes["interactive"],
                    lanes_before.get("interactive"),
                )
                # So has a later instant only where it differs from the one before.
                if (before, costs_before) != (price, endpoint.cost) and last_rows.get(lane) != row and differs:
                    yield Margin(model, name, lane, since, *row)
                last_rows[lane] = row


def _cost(endpoint: _Serving | None) -> int | None:
    return endpoint.cost if endpoint is not None and endpoint.counts else None


def _planned(model: str, steps: tuple[PlanStep, ...], now: datetime) -> Iterator[Price]:
    for step in steps:
        if step.kind is Kind.PRICE and step.identity["model"] == model:
            yield _price(model, step.fields_after, step.effective_at or now)


def _price(model: str, fields: Fields, since: datetime) -> Price:
    batch = fields["batch_usd_per_mtok"]
    nano_batch = None if batch is None else int(from_usd(str(batch)))
    return Price(_PLANNED, ModelId(model), from_usd(str(fields["usd_per_mtok"])), since, nano_batch)


def _lanes(price: Price | None) -> dict[LaneName, int]:
    """What each lane pays; empty where there is no price."""
    if price is None:
        return {}
    batch = price.nano_per_mtok if price.batch_nano_per_mtok is None else price.batch_nano_per_mtok
    return {"interactive": price.nano_per_mtok, "batch": batch}
