"""``/me``: what a person says of themselves, the accounts that they are in, and invitations that wait for them."""

from typing import Any, ClassVar

import msgspec

from router.api.in_process import OperationRefused
from router.identity.people.invitations import Invitation, invitations_of_email
from router.identity.people.values import Membership
from store.ids import AccountId, InvitationId, new_id, wire
from web.answers import Answer, Page, Redirect
from web.forms import Form, form_of
from web.request import PageRequest
from web.sign_in.finish import Carried, NewAccount, complete_opened


class OwnAccount(msgspec.Struct, frozen=True):
    """An account that a person is in."""

    id: str
    name: str
    status: str
    role: str
    href: str


class OwnInvitation(msgspec.Struct, frozen=True):
    """An account that a person is invited to."""

    href: str
    account: str
    role: str
    invited_by: str


class ProfilePage(Page, frozen=True, kw_only=True):
    """The form, and the lists."""

    template: ClassVar[str] = "me/profile.html"

    form: Form
    email: str
    accounts: tuple[OwnAccount, ...]
    invitations: tuple[OwnInvitation, ...]
    once: str
    is_done: bool = False
    fault: str = ""


class ProfileQuery(msgspec.Struct, frozen=True):
    """``done``: it was changed a moment ago."""

    done: bool = False


class ProfileForm(msgspec.Struct, frozen=True):
    """What a person says of themselves."""

    name: str = ""
    zone: str = ""


class OpenForm(msgspec.Struct, frozen=True):
    """A button, and the Idempotency-Key of pressing it: pressed twice, it opens one account."""

    once: str = ""


async def show(request: PageRequest) -> ProfilePage:
    """The page."""
    query = request.query_as(ProfileQuery)
    person = request.signed_in().person
    return await _page(request, Form({"name": person.name, "zone": person.zone}), is_done=query.done)


async def act(request: PageRequest) -> Answer:
    """Change name and zone."""
    form = request.form_as(ProfileForm)
    try:
        await request.run("edit_me", dict[str, Any], body={"name": form.name, "zone": form.zone})
    except OperationRefused as refused:
        return await _page(request, form_of(request, refused), status=refused.status)
    return Redirect(to="/me?done=1")


async def open_account(request: PageRequest) -> Answer:
    """Open another account of one's own, and show its key, this once."""
    form, person = request.form_as(OpenForm), request.signed_in().person
    try:
        opened = await request.run("open_own_account", NewAccount, idempotency_key=form.once or str(new_id()))
    except OperationRefused as refused:
        typed = Form({"name": person.name, "zone": person.zone})
        return await _page(request, typed, fault=refused.error.message, status=refused.status)
    return complete_opened(request, opened.value, Carried())


async def _page(
    request: PageRequest, form: Form, *, is_done: bool = False, fault: str = "", status: int = 200
) -> ProfilePage:
    signed_in = request.signed_in()
    async with request.context.reads.db.transaction() as tx:
        waiting = await invitations_of_email(tx, signed_in.person.email, request.exchange.now)
    return ProfilePage(
        title="You",
        form=form,
        email=signed_in.person.email,
        accounts=tuple(_account(request, one) for one in signed_in.memberships if one.account_id is not None),
        invitations=tuple(map(_invitation, waiting)),
        once=str(new_id()),
        is_done=is_done,
        fault=fault,
        status=status,
    )


def _account(request: PageRequest, membership: Membership) -> OwnAccount:
    assert membership.account_id is not None, "an operator's membership is none of an account; this is a bug"
    account_id = wire(AccountId, membership.account_id)
    home = request.page_or(f"/accounts/{account_id}", f"/accounts/{account_id}/members")
    return OwnAccount(account_id, membership.account_name, membership.account_status, membership.role.value, home)


def _invitation(invitation: Invitation) -> OwnInvitation:
    href = f"/invitations/{wire(InvitationId, invitation.id)}"
    return OwnInvitation(href, invitation.account_name, invitation.role.value, invitation.invited_by)
