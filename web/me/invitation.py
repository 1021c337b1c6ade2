"""``/invitations/{invitation}``: somebody who is invited to an account says yes or no."""

from functools import partial
from typing import ClassVar, Literal

import msgspec

from router.errors import Conflict, NotFound
from router.identity.people.invitations import (
    Invitation,
    InvitationState,
    accept_invitation,
    decline_invitation,
    get_invitation,
)
from store.ids import AccountId, InvitationId, parse, wire
from web.answers import Answer, Page, Redirect
from web.faults import NotFound as PageNotFound
from web.me.changes import change_own
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


async def show(request: PageRequest) -> InvitationPage:
    """The invitation. Raises ``NotFound`` for those of others too."""
    return await _page(request)


async def act(request: PageRequest) -> Answer:
    """Join, or not."""
    form, person = request.form_as(AnswerForm), request.signed_in().person
    invitation_id = _id(request)
    try:
        if form.answer == "decline":
            await change_own(request, partial(decline_invitation, person=person, invitation_id=invitation_id))
            return Redirect(to="/me")
        command = partial(accept_invitation, person=person, invitation_id=invitation_id)
        member = await change_own(request, command)
    except NotFound:
        raise PageNotFound from None
    except Conflict as fault:
        return await _page(request, fault.message, 409)
    assert member.account_id is not None, "an operator's invitation is accepted elsewhere; this is a bug"
    home = f"/accounts/{wire(AccountId, member.account_id)}"
    return Redirect(to=request.page_or(home, f"{home}/members"))


async def _page(request: PageRequest, fault: str = "", status: int = 200) -> InvitationPage:
    person, now = request.signed_in().person, request.exchange.now
    async with request.context.reads.db.transaction() as tx:
        try:
            found = await get_invitation(tx, _id(request))
        except NotFound:
            raise PageNotFound from None
    if found.account_id is None or found.email.lower() != person.email.lower():
        raise PageNotFound
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
