"""Whom a plan affects: what each endpoint leaves of the price before and after, and what would stop. Pure."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from uuid import UUID

import msgspec

from billing.money import Price, from_usd
from billing.prices import price_at
from router.manifest.values import Fields, Impact, Kind, LaneName, Margin, Present, Step, Verb
from router.registry.endpoints import VERIFIED_FIELDS
from router.registry.providers import VERIFIED_PROVIDER_FIELDS
from router.values import EndpointState
from store.ids import ModelId, PriceId

_PLANNED = PriceId(UUID(int=0))


class _Served(msgspec.Struct, frozen=True):
    """One endpoint as margins see it."""

    model: str
    provider: str
    cost: int
    counts: bool
    live: bool


def impact(steps: Iterable[Step], present: Present, now: datetime) -> Impact:
    """What the steps mean for models, margins and endpoints; customers are counted by who has the usage."""
    done = tuple(steps)
    before, after = _endpoints(present), _endpoints(present)
    off = {step.subject for step in done if step.kind is Kind.PROVIDER and _switches_off(step, present)}
    for step in done:
        if step.kind is Kind.ENDPOINT:
            after[step.subject] = _after(step, before.get(step.subject))
    # A provider that is switched off comes back by a switch: what its endpoints cost still counts.
    moved = {step.subject for step in done if step.kind is Kind.PROVIDER and _changes(step, VERIFIED_PROVIDER_FIELDS)}
    unproven = {step.subject for step in done if step.kind is Kind.ENDPOINT and _changes(step, VERIFIED_FIELDS)}
    unproven |= {name for name, one in after.items() if one.live and one.provider in moved - off}
    after = {
        name: msgspec.structs.replace(one, live=False) if one.provider in off or name in unproven else one
        for name, one in after.items()
    }
    stops = tuple(name for name, one in before.items() if one.live and not after[name].live)
    models = _models(done, before, after)
    return Impact(
        models=models,
        margins=tuple(row for model in models for row in _margins(model, done, present, (before, after), now)),
        stops=tuple(name for name in stops if name not in unproven),
        unproven=tuple(name for name in stops if name in unproven),
        stranded=tuple(
            model
            for model in sorted({before[name].model for name in stops})
            if not any(one.live and one.model == model for one in after.values())
        ),
    )


def _endpoints(present: Present) -> dict[str, _Served]:
    return {
        name: _Served(
            model=one.model_id,
            provider=one.provider_name,
            cost=one.cost_nano_per_mtok,
            counts=one.state is not EndpointState.OFF,
            live=one.state is EndpointState.LIVE and present.providers[one.provider_name].enabled,
        )
        for name, one in present.endpoints.items()
    }


def _after(step: Step, before: _Served | None) -> _Served:
    if step.verb in (Verb.DRAIN, Verb.OFF):
        assert before is not None, "only what is there is ended; this is a bug"
        return _stopped(before)
    cost = from_usd(str(step.whole["cost_usd_per_mtok"]))
    if before is None:
        return _Served(step.identity["model"], step.identity["provider"], cost, counts=True, live=False)
    return msgspec.structs.replace(before, cost=cost)


def _stopped(one: _Served) -> _Served:
    return msgspec.structs.replace(one, counts=False, live=False)


def _changes(step: Step, names: tuple[str, ...]) -> bool:
    return step.verb is Verb.CHANGE and any(change.field in names for change in step.changes)


def _switches_off(step: Step, present: Present) -> bool:
    was = present.providers.get(step.subject)
    return was is not None and was.enabled and (step.verb is Verb.OFF or step.whole.get("enabled") is False)


def _models(steps: tuple[Step, ...], before: dict[str, _Served], after: dict[str, _Served]) -> tuple[str, ...]:
    found = set()
    for step in steps:
        match step.kind:
            case Kind.PROVIDER:
                found |= {one.model for one in before.values() if one.provider == step.subject}
            case Kind.ENDPOINT:
                found.add(after[step.subject].model)
            case Kind.MODEL:
                found.add(step.subject)
            case Kind.PRICE | Kind.CLAIM | Kind.RESOLUTION:
                found.add(step.identity["model"])
    return tuple(sorted(found))


def _margins(
    model: str,
    steps: tuple[Step, ...],
    present: Present,
    endpoints: tuple[dict[str, _Served], dict[str, _Served]],
    now: datetime,
) -> Iterator[Margin]:
    """A row for each endpoint, lane and instant at which price or cost is not what it would have been."""
    was, is_now = endpoints
    old = sorted(present.prices.get(ModelId(model), ()), key=lambda price: price.effective_at)
    new = sorted([*old, *_planned(model, steps, now)], key=lambda price: price.effective_at)
    starts = sorted({now, *(price.effective_at for price in new if price.effective_at > now)})
    for name, one in sorted(is_now.items()):
        if one.model != model or not one.counts:
            continue
        earned: dict[LaneName, tuple[int, int, int | None]] = {}
        for since in starts:
            lanes, lanes_before = _lanes(price_at(new, since)), _lanes(price_at(old, since))
            for lane, price in lanes.items():
                before = lanes_before.get(lane)
                costs_before = was[name].cost if name in was and was[name].counts else None
                margin = None if before is None or costs_before is None else before - costs_before
                row = (price, one.cost, margin)
                # Later instants are told where they differ from the one before.
                told = lane == "interactive" or (price, before) != (
                    lanes["interactive"],
                    lanes_before.get("interactive"),
                )
                if (before, costs_before) != (price, one.cost) and earned.get(lane) != row and told:
                    yield Margin(model, name, lane, since, *row)
                earned[lane] = row


def _planned(model: str, steps: tuple[Step, ...], now: datetime) -> Iterator[Price]:
    for step in steps:
        if step.kind is Kind.PRICE and step.identity["model"] == model:
            yield _price(model, step.whole, step.effective_at or now)


def _price(model: str, fields: Fields, since: datetime) -> Price:
    batch = fields["batch_usd_per_mtok"]
    nano_batch = None if batch is None else int(from_usd(str(batch)))
    return Price(_PLANNED, ModelId(model), from_usd(str(fields["usd_per_mtok"])), since, nano_batch)


def _lanes(price: Price | None) -> dict[LaneName, int]:
    """What each lane pays; nothing is known where there is no price."""
    if price is None:
        return {}
    batch = price.nano_per_mtok if price.batch_nano_per_mtok is None else price.batch_nano_per_mtok
    return {"interactive": price.nano_per_mtok, "batch": batch}
