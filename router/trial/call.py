"""Makes a trial call: ``POST /v1/embeddings`` at the API's own address, by a secret that lives as long as the call.

Admission, limits, license, price, charge, log and explanation are those of any call, because it is one. It is sent
under an Idempotency-Key, so that a form that is posted twice, or again after its process was killed, is charged once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import msgspec
import numpy as np
import pybase64

from router.errors import NotAllowed
from router.identity.principals import MemberPrincipal, actor_of
from router.identity.scopes import Scope
from router.identity.trial_secrets import TrialKey, trial_secret
from router.trial.plan import Trial
from router.trial.vectors import Vectors
from store.postgres import Database

IN_PROGRESS = "idempotency_in_progress"
# A form that was sent twice: the second waits so long for what the first one gets.
TURNS, TURN_S = 20, 0.5


class ApiAnswer(msgspec.Struct, frozen=True):
    """What the API answered; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class ApiUnreachable(Exception):
    """The API did not answer. ``may_have_run``: the request may have reached it."""

    def __init__(self, *, may_have_run: bool) -> None:
        super().__init__("the API did not answer")
        self.may_have_run = may_have_run


# Sends a body to /v1/embeddings by a secret and under an Idempotency-Key. Raises ApiUnreachable.
SendCall: TypeAlias = Callable[[str, str, bytes], Awaitable[ApiAnswer]]


class TrialRefused(Exception):
    """The API answered with an error: its status, code and sentence."""

    def __init__(self, status: int, code: str, message: str, request_id: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.request_id = request_id


class _Row(msgspec.Struct, frozen=True):
    embedding: str


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int


class _Embeddings(msgspec.Struct, frozen=True):
    data: list[_Row]
    usage: _Usage


class _Error(msgspec.Struct, frozen=True):
    message: str
    code: str | None = None


class _Envelope(msgspec.Struct, frozen=True):
    error: _Error


async def run_trial(db: Database, send: SendCall, member: MemberPrincipal, trial: Trial) -> Vectors:
    """Make the call for a member who may make keys, and so could call with one.

    Raises ``TrialRefused``, ``ApiUnreachable``, ``NotAllowed``, and what :func:`trial_secret` raises.
    """
    if member.only_reads or Scope.KEYS_WRITE not in member.scopes or member.account_id != trial.account_id:
        raise NotAllowed("Owners and developers of the account try models with its keys. Nothing was called.")
    async with trial_secret(db, actor_of(member), TrialKey(trial.account_id, trial.key_id, trial.model_id)) as secret:
        for turn in range(TURNS):
            answer = await send(secret, trial.idempotency_key, trial.body)
            if answer.status < 400:
                return _vectors_of(answer)
            refused = _refused(answer)
            if refused.code != IN_PROGRESS or turn + 1 == TURNS:
                raise refused
            await asyncio.sleep(TURN_S)
    raise AssertionError("the last turn returns or raises; this is a bug")


def _vectors_of(answer: ApiAnswer) -> Vectors:
    found = msgspec.json.decode(answer.body, type=_Embeddings)
    rows = [np.frombuffer(pybase64.b64decode(row.embedding), dtype="<f4") for row in found.data]
    headers = answer.headers
    return Vectors(
        matrix=np.stack(rows),
        request_id=headers.get("x-request-id", ""),
        cost_usd=headers.get("x-gigarouter-cost", "0.00"),
        tokens=found.usage.prompt_tokens,
        provider=headers.get("x-gigarouter-provider", ""),
        space=headers.get("x-gigarouter-space", ""),
        attribution=headers.get("x-gigarouter-attribution", ""),
        is_replay=headers.get("idempotency-replayed") == "true",
    )


def _refused(answer: ApiAnswer) -> TrialRefused:
    try:
        error = msgspec.json.decode(answer.body, type=_Envelope).error
    except msgspec.MsgspecError:
        # What answers at the address is not the API, or something between us and it.
        error = _Error(f"What answers at the API's address says {answer.status}, in no words of the API.", "no_api")
    return TrialRefused(answer.status, error.code or "", error.message, answer.headers.get("x-request-id", ""))
