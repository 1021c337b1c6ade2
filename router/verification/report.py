"""What an examination of an endpoint came to, and what that means for its state. Values and rules, no I/O."""

from datetime import datetime
from enum import StrEnum

import msgspec

from providers.probing.agreement import Agreement
from router.values import EndpointState
from store.ids import ProbeId


class Occasion(StrEnum):
    """Why an endpoint is asked."""

    REGISTRATION = "registration"
    PERIODIC = "periodic"
    RECOVERY = "recovery"
    MANUAL = "manual"


class Verdict(StrEnum):
    """What its answers showed."""

    SAME_SPACE = "same_space"
    ANOTHER_SPACE = "another_space"
    NO_ANSWER = "no_answer"
    NO_REFERENCE = "no_reference"


class Step(msgspec.Struct, frozen=True):
    """One way of asking, and how its answer compares."""

    name: str
    agreement: Agreement


class Report(msgspec.Struct, frozen=True):
    """One examination. ``reason`` is a sentence for ops; ``state`` is the endpoint's afterwards.

    ``reference`` says who vouches for the space; ``became_reference`` that this endpoint now does. ``space`` is the
    provider's own name of what it serves. After a failure ``last_good_at`` is the last probe that went well, and
    ``calls_since`` counts the calls that the endpoint has answered since then. ``may_recover`` is false where only an
    operator can bring the endpoint back; ``stands`` is false where the endpoint was changed while it was examined.
    """

    id: ProbeId
    occasion: Occasion
    verdict: Verdict
    reason: str
    state: EndpointState
    probe_set: str
    numerics: str
    full: bool = True
    steps: tuple[Step, ...] = ()
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
        """Whether it serves the space that it claims."""
        return self.verdict is Verdict.SAME_SPACE

    @property
    def cosine_min(self) -> float | None:
        """The least cosine of any step."""
        found = [step.agreement.cosine_min for step in self.steps if step.agreement.cosine_min is not None]
        return min(found, default=None)


def next_state(state: EndpointState, verdict: Verdict, *, returns: bool) -> EndpointState | None:
    """Where the endpoint goes, None where it stays. ``returns``: a good result may end its quarantine.

    Another space ends traffic at once. Silence says nothing of the space: it keeps an endpoint from going live, and
    takes no live one away.
    """
    on_trial = state is EndpointState.PROBING
    serves = state in (EndpointState.LIVE, EndpointState.DRAINING)
    match verdict:
        case Verdict.SAME_SPACE:
            back = state is EndpointState.QUARANTINED and returns
            return EndpointState.LIVE if on_trial or back else None
        case Verdict.ANOTHER_SPACE:
            return EndpointState.QUARANTINED if on_trial or serves else None
        case Verdict.NO_ANSWER:
            return EndpointState.QUARANTINED if on_trial else None
        case Verdict.NO_REFERENCE:
            return None
