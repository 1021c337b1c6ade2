"""Judges one endpoint: asks it the probes, compares them with its space's reference, says what they showed. No SQL."""

import asyncio
from functools import partial

import msgspec

from catalog.values import Model
from providers.outcomes import BadAnswer, Failure
from providers.probing.agreement import Noise, Numerics, admits, compare, noise_of, numerics_of
from providers.probing.probe_texts import ProbeSet
from providers.protocol import FloatMatrix, Provider
from providers.worker_client.kind import WorkerProvider
from router.registry.indexes import ProviderRecord
from router.values import Endpoint
from router.verification.prober import Prober, Quota, allowed_s, probe_all, probe_some
from router.verification.references import Reference, refusal_to_vouch
from router.verification.report import Occasion, Step, Verdict

IDENTITY_WITHIN_S = 10.0
BY_HAND = (Occasion.REGISTRATION, Occasion.MANUAL)


class Case(msgspec.Struct, frozen=True):
    """Who is examined, and against what.

    ``record`` is what the provider was built from. ``as_reference`` is an operator's reason to take this endpoint's
    vectors as the reference; ``canaries``: ask a few probes only, others for each number.
    ``others`` is how many other endpoints serve the space; ``replace``: whatever its reference says.
    ``is_orphaned``: somebody vouched for the space, but with other probes than are asked now.
    ``quota`` keeps what the provider grants us, all processes together.
    """

    record: ProviderRecord
    provider: Provider
    endpoint: Endpoint
    model: Model
    probes: ProbeSet
    reference: Reference | None
    occasion: Occasion
    as_reference: str = ""
    canaries: int | None = None
    replace: bool = False
    others: int = 0
    is_orphaned: bool = False
    quota: Quota | None = None

    @property
    def expected(self) -> FloatMatrix | None:
        """What it is compared with; None: with itself.

        Who is to be the reference is compared with the one that others are held to, unless it is to replace that.
        """
        if self.reference is None or (self.as_reference and (self.replace or not self.others)):
            return None
        return self.reference.vectors

    @property
    def numerics(self) -> Numerics:
        """The class of the space, whose thresholds hold."""
        return numerics_of(self.model.numerics)


class Exam(msgspec.Struct, frozen=True):
    """What the asking came to. ``vectors`` is set where they become the reference, ``source`` then says why.

    ``noise`` is set where the endpoint is known to be an honest copy: how far it is from the reference.
    """

    verdict: Verdict
    reason: str = ""
    steps: tuple[Step, ...] = ()
    vectors: FloatMatrix | None = None
    source: str = ""
    noise: Noise | None = None
    may_recover: bool = True
    space: str | None = None
    calls: int = 0
    tokens: int = 0


async def examine(case: Case) -> Exam:
    """Ask and judge; raises nothing of the provider's."""
    asker = Prober(case.provider, case.endpoint, case.model, case.probes, case.quota)
    within_s = allowed_s(case.endpoint, case.probes)
    try:
        async with asyncio.timeout(within_s):
            exam = await _examine(case, asker)
    except BadAnswer as bad:
        exam = Exam(Verdict.ANOTHER_SPACE, _told(bad))
    except Failure as failure:
        exam = Exam(Verdict.NO_ANSWER, _told(failure))
    except TimeoutError:
        exam = Exam(Verdict.NO_ANSWER, f"it took more than {within_s:.0f} s to answer the probes")
    space = next(iter(asker.spaces)) if len(asker.spaces) == 1 else None
    return msgspec.structs.replace(exam, space=space, calls=asker.calls, tokens=asker.tokens)


async def _examine(case: Case, asker: Prober) -> Exam:
    declared = case.endpoint.numerics
    if declared is not None and not admits(case.numerics, numerics_of(declared)):
        reason = f"it declares {declared}, and the space {case.model.space} is {case.model.numerics}"
        return Exam(Verdict.ANOTHER_SPACE, reason)
    source, refusal = case.as_reference, ""
    if case.reference is None and not source:
        source, refusal = await _vouching(case)
        if not source and case.occasion not in BY_HAND:
            return Exam(Verdict.NO_REFERENCE, refusal)
    expected = case.expected
    noise = None if case.reference is None or expected is None else case.reference.noise
    # A copy that may vouch is judged by the class alone: it is how noise is measured.
    vouches = expected is not None and not source and case.canaries is None and not await _refusal(case)
    same = partial(compare, numerics=case.numerics, noise=None if vouches else noise)
    vectors: FloatMatrix | None = None
    if case.canaries is None or expected is None:
        vectors, steps = await probe_all(asker, case.model, case.probes, expected, same)
    else:
        steps = await probe_some(asker, case.probes, expected, same, case.canaries)
    exam = _judged(case, steps) or _renamed(case, asker, steps) or _miscounts(case, asker, steps)
    if exam is not None:
        return exam
    if source:
        return Exam(Verdict.SAME_SPACE, "", tuple(steps), vectors, source)
    if expected is None:
        return Exam(Verdict.NO_REFERENCE, refusal, tuple(steps))
    return _agreed(case, steps, vectors, vouches=vouches)


