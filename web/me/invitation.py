"""``/invitations/{invitation}``: somebody who is invited to an account says yes or no."""

from typing import Any, ClassVar, Literal

import msgspec

from router.api.in_process import OperationRefused
from router.errors import NotFound
from router.identity.people.invitations import Invitation, InvitationState, get_own_invitation
from store.ids import InvitationId, parse
from web.answers import Answer, Page, Redirect
from web.faults import NotFound as PageNotFound
from web.request import PageRequest

ROLES = {
    "owner": "everything: keys, money, members",
    "developer": "keys, usage and calls",
    "finance": "money and documents, without keys and calls",
}


class InvitationPage(Page, frozen=True, kw_only=True):
    """The invitation. ``fault``: why it cannot be accepted."""

    template: ClassVar[str] = "me/invitation.html"

    action: str
    invitation: Invitation
    may: str
    is_open: bool
    fault: str = ""


class AnswerForm(msgspec.Struct, frozen=True):
    """Yes or no."""

    answer: Literal["accept", "decline"]


class _Joined(msgspec.Struct, frozen=True):
    account: str


async def show(request: PageRequest) -> InvitationPage:
    """The invitation. Raises ``NotFound`` for those of others too."""
    return await _page(request)


async def act(request: PageRequest) -> Answer:
    """Join, or not."""
    form = request.form_as(AnswerForm)
    path = {"invitation_id": request.values["invitation"]}
    try:
        if form.answer == "decline":
            await request.run("decline_own_invitation", dict[str, Any], path=path)
            return Redirect(to="/me")
        joined = (await request.run("accept_own_invitation", _Joined, path=path)).value
    except OperationRefused as refused:
        if refused.status == 404 or refused.error.param in path:
            raise PageNotFound from None
        return await _page(request, refused.error.message, refused.status)
    home = f"/accounts/{joined.account}"
    return Redirect(to=request.page_or(home, f"{home}/members"))


async def _page(request: PageRequest, fault: str = "", status: int = 200) -> InvitationPage:
    person, now = request.signed_in().person, request.exchange.now
    async with request.context.reads.db.transaction() as tx:
        try:
            found = await get_own_invitation(tx, person, _id(request))
        except NotFound:
            raise PageNotFound from None
    is_open = found.state is InvitationState.OPEN and found.expires_at > now
    if not is_open and not fault:
        fault = f"It was {found.state.value}." if found.state is not InvitationState.OPEN else "It has expired."
    return InvitationPage(
        title=f"Invitation to {found.account_name}",
        action=request.path,
        invitation=found,
        may=ROLES[found.role.value],
        is_open=is_open,
        fault=fault,
        status=status,
    )


def _id(request: PageRequest) -> InvitationId:
    try:
        return InvitationId(parse(InvitationId, request.values["invitation"]))
    except ValueError:
        raise PageNotFound from None
