"""``POST`` and ``DELETE /v1/models/{id}/vote``: an account says that it wants a model which is announced."""

from collections.abc import Awaitable, Callable
from typing import Annotated

import msgspec
from fastapi import Request, Response
from msgspec import Meta
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog import votes
from catalog.values import Model, Status
from router.api.exchange import EXCHANGE, Exchange
from router.api.operation import Operations, Who
from router.api.public.models import visible_model
from router.context import RouterContext
from router.errors import InvalidRequest, StoreUnavailable
from router.values import Key
from store.postgres import STORE_FAULTS

operations = Operations("models", who=Who.KEY)
PATH = "/v1/models/{model_id:path}/vote"
NOTE_MAX = 1_000


class VoteIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the model is wanted for, in a sentence; optional."""

    note: Annotated[str, Meta(max_length=NOTE_MAX)] = ""


class VoteOut(msgspec.Struct, frozen=True):
    """``votes``: how many accounts want the model; each has one vote, whatever its number of keys."""

    model: str
    voted: bool
    votes: int
    object: str = "model.vote"


@operations.post(PATH, verb="vote", name="vote_for_model", summary="Vote for an announced model")
async def vote(request: Request, model_id: str) -> Response:
    """Count the account's vote; a second one changes its note alone."""
    exchange: Exchange = request.scope[EXCHANGE]
    given = _given(exchange.body)
    model, key, context = _asked(request, model_id)
    if model.status is not Status.COMING_SOON:
        raise InvalidRequest(
            f"The model `{model.id}` is {model.status.value}: only a model that is coming soon takes votes.",
            param="model",
        )
    count = await _ask(context, lambda db: votes.vote(db, model.id, key.account_id, given.note))
    return _told(VoteOut(model.id, voted=True, votes=count))


@operations.delete(PATH, verb="withdraw-vote", name="withdraw_vote", summary="Take a vote back")
async def withdraw(request: Request, model_id: str) -> Response:
    """Also where there was none."""
    model, key, context = _asked(request, model_id)
    count = await _ask(context, lambda db: votes.withdraw(db, model.id, key.account_id))
    return _told(VoteOut(model.id, voted=False, votes=count))


def _asked(request: Request, model_id: str) -> tuple[Model, Key, RouterContext]:
    exchange: Exchange = request.scope[EXCHANGE]
    context: RouterContext = request.app.state.context
    assert exchange.caller is not None, "an operation for keys was reached without one; this is a bug"
    key = exchange.caller.key
    return visible_model(model_id, key, context), key, context


async def _ask(context: RouterContext, question: Callable[[AsyncConnection], Awaitable[int]]) -> int:
    try:
        async with context.db.transaction() as connection:
            return await question(connection)
    except STORE_FAULTS as fault:
        raise StoreUnavailable(
            "Votes cannot be written right now. Try again in a moment.", retry_after_s=1, detail=str(fault)
        ) from fault


def _told(vote: VoteOut) -> Response:
    body = msgspec.json.encode(vote)
    return Response(body, media_type="application/json", headers={"cache-control": "no-store"})


def _given(body: bytes | bytearray) -> VoteIn:
    try:
        given = msgspec.json.decode(body or b"{}", type=VoteIn)
    except (msgspec.DecodeError, RecursionError):
        raise _bad_note() from None
    if "\0" in given.note:
        raise _bad_note()
    return given


def _bad_note() -> InvalidRequest:
    return InvalidRequest(
        f'The body is empty or {{"note": "what you want it for"}}, of at most {NOTE_MAX} characters.', param="note"
    )
