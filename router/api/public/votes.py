"""Serves ``/v1/models/{id}/vote``: an account says that it wants a model which is announced."""

from collections.abc import Awaitable, Callable
from typing import Any, Literal, Self

from pydantic import Field, ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

from catalog import launch_mails, votes
from catalog.values import Model, Status
from router.api.forms import Answer, Body
from router.api.operation import Operations, Who
from router.api.public.launch_mail import keep_choice
from router.api.public.models import find_model
from router.api.public.request import Private
from router.errors import InvalidRequest, StoreUnavailable
from router.identity.scopes import Scope
from store.postgres import STORE_FAULTS

operations = Operations("models", who=Who.KEY)
PATH = "/v1/models/{model_id:path}/vote"
NOTE_MAX = 1_000
# A note's characters are at most twelve bytes each, as JSON escapes. Pydantic reads a body in one go: so no more of it.
BODY_BYTES_MAX = 16 * 1024


class VoteIn(Body):
    """What the model is wanted for."""

    note: str = Field(
        default="", max_length=NOTE_MAX, pattern=r"^[^\x00]*$", description="What you want it for, in a sentence."
    )
    mail_at_launch: bool | None = Field(
        default=None,
        description="A mail to the account when it goes live; left out: yes with its first vote, then as it was.",
    )

    @classmethod
    @override
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """The vote in a body. Raises ``InvalidRequest``: of two optional fields, one sentence says all."""
        refusal = InvalidRequest(
            f'The body is empty or {{"note": "what you want it for", "mail_at_launch": true}}, the note of at most '
            f"{NOTE_MAX} characters.",
            param="note",
        )
        if len(json_data) > BODY_BYTES_MAX:
            raise refusal
        try:
            return super().model_validate_json(json_data, **options)
        except ValidationError:
            raise refusal from None


class VoteOut(Answer):
    """How an account votes for a model."""

    model: str
    voted: bool
    votes: int = Field(description="How many accounts want the model; each has one vote, whatever its number of keys.")
    mail_at_launch: bool = Field(description="Whether the account gets a mail when the model goes live.")
    object: Literal["model.vote"] = "model.vote"


_NO_NOTE = VoteIn()


@operations.post(
    PATH, verb="vote", scope=Scope.USAGE_WRITE, name="vote_for_model", summary="Vote for an announced model"
)
async def vote(request: Private, model_id: str, body: VoteIn = _NO_NOTE) -> VoteOut:
    """Count the account's vote; a second one changes its note, and the mail at launch where it says something of it."""
    model = find_model(model_id, request.context, request.models)
    if model.status is not Status.COMING_SOON:
        raise InvalidRequest(
            f"The model `{model.id}` is {model.status.value}: only a model that is coming soon takes votes.",
            param="model",
        )

    async def count_it(db: AsyncConnection) -> int:
        is_new = not await votes.has_voted(db, model.id, request.account_id)
        count = await votes.vote(db, model.id, request.account_id, body.note)
        if body.mail_at_launch is not None:
            await keep_choice(db, request, model, chosen=body.mail_at_launch)
        elif is_new:
            await launch_mails.choose(db, model.id, request.account_id, by_vote=True)
        return count

    return await _write(request, model, count_it, voted=True)


@operations.delete(
    PATH, verb="withdraw-vote", scope=Scope.USAGE_WRITE, name="withdraw_vote", summary="Take a vote back"
)
async def withdraw(request: Private, model_id: str) -> VoteOut:
    """Take the account's vote back, and the mail at launch that it brought; one that was chosen by itself stays."""
    model = find_model(model_id, request.context, request.models)

    async def take_it_back(db: AsyncConnection) -> int:
        await launch_mails.withdraw(db, model.id, request.account_id, by_vote=True)
        return await votes.withdraw(db, model.id, request.account_id)

    return await _write(request, model, take_it_back, voted=False)


async def _write(
    request: Private, model: Model, command: Callable[[AsyncConnection], Awaitable[int]], *, voted: bool
) -> VoteOut:
    try:
        async with request.context.db.transaction() as connection:
            count = await command(connection)
            is_mailed = await launch_mails.is_chosen(connection, model.id, request.account_id)
            return VoteOut(model=model.id, voted=voted, votes=count, mail_at_launch=is_mailed)
    except STORE_FAULTS as fault:
        raise StoreUnavailable(
            "Votes cannot be written right now. Try again in a moment.", retry_after_s=1, detail=str(fault)
        ) from fault
