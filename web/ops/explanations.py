"""Reads explanations of routes: of a call that was made, by its id, or of one that is imagined, by its model."""

import msgspec

from router.explain.views import AttemptOut, OpsCandidateOut
from web.parts.curl import curl
from web.request import PageRequest


class Question(msgspec.Struct, frozen=True):
    """A call that was made, by its id, or a call that is imagined, by its model."""

    subject: str
    account: str = ""
    of_key: str = ""
    inputs: str = ""
    tokens: str = ""
    exclude: str = ""

    @property
    def is_call(self) -> bool:
        """Whether it is a call that was made."""
        return self.subject.startswith("req_")

    @property
    def title(self) -> str:
        """Its name on the page."""
        without = f" without {self.exclude}" if self.exclude else ""
        return self.subject if self.is_call else f"{self.subject} now{without}"

    def body(self) -> dict[str, object]:
        """The question as the operation takes it."""
        body: dict[str, object] = {"model": self.subject}
        body |= {name: value for name, value in (("account", self.account), ("key", self.of_key)) if value}
        body |= {name: _whole(value) for name, value in (("inputs", self.inputs), ("tokens", self.tokens)) if value}
        if self.exclude:
            body["what_if"] = {"exclude": [one.strip() for one in self.exclude.split(",") if one.strip()]}
        return body


class Fault(msgspec.Struct, frozen=True):
    """The error that a call was answered with."""

    code: str
    message: str


class Took(msgspec.Struct, frozen=True):
    """How long a call took."""

    total_ms: float


class Explanation(msgspec.Struct, frozen=True):
    """What became of a call, or would. ``explained`` false: only its charge is still known."""

    id: str
    created_at: str
    status: int | None
    model: str
    account: str | None
    key: str | None
    inputs: int
    policy: str
    candidates: list[OpsCandidateOut]
    attempts: list[AttemptOut]
    cost: str | None
    provider_cost: str | None
    margin: str | None
    detail: str
    timings: Took | None = None
    error: Fault | None = None
    explained: bool = True


class Difference(msgspec.Struct, frozen=True):
    """What leaving something out would change."""

    chosen_now: str | None
    chosen_then: str | None
    enters: list[str]
    leaves: list[str]
    cost_usd_per_mtok_now: str | None
    cost_usd_per_mtok_then: str | None


class Explained(msgspec.Struct, frozen=True):
    """The answer to a question."""

    now: Explanation
    then: Explanation | None
    difference: Difference | None


async def explain(request: PageRequest, question: Question) -> Explained:
    """What the operations answer. Raises ``OperationRefused``."""
    if question.is_call:
        path = {"request_id": question.subject}
        return Explained((await request.run("admin_retrieve_request", Explanation, path=path)).value, None, None)
    return (await request.run("admin_explain_route", Explained, body=question.body())).value


def curl_of(request: PageRequest, question: Question) -> str:
    """The same as ``curl`` asks it."""
    if question.is_call:
        path = request.operations.declared("admin_retrieve_request").path_of({"request_id": question.subject})
        return curl("GET", path, writes=False)
    path = request.operations.declared("admin_explain_route").path
    return curl("POST", path, body=question.body(), writes=False)


def _whole(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else text
