"""Compares an endpoint's vectors of the probe texts with its space's reference, and gives a verdict. Writes nothing."""

import asyncio
from functools import partial

import msgspec

from catalog.values import Model
from providers.outcomes import BadAnswer, CredentialRefused, Failure
from providers.probing.agreement import Noise, Numerics, admits, compare, noise_of, numerics_of
from providers.probing.probe_texts import ProbeSet
from providers.protocol import FloatMatrix, Provider
from providers.worker_client.kind import WorkerProvider
from router.registry.indexes import ProviderRecord
from router.values import Endpoint, QuarantineCause
from router.verification.call_steps import describe_failure
from router.verification.drawn import DrawnProbes
from router.verification.prober import Prober, Quota, probe_canaries, probe_fully, time_limit_s
from router.verification.references import Reference, refusal_to_vouch
from router.verification.report import ComparisonStep, Occasion, SpaceVerdict

IDENTITY_WITHIN_S = 10.0
BY_HAND = (Occasion.REGISTRATION, Occasion.MANUAL)


class ComparisonTask(msgspec.Struct, frozen=True):
    """Which endpoint is compared, and with what.

    ``record`` is what the provider was built from. ``as_reference`` is an operator's reason to take this endpoint's
    vectors as the reference, and ``replace`` takes them whatever the present reference says. ``canary_turn`` asks for a
    few probe texts only, others for each number. ``others`` is how many other endpoints serve the space.
    ``is_orphaned``: somebody vouched for the space, but with other probe texts than today's. ``quota`` keeps what the
    provider grants us, all processes together. ``peer`` is a second endpoint of the model, which says what the vectors
    of texts are that are drawn from ``seed``.
    """

    record: ProviderRecord
    provider: Provider
    endpoint: Endpoint
    model: Model
    probes: ProbeSet
    reference: Reference | None
    occasion: Occasion
    as_reference: str = ""
    canary_turn: int | None = None
    replace: bool = False
    others: int = 0
    is_orphaned: bool = False
    quota: Quota | None = None
    peer: Prober | None = None
    seed: bytes = b""

    @property
    def expected(self) -> FloatMatrix | None:
        """The vectors that the endpoint's are compared with; None: its own ones of another shape of call.

        An endpoint that is to be the reference is compared with the one that others are held to, unless it is to
        replace that.
        """
        if self.reference is None or (self.as_reference and (self.replace or not self.others)):
            return None
        return self.reference.vectors

    @property
    def numerics(self) -> Numerics:
        """The space's class of numbers, whose thresholds hold."""
        return numerics_of(self.model.numerics)


class ComparisonResult(msgspec.Struct, frozen=True):
    """What a comparison found. ``vectors`` is set where they become the reference; ``source`` then says why.

    ``noise`` is set where the endpoint is known to be an honest copy: how far it is from the reference. ``cause`` is
    that of the quarantine, where the verdict puts the endpoint into one. ``space`` is the provider's own name of it.
    """

    verdict: SpaceVerdict
    reason: str = ""
    steps: tuple[ComparisonStep, ...] = ()
    vectors: FloatMatrix | None = None
    source: str = ""
    noise: Noise | None = None
    cause: QuarantineCause = QuarantineCause.PROBE
    space: str | None = None
    calls: int = 0
    tokens: int = 0


async def compare_endpoint(task: ComparisonTask) -> ComparisonResult:
    """Probe the endpoint and judge its vectors. A provider's failure is a verdict, not raised."""
    prober = Prober(task.provider, task.endpoint, task.model, task.probes, task.quota)
    limit_s = time_limit_s(task.endpoint, task.probes)
    try:
        async with asyncio.timeout(limit_s):
            result = await _compare(task, prober)
    except BadAnswer as bad:
        result = ComparisonResult(SpaceVerdict.ANOTHER_SPACE, describe_failure(bad))
    except Failure as failure:
        is_refused = isinstance(failure, CredentialRefused)
        cause = QuarantineCause.CREDENTIAL_REFUSED if is_refused else QuarantineCause.PROBE
        result = ComparisonResult(SpaceVerdict.NO_ANSWER, describe_failure(failure), cause=cause)
    except TimeoutError:
        result = ComparisonResult(SpaceVerdict.NO_ANSWER, f"it took more than {limit_s:.0f} s to answer the probes")
    space = next(iter(prober.spaces)) if len(prober.spaces) == 1 else None
    return msgspec.structs.replace(result, space=space, calls=prober.calls, tokens=prober.tokens)


