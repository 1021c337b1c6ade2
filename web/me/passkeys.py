"""``/me/passkeys``: a person's passkeys, and other services that sign them in; each is made, renamed, removed here."""

from datetime import datetime
from functools import partial
from typing import Any, ClassVar

import msgspec

from router.api.in_process import OperationRefused
from router.errors import Conflict, InvalidRequest, NotAllowed
from router.identity.people.outside import list_links
from router.identity.people.own_passkeys import list_passkeys
from router.identity.people.passkeys import (
    begin_registration,
    finish_registration,
    require_may_add,
)
from store.ids import OutsideIdentityId, PasskeyId, wire
from web.answers import Answer, File, Page, Redirect
from web.faults import NotFound as PageNotFound
from web.forms import Form
from web.me.changes import change_own
from web.request import PageRequest
from web.sign_in.cookies import SESSION
from web.sign_in.passkey import JSON, NoForm


class OwnPasskey(msgspec.Struct, frozen=True):
    """A passkey."""

    id: str
    name: str
    is_synced: bool
    created_at: datetime
    last_used_at: datetime | None


class OwnService(msgspec.Struct, frozen=True):
    """A service that signs a person in."""

    id: str
    label: str
    email: str
    last_used_at: datetime | None


class PasskeysPage(Page, frozen=True, kw_only=True):
    """The list, and the form that makes one. ``may_not``: why this person makes none."""

    template: ClassVar[str] = "me/passkeys.html"
    scripts: ClassVar[tuple[str, ...]] = ("passkeys.js",)

    passkeys: tuple[OwnPasskey, ...]
    services: tuple[OwnService, ...]
    form: Form
    may_not: str = ""


class PasskeyForm(msgspec.Struct, frozen=True):
    """What the authenticator made, as JSON, and what it is called."""

    credential: str = ""
    name: str = ""


class RenameForm(msgspec.Struct, frozen=True):
    """Another name."""

    name: str = ""


async def show(request: PageRequest) -> PasskeysPage:
    """The list."""
    return await _page(request)


async def options(request: PageRequest) -> File:
    """The options for making a passkey, as JSON. Raises ``NotAllowed``, ``Conflict``."""
    request.form_as(NoForm)
    people, signed_in = request.context.people, request.signed_in()
    require_may_add(signed_in, request.exchange.now)
    made = await begin_registration(people.writes, people.party, signed_in.person, request.cookies[SESSION])
    return File(body=made.encode(), media=JSON, holds_secret=True)


async def act(request: PageRequest) -> Answer:
    """Register what was made."""
    form, signed_in, people = request.form_as(PasskeyForm), request.signed_in(), request.context.people
    command = partial(
        finish_registration,
        party=people.party,
        person_id=signed_in.person.id,
        browser=request.cookies[SESSION],
        credential=form.credential,
        name=form.name,
    )
    try:
        require_may_add(signed_in, request.exchange.now)
        await change_own(request, command)
    except (InvalidRequest, Conflict, NotAllowed) as fault:
        return await _page(request, Form({"name": form.name}, fault=fault.message), status=400)
    return Redirect(to="/me/passkeys")


async def rename(request: PageRequest) -> Answer:
    """Give a passkey another name. Raises ``NotFound``, for those of others too."""
    form = request.form_as(RenameForm)
    return await _changed(request, "rename_own_passkey", _passkey(request), {"name": form.name})


async def remove(request: PageRequest) -> Answer:
    """Remove a passkey. Raises ``NotFound``, for those of others too."""
    request.form_as(NoForm)
    return await _changed(request, "remove_own_passkey", _passkey(request))


def _passkey(request: PageRequest) -> dict[str, str]:
    return {"passkey_id": request.values["passkey"]}


async def _changed(
    request: PageRequest, operation: str, path: dict[str, str], body: dict[str, str] | None = None
) -> Answer:
    """Change one of the list's things, and show the list."""
    try:
        await request.run(operation, dict[str, Any], path=path, body=body)
    except OperationRefused as refused:
        if refused.status == 404 or refused.error.param in path:
            raise PageNotFound from None
        return await _page(request, Form(fault=refused.error.message), status=refused.status)
    return Redirect(to="/me/passkeys")


async def remove_service(request: PageRequest) -> Answer:
    """End that a service signs the reader in. Raises ``NotFound``, for those of others too."""
    request.form_as(NoForm)
    return await _changed(request, "remove_own_identity", {"identity_id": request.values["service"]})


async def _page(request: PageRequest, form: Form | None = None, status: int = 200) -> PasskeysPage:
    signed_in, may_not = request.signed_in(), ""
    try:
        require_may_add(signed_in, request.exchange.now)
    except NotAllowed as fault:
        may_not = fault.message
    async with request.context.reads.db.transaction() as tx:
        found = await list_passkeys(tx, signed_in.person.id)
        links = await list_links(tx, signed_in.person.id)
    labels = {one.issuer: one.label for one in request.context.people.services}
    return PasskeysPage(
        title="Passkeys",
        passkeys=tuple(
            OwnPasskey(wire(PasskeyId, one.id), one.name, one.is_synced, one.created_at, one.last_used_at)
            for one in found
        ),
        services=tuple(
            OwnService(wire(OutsideIdentityId, one.id), labels.get(one.issuer, one.issuer), one.email, one.last_used_at)
            for one in links
        ),
        form=form or Form(),
        may_not=may_not,
        status=status,
    )
