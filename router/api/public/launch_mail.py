"""Serves ``/v1/models/{id}/launch-mail``: an account chooses a mail when an announced model can be called."""

from typing import Literal

from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog import launch_mails
from catalog.values import Model, Status
from router.admin.launch_mails import count_addresses, take_again
from router.api.forms import Answer
from router.api.operation import Operations, Who
from router.api.public.models import find_model
from router.api.public.request import Private
from router.errors import InvalidRequest, StoreUnavailable
from router.identity.principals import MemberPrincipal
from router.identity.scopes import Scope
from store.postgres import STORE_FAULTS

operations = Operations("models", who=Who.KEY)
PATH = "/v1/models/{model_id:path}/launch-mail"


class LaunchMailOut(Answer):
    """Whether an account gets a mail when the model goes live, and how many addresses it would go to."""

    model: str
    mail_at_launch: bool
    addresses: int = Field(
        description="Of the account's owners, those that take mails about models. 0: all of them have left these."
    )
    object: Literal["model.launch_mail"] = "model.launch_mail"


@operations.post(
    PATH, verb="mail-at-launch", scope=Scope.USAGE_WRITE, name="choose_launch_mail", summary="Get a mail at launch"
)
async def choose(request: Private, model_id: str) -> LaunchMailOut:
    """Get a mail when the model can be called, with or without a vote.

    An owner who does it on a page takes mails about models again, if they had left them.
    """
    model = find_model(model_id, request.context, request.models)
    if model.status is not Status.COMING_SOON:
        raise InvalidRequest(
            f"The model `{model.id}` is {model.status.value}: a mail at launch is of one that is coming soon.",
            param="model",
        )
    return await _write(request, model, chosen=True)


@operations.delete(
    PATH,
    verb="no-mail-at-launch",
    scope=Scope.USAGE_WRITE,
    name="withdraw_launch_mail",
    summary="Get no mail at launch",
)
async def withdraw(request: Private, model_id: str) -> LaunchMailOut:
    """Take the choice back; a vote stays."""
    return await _write(request, find_model(model_id, request.context, request.models), chosen=False)


async def keep_choice(tx: AsyncConnection, request: Private, model: Model, *, chosen: bool) -> None:
    """Write the choice of a mail at launch; an owner who chooses it takes mails about models again."""
    if not chosen:
        await launch_mails.withdraw(tx, model.id, request.account_id)
        return
    await launch_mails.choose(tx, model.id, request.account_id)
    if isinstance(request.principal, MemberPrincipal):
        await take_again(tx, request.principal.member_id)


async def _write(request: Private, model: Model, *, chosen: bool) -> LaunchMailOut:
    try:
        async with request.context.db.transaction() as tx:
            await keep_choice(tx, request, model, chosen=chosen)
            addresses = await count_addresses(tx, [request.account_id])
    except STORE_FAULTS as fault:
        raise StoreUnavailable(
            "That cannot be written right now. Try again in a moment.", retry_after_s=1, detail=str(fault)
        ) from fault
    return LaunchMailOut(model=model.id, mail_at_launch=chosen, addresses=addresses)