async def _compare(task: ComparisonTask, prober: Prober) -> ComparisonResult:
    declared = task.endpoint.numerics
    if declared is not None and not admits(task.numerics, numerics_of(declared)):
        reason = f"it declares {declared}, and the space {task.model.space} is {task.model.numerics}"
        return ComparisonResult(SpaceVerdict.ANOTHER_SPACE, reason)
    source, refusal = task.as_reference, ""
    if task.reference is None and not source:
        source, refusal = await _vouching_source(task)
        if not source and task.occasion not in BY_HAND:
            return ComparisonResult(SpaceVerdict.NO_REFERENCE, refusal)
    expected = task.expected
    noise = None if task.reference is None or expected is None else task.reference.noise
    # A copy that may vouch is judged by the class alone: it is how noise is measured.
    vouches = expected is not None and not source and task.canary_turn is None and not await _refusal_to_vouch(task)
    agrees = partial(compare, numerics=task.numerics, noise=None if vouches else noise)
    vectors: FloatMatrix | None = None
    if task.canary_turn is None or expected is None:
        vectors, steps = await probe_fully(prober, task.model, task.probes, expected, agrees)
    else:
        steps = await probe_canaries(prober, task.probes, expected, agrees, task.canary_turn)
    fault = _first_difference(task, steps) or _another_name(task, prober, steps) or _wrong_usage(task, prober, steps)
    if fault is None and (expected is not None or source):
        steps, fault = await _probe_drawn(task, prober, steps)
    if fault is not None:
        return fault
    if source:
        return ComparisonResult(SpaceVerdict.SAME_SPACE, "", tuple(steps), vectors, source)
    if expected is None:
        return ComparisonResult(SpaceVerdict.NO_REFERENCE, refusal, tuple(steps))
    return _agreement(task, steps, vectors, vouches=vouches)


async def _probe_drawn(
    task: ComparisonTask, prober: Prober, steps: list[ComparisonStep]
) -> tuple[list[ComparisonStep], ComparisonResult | None]:
    """The steps with those of drawn texts, and the verdict where one differs or the usage is not our own count."""
    noise = None if task.reference is None else task.reference.noise
    agrees = partial(compare, numerics=task.numerics, noise=noise, sides=2)
    drawn = DrawnProbes(prober, task.peer, task.endpoint, task.model, task.seed, agrees)
    if task.canary_turn is None:
        found = await drawn.run(checks_usage="bytes_per_token" not in task.record.options)
    else:
        found = await drawn.few()
    steps = [*steps, *found.steps]
    if found.miscount and task.occasion is not Occasion.PERIODIC:
        return steps, ComparisonResult(SpaceVerdict.ANOTHER_SPACE, f"usage: {found.miscount}", tuple(steps))
    failed = next((step for step in found.steps if not step.agreement.passed), None)
    if failed is None:
        return steps, None
    reason = f"{failed.name}: {failed.agreement.fault}"
    return steps, ComparisonResult(SpaceVerdict.ANOTHER_SPACE, reason, tuple(steps))


