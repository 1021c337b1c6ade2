"""Sets two explained routes side by side, and says of each fact in words whether it is the same."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import msgspec

from router.api.in_process import OperationRefused
from router.explain.views import AttemptOut, OpsCandidateOut
from web.answers import Crumb, Page
from web.forms import Form
from web.ops.explanations import Explanation, Question, curl_of, explain
from web.ops.write import OPERATIONS
from web.parts.tables import Column
from web.request import PageRequest

# The same fact as what an endpoint costs us, in another unit.
IN_NANO = "cost_nano_per_mtok"
HEAD = (Column("What"), Column("A"), Column("B"), Column("A and B"))


class Compared(msgspec.Struct, frozen=True):
    """A fact of both: as it is in A and in B, and whether that is the same."""

    name: str
    a: str
    b: str
    word: Literal["same", "differs", "in A alone", "in B alone"]


class Side(msgspec.Struct, frozen=True):
    """One of two: its letter and title, what is known, or why nothing is."""

    letter: str
    question: Question
    call: Explanation | None
    missing: str


class PairPage(Page, frozen=True, kw_only=True):
    """Two side by side."""

    template: ClassVar[str] = "ops/route_pair.html"

    form: Form
    a: Side
    b: Side
    facts: tuple[Compared, ...]
    candidates: tuple[Compared, ...]
    attempts: tuple[Compared, ...]
    head: tuple[Column, ...] = HEAD
    curls: tuple[str, ...] = ()


async def show_pair(request: PageRequest, questions: tuple[Question, Question], form: Form) -> PairPage:
    """Two side by side: what of one is not known is said beside the other."""
    a, b = [await _side(request, letter, one) for letter, one in zip("AB", questions, strict=True)]
    facts, candidates, attempts = compare(a.call, b.call)
    found = [side for side in (a, b) if side.call is not None]
    return PairPage(
        title="Two routes side by side",
        crumbs=(OPERATIONS, Crumb("Explain a route", "/ops/route"), Crumb("Two side by side")),
        form=form,
        a=a,
        b=b,
        facts=facts,
        candidates=candidates,
        attempts=attempts,
        curls=tuple(curl_of(request, side.question) for side in found),
        status=200 if found else 404,
    )


async def _side(request: PageRequest, letter: str, question: Question) -> Side:
    if not question.subject:
        return Side(letter, question, None, "Nothing was asked for: a call's id, or a model.")
    try:
        explained = await explain(request, question)
    except OperationRefused as refused:
        message = " ".join(fault.message for fault in refused.faults) or refused.error.message
        return Side(letter, question, None, message)
    return Side(letter, question, explained.then or explained.now, "")


Tables = tuple[tuple[Compared, ...], tuple[Compared, ...], tuple[Compared, ...]]


def compare(a: Explanation | None, b: Explanation | None) -> Tables:
    """The facts, candidates and attempts of two, a row each; of one alone, as "in A alone"."""
    return (
        tuple(_row(name, _facts(a).get(name), _facts(b).get(name)) for name in FACTS),
        _rows(_candidates(a), _candidates(b)),
        _rows(_attempts(a), _attempts(b)),
    )


FACTS = (
    *("Model", "Account", "Key", "Status", "Error", "Inputs", "Policy", "Chosen", "Attempts"),
    *("Cost to the customer, USD", "Our cost, USD", "Margin, USD", "Took, ms"),
)


def _facts(call: Explanation | None) -> dict[str, str]:
    if call is None:
        return {}
    chosen = next((one for one in call.candidates if one.chosen), None)
    values = (
        call.model,
        _somebody(call.account, "nobody's"),
        _somebody(call.key, "none"),
        "not made" if call.status is None else str(call.status),
        "none" if call.error is None else f"{call.error.code}: {call.error.message}",
        str(call.inputs),
        call.policy or "unknown",
        "nobody" if chosen is None else f"{chosen.provider} ({chosen.endpoint})",
        str(len(call.attempts)),
        call.cost or "none",
        call.provider_cost or "none",
        call.margin or "none",
        "unknown" if call.timings is None or call.status is None else f"{call.timings.total_ms:g}",
    )
    return dict(zip(FACTS, values, strict=True))


def _somebody(known: str | None, nobody: str) -> str:
    """An id, which is all zeros where a question names none."""
    return known if known is not None and known.strip("0").partition("_")[2] else nobody


def _candidates(call: Explanation | None) -> dict[str, str]:
    """What became of each candidate, by its name, in its turn."""
    found: Sequence[OpsCandidateOut] = () if call is None else call.candidates
    ordered = sorted(found, key=lambda one: (one.place is None, one.place or 0))
    return {f"{one.provider} ({one.endpoint})": _candidate(one) for one in ordered}


def _candidate(one: OpsCandidateOut) -> str:
    turn = f"left out: {one.left_out}" if one.place is None else f"turn {one.place}{', chosen' if one.chosen else ''}"
    facts = [(name, value) for name, value in sorted(one.facts.items()) if value is not None and name != IN_NANO]
    figures = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in facts)
    return "; ".join(filter(None, (turn, one.state, f"costs us {one.cost_usd_per_mtok} USD per 1M tokens", figures)))


def _attempts(call: Explanation | None) -> dict[str, str]:
    found: Sequence[AttemptOut] = () if call is None else call.attempts
    return {
        f"Attempt {number}": f"{one.provider}: {one.outcome.replace('_', ' ')} after {one.took_ms:g} ms"
        f"{f', {one.reason}' if one.reason else ''}"
        for number, one in enumerate(found, 1)
    }


def _rows(a: dict[str, str], b: dict[str, str]) -> tuple[Compared, ...]:
    return tuple(_row(name, a.get(name), b.get(name)) for name in dict.fromkeys((*a, *b)))


def _row(name: str, a: str | None, b: str | None) -> Compared:
    if a is None or b is None:
        return Compared(name, a or "", b or "", "in B alone" if a is None else "in A alone")
    return Compared(name, a, b, "same" if a == b else "differs")