def _agreed(case: Case, steps: list[Step], vectors: FloatMatrix | None, *, vouches: bool) -> Exam:
    """It is as the reference says; a copy that may vouch tells more than that."""
    reference = case.reference
    if not vouches or reference is None:
        return Exam(Verdict.SAME_SPACE, "", tuple(steps))
    if reference.is_whole:
        return Exam(Verdict.SAME_SPACE, "", tuple(steps), noise=noise_of(steps[0].agreement))
    source = f"{_worker_told(case)}, which agrees with what was known: {reference.source}"
    return Exam(Verdict.SAME_SPACE, "", tuple(steps), vectors, source)


def _judged(case: Case, steps: list[Step]) -> Exam | None:
    """The verdict on the first step that differs."""
    failed = next((step for step in steps if not step.agreement.passed), None)
    if failed is None:
        return None
    what = "compared with its own answer in one batch, " if case.expected is None else ""
    reason = f"{failed.name}: {what}{failed.agreement.fault}"
    if case.as_reference and case.reference is not None and case.expected is not None:
        reason = (
            f"it cannot be the reference of {case.model.space} beside {case.others} other endpoints that serve by the "
            f"reference of {case.reference.source!r}, unless it replaces that (--replace): {reason}"
        )
    return Exam(Verdict.ANOTHER_SPACE, reason, tuple(steps))


def _renamed(case: Case, asker: Prober, steps: list[Step]) -> Exam | None:
    """The verdict on a provider that names its space, and names two, or another one than was tested.

    What it is called now is an operator's to accept: a test by hand pins the new name where the vectors are right.
    """
    pinned = case.endpoint.upstream_space
    changed = pinned is not None and asker.spaces != {pinned} and case.occasion not in BY_HAND
    if len(asker.spaces) < 2 and not changed:
        return None
    names = ", ".join(sorted(str(name) for name in asker.spaces))
    reason = f"it answers from the space {names}, and {pinned or 'one'} was tested"
    return Exam(Verdict.ANOTHER_SPACE, reason, tuple(steps), may_recover=False)


def _miscounts(case: Case, asker: Prober, steps: list[Step]) -> Exam | None:
    """The verdict on usage that nobody can be billed by.

    One that serves is not taken away for telling none, which vendors do for an hour; ``usage_drift`` tells ops.
    """
    if not asker.miscount or (case.occasion is Occasion.PERIODIC and not asker.tells_usage):
        return None
    return Exam(Verdict.ANOTHER_SPACE, f"usage: {asker.miscount}", tuple(steps))


async def _vouching(case: Case) -> tuple[str, str]:
    """Why the endpoint may vouch for its space; or what to do about the missing reference."""
    if case.is_orphaned:
        return "", (
            f"the reference of {case.model.space} is of other probes than are asked now, so there is nothing to "
            "compare with: say with a reason which endpoint is the reference (--as-reference)"
        )
    refusal = await _refusal(case)
    if not refusal:
        return _worker_told(case), ""
    return "", (
        f"nothing vouches for the space {case.model.space} yet, so there is nothing to compare with ({refusal}): test "
        "an in-house worker that serves the catalogue's weights first, or say with a reason that this endpoint is the "
        "reference (--as-reference)"
    )


def _worker_told(case: Case) -> str:
    return f"in-house worker {case.endpoint.provider_name} with {case.model.revision} of {case.model.id}"


async def _refusal(case: Case) -> str:
    """Why the endpoint is not known to be an honest copy; empty where it is."""
    if not isinstance(case.provider, WorkerProvider):
        return "only an in-house worker, inside the networks that the operator allowed, vouches by itself"
    try:
        return refusal_to_vouch(case.model, await case.provider.identity(IDENTITY_WITHIN_S))
    except Failure as failure:
        return f"the worker does not say what it serves: {_told(failure)}"


def _told(failure: Failure) -> str:
    what = failure.message or "it failed"
    return f"{type(failure).__name__}: {what}{f' ({failure.detail})' if failure.detail else ''}"
