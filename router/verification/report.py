"""Reports what a verification of an endpoint found, and decides which state follows from it. Pure."""

from datetime import datetime
from enum import StrEnum

import msgspec

from providers.probing.agreement import Agreement
from router.values import EndpointState
from store.ids import ProbeId


class Occasion(StrEnum):
    """Why an endpoint is verified."""

    REGISTRATION = "registration"
    PERIODIC = "periodic"
    RECOVERY = "recovery"
    MANUAL = "manual"


class SpaceVerdict(StrEnum):
    """What an endpoint's vectors say about its vector space."""

    SAME_SPACE = "same_space"
    ANOTHER_SPACE = "another_space"
    NO_ANSWER = "no_answer"
    NO_REFERENCE = "no_reference"


class ComparisonStep(msgspec.Struct, frozen=True):
    """One shape of call (one batch, single texts, …), and how its vectors agree with the expected ones."""

    name: str
    agreement: Agreement


class VerificationReport(msgspec.Struct, frozen=True):
    """One verification. ``reason`` is a sentence for ops; ``state`` is the endpoint's state afterwards.

    ``reference`` says who vouches for the space; ``became_reference``: this endpoint does from now on. ``space`` is the
    provider's own name of what it serves. After a failure ``last_good_at`` is the last verification that passed, and
    ``calls_since`` counts the calls that the endpoint has answered since. ``may_recover`` is false where only an
    operator can bring the endpoint back; ``stands`` is false where the endpoint was changed while it was verified.
    """

    id: ProbeId
    occasion: Occasion
    verdict: SpaceVerdict
    reason: str
    state: EndpointState
    probe_set: str
    numerics: str
    full: bool = True
    steps: tuple[ComparisonStep, ...] = ()
    reference: str = ""
    became_reference: bool = False
    space: str | None = None
    dimensions: int | None = None
    calls: int = 0
    tokens: int = 0
    last_good_at: datetime | None = None
    calls_since: int | None = None
    may_recover: bool = True
    stands: bool = True

    @property
    def passed(self) -> bool:
        """Whether the endpoint serves the space that it claims."""
        return self.verdict is SpaceVerdict.SAME_SPACE

    @property
    def cosine_min(self) -> float | None:
        """The least cosine of any step."""
        cosines = [step.agreement.cosine_min for step in self.steps if step.agreement.cosine_min is not None]
        return min(cosines, default=None)


def next_state(
    state: EndpointState, verdict: SpaceVerdict, *, ends_quarantine: bool, activates: bool = True
) -> EndpointState | None:
    """Return the state that follows from a verdict, None where the endpoint stays in its own.

    ``ends_quarantine``: one more good verdict is enough to leave quarantine. ``activates``: an endpoint on trial goes
    live by a good verdict; without it, a test only tests. Another space ends traffic at once.
    Silence says nothing of the space: it keeps an endpoint from going live, and takes no live one away.
    """
    on_trial = state is EndpointState.PROBING
    serves = state in (EndpointState.LIVE, EndpointState.DRAINING)
    match verdict:
        case SpaceVerdict.SAME_SPACE:
            returns = state is EndpointState.QUARANTINED and ends_quarantine
            return EndpointState.LIVE if (on_trial and activates) or returns else None
        case SpaceVerdict.ANOTHER_SPACE:
            return EndpointState.QUARANTINED if on_trial or serves else None
        case SpaceVerdict.NO_ANSWER:
            return EndpointState.QUARANTINED if on_trial else None
        case SpaceVerdict.NO_REFERENCE:
            return None
