"""Testing what is registered by one real call: the CLI and the admin API ask the same here.

An endpoint that has no traffic yet goes live when it passes and is quarantined when it does not; one that serves is
only looked at. The call runs outside any transaction.
"""

from collections.abc import Awaitable, Callable

import msgspec

from catalog import models
from catalog.values import Model
from providers.outcomes import Failure
from providers.protocol import Attempt, Provider
from router import steps
from router.audit import Actor, Change
from router.endpoints import EndpointView, get_endpoint, move_endpoint, pin_space
from router.estimate import tokens_most
from router.indexes import ProviderRecord
from router.probe import TEXTS, Verdict, probe
from router.steps import Step
from router.values import Endpoint, EndpointState
from router.write import Work, transact
from store.ids import EndpointId, ProviderId, RequestId, new_id, wire
from store.postgres import Database

DEADLINE_S = 30.0
LITELLM = "litellm"


class Report(msgspec.Struct, frozen=True):
    """How a test went. ``dimensions``, ``tokens`` and ``space`` are what the provider answered; None: not reached."""

    passed: bool
    reason: str
    steps: tuple[Step, ...]
    dimensions: int | None = None
    tokens: int | None = None
    space: str | None = None
    endpoint: EndpointView | None = None


Ending = Callable[[Work, Report], Awaitable[None]]


async def try_endpoint(
    db: Database,
    actor: Actor,
    endpoint_id: EndpointId,
    record: ProviderRecord,
    provider: Provider,
    *,
    dry_run: bool = False,
    ending: Ending | None = None,
) -> Report:
    """Embed three texts at an endpoint and move it by the outcome; a dry run moves nothing.

    ``ending`` runs in the transaction that records the outcome. Raises ``NotFound``, ``Conflict`` where somebody moved
    the endpoint meanwhile.
    """
    async with db.transaction() as connection:
        before = await get_endpoint(connection, endpoint_id)
        model = await models.get(connection, before.endpoint.model_id)
    serves = before.endpoint.state in (EndpointState.LIVE, EndpointState.DRAINING)
    moves = not serves and not dry_run
    if moves and before.endpoint.state is not EndpointState.PROBING:
        await transact(db, actor, _begins(endpoint_id))
    verdict = await probe(provider, before.endpoint, model, DEADLINE_S)
    ours = await _our_count(provider, before.endpoint, verdict)
    report = _report(verdict, before.endpoint, model, record, ours)
    if dry_run:
        return msgspec.structs.replace(report, endpoint=before)

    async def end(work: Work) -> Report:
        if moves:
            await _move(work, endpoint_id, verdict)
        after: dict[str, object] = {"passed": report.passed, "reason": verdict.reason, "dimensions": verdict.dimensions}
        work.changed(Change("endpoint.test", wire(EndpointId, endpoint_id), after=after))
        full = msgspec.structs.replace(report, endpoint=await get_endpoint(work.connection, endpoint_id))
        if ending is not None:
            await ending(work, full)
        return full

    return await transact(db, actor, end)


async def try_provider(record: ProviderRecord, provider: Provider, upstream_model: str) -> Report:
    """One text to a provider, changing nothing: is it there, and does it take our credential."""
    attempt = Attempt(wire(RequestId, new_id()), upstream_model, texts=TEXTS[:1])
    seen = record.kind != LITELLM
    try:
        vectors = await provider.embed(attempt, DEADLINE_S)
    except Failure as failure:
        said = steps.sentence(failure)
        ended = steps.failed_step(failure)
        return Report(False, said, _without_model(steps.told(record.base_url, {}, ended=ended, reason=said, seen=seen)))
    width = vectors.matrix.shape[1]
    told = steps.told(record.base_url, {steps.EMBED: f"{width} dimensions"}, seen=seen)
    return Report(True, "", _without_model(told), width, vectors.tokens, vectors.space)


def record_test(work: Work, provider_id: ProviderId, report: Report) -> None:
    """Say that a provider was tested."""
    after: dict[str, object] = {"passed": report.passed, "reason": report.reason}
    work.changed(Change("provider.test", wire(ProviderId, provider_id), after=after))


def _begins(endpoint_id: EndpointId) -> Callable[[Work], Awaitable[Endpoint]]:
    async def begin(work: Work) -> Endpoint:
        return await move_endpoint(work, endpoint_id, EndpointState.PROBING, "being tested")

    return begin


async def _move(work: Work, endpoint_id: EndpointId, verdict: Verdict) -> None:
    if verdict.passed and verdict.space is not None:
        await pin_space(work, endpoint_id, verdict.space)
    to = EndpointState.LIVE if verdict.passed else EndpointState.QUARANTINED
    await move_endpoint(work, endpoint_id, to, verdict.reason or "passed its test")


async def _our_count(provider: Provider, endpoint: Endpoint, verdict: Verdict) -> int | None:
    """What the model's own tokenizer counts, where a process of ours has it."""
    if not verdict.passed:
        return None
    try:
        return await provider.count(Attempt(wire(RequestId, new_id()), endpoint.upstream_model, texts=TEXTS), 5.0)
    except Failure:
        return None


def _report(verdict: Verdict, endpoint: Endpoint, model: Model, record: ProviderRecord, ours: int | None) -> Report:
    said = {
        steps.AUTHENTICATE: "with our credential" if record.sealed is not None else "without a credential",
        steps.EMBED: f"{len(TEXTS)} texts",
        steps.DIMENSIONS: f"{verdict.dimensions}",
        steps.BASE64: steps.base64_told(endpoint),
        steps.USAGE: _usage_told(verdict.tokens, ours),
        steps.SPACE: _space_told(verdict.space, model),
    }
    ended, reason = None, verdict.reason
    if verdict.failure is not None:
        ended, reason = steps.failed_step(verdict.failure), steps.sentence(verdict.failure)
    elif not verdict.passed:
        ended = steps.MEANING
    elif endpoint.upstream_space is not None and verdict.space != endpoint.upstream_space:
        said[steps.SPACE] = f"it was {endpoint.upstream_space} when it was tested last, and is {verdict.space}"
    told = steps.told(record.base_url, said, ended=ended, reason=reason, seen=record.kind != LITELLM)
    return Report(verdict.passed, reason, told, verdict.dimensions, verdict.tokens, verdict.space)


def _usage_told(tokens: int | None, ours: int | None) -> str:
    if tokens is None:
        return "the provider tells none; ours is billed"
    if ours is not None:
        return f"{tokens} tokens; ours: {ours}"
    return f"{tokens} tokens; at most {sum(map(tokens_most, TEXTS))} are in the texts"


def _space_told(space: str | None, model: Model) -> str:
    return f"the provider calls it {space}" if space is not None else f"taken for {model.space}: it names none"


def _without_model(told: tuple[Step, ...]) -> tuple[Step, ...]:
    """A provider alone is not asked for a model's width, meaning or space."""
    asked = steps.STEPS[: steps.STEPS.index(steps.NUMBERS)]
    return tuple(step for step in told if step.name in asked)