def _agreement(
    task: ComparisonTask, steps: list[ComparisonStep], vectors: FloatMatrix | None, *, vouches: bool
) -> ComparisonResult:
    """The result where all steps agree with the reference; of a copy that may vouch, its noise or its vectors, too."""
    reference = task.reference
    if not vouches or reference is None:
        return ComparisonResult(SpaceVerdict.SAME_SPACE, "", tuple(steps))
    if reference.is_whole:
        return ComparisonResult(SpaceVerdict.SAME_SPACE, "", tuple(steps), noise=noise_of(steps[0].agreement))
    source = f"{_worker_source(task)}, which agrees with what was known: {reference.source}"
    return ComparisonResult(SpaceVerdict.SAME_SPACE, "", tuple(steps), vectors, source)


def _first_difference(task: ComparisonTask, steps: list[ComparisonStep]) -> ComparisonResult | None:
    """The verdict on the first step that differs, None where none does."""
    failed = next((step for step in steps if not step.agreement.passed), None)
    if failed is None:
        return None
    what = "compared with its own answer in one batch, " if task.expected is None else ""
    reason = f"{failed.name}: {what}{failed.agreement.fault}"
    if task.as_reference and task.reference is not None and task.expected is not None:
        reason = (
            f"it cannot be the reference of {task.model.space} beside {task.others} other endpoints that serve "
            f"by the reference of {task.reference.source!r}, unless it replaces that (`replace`): {reason}"
        )
    return ComparisonResult(SpaceVerdict.ANOTHER_SPACE, reason, tuple(steps))


def _another_name(task: ComparisonTask, prober: Prober, steps: list[ComparisonStep]) -> ComparisonResult | None:
    """The verdict on a provider that names its space, and names two, or another one than was tested.

    The new name is an operator's to accept: a test by hand pins it where the vectors are right.
    """
    pinned = task.endpoint.upstream_space
    changed = pinned is not None and prober.spaces != {pinned} and task.occasion not in BY_HAND
    if len(prober.spaces) < 2 and not changed:
        return None
    names = ", ".join(sorted(str(name) for name in prober.spaces))
    reason = f"it answers from the space {names}, and {pinned or 'one'} was tested"
    return ComparisonResult(SpaceVerdict.ANOTHER_SPACE, reason, tuple(steps), cause=QuarantineCause.SPACE_MISMATCH)


def _wrong_usage(task: ComparisonTask, prober: Prober, steps: list[ComparisonStep]) -> ComparisonResult | None:
    """The verdict on usage that nobody can be billed by.

    An endpoint that serves keeps its traffic where it merely reports no usage, which vendors do for an hour:
    ``dispatch.usage_drift`` tells ops.
    """
    if not prober.miscount or (task.occasion is Occasion.PERIODIC and not prober.reports_usage):
        return None
    return ComparisonResult(SpaceVerdict.ANOTHER_SPACE, f"usage: {prober.miscount}", tuple(steps))


async def _vouching_source(task: ComparisonTask) -> tuple[str, str]:
    """Why the endpoint may vouch for its space, and nothing; or nothing, and what to do about the missing reference."""
    if task.is_orphaned:
        return "", (
            f"the reference of {task.model.space} is of other probes than are asked now, so there is nothing to "
            "compare with: say with a reason which endpoint is the reference (`as_reference`)"
        )
    refusal = await _refusal_to_vouch(task)
    if not refusal:
        return _worker_source(task), ""
    return "", (
        f"nothing vouches for the space {task.model.space} yet, so there is nothing to compare with ({refusal}): test "
        "an in-house worker that serves the catalogue's weights first, or say with a reason that this endpoint is the "
        "reference (`as_reference`)"
    )


def _worker_source(task: ComparisonTask) -> str:
    return f"in-house worker {task.endpoint.provider_name} with {task.model.revision} of {task.model.id}"


async def _refusal_to_vouch(task: ComparisonTask) -> str:
    """Why the endpoint is not known to be an honest copy; empty where it is."""
    if not isinstance(task.provider, WorkerProvider):
        return "only an in-house worker, inside the networks that the operator allowed, vouches by itself"
    try:
        return refusal_to_vouch(task.model, await task.provider.identity(IDENTITY_WITHIN_S))
    except Failure as failure:
        return f"the worker does not say what it serves: {describe_failure(failure)}"
