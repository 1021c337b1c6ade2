"""``/me/sessions``: where a person is signed in; each browser can be signed out, or all others at once."""

from datetime import datetime
from typing import Any, ClassVar

import msgspec

from router.api.in_process import OperationRefused
from router.identity.people.sessions import list_sessions
from store.ids import SessionId, wire
from web.answers import Page, Redirect
from web.faults import NotFound
from web.request import PageRequest

METHODS = {
    "code": "code by e-mail",
    "link": "link by e-mail",
    "passkey": "passkey",
    "outside": "another service",
}


class OwnSession(msgspec.Struct, frozen=True):
    """A browser."""

    id: str
    device: str
    network: str
    method: str
    created_at: datetime
    last_seen_at: datetime
    is_here: bool


class SessionsPage(Page, frozen=True, kw_only=True):
    """The list, the newest first."""

    template: ClassVar[str] = "me/sessions.html"

    sessions: tuple[OwnSession, ...]


class NoForm(msgspec.Struct, frozen=True):
    """A button alone."""


async def show(request: PageRequest) -> SessionsPage:
    """The list."""
    signed_in = request.signed_in()
    async with request.context.reads.db.transaction() as tx:
        found = await list_sessions(tx, signed_in.person.id, request.exchange.now)
    return SessionsPage(
        title="Where you are signed in",
        sessions=tuple(
            OwnSession(
                wire(SessionId, one.id),
                one.device,
                one.network,
                METHODS[one.method.value],
                one.created_at,
                one.last_seen_at,
                is_here=one.id == signed_in.session.id,
            )
            for one in found
        ),
    )


async def end(request: PageRequest) -> Redirect:
    """Sign one browser out. Raises ``NotFound``, for those of others too."""
    request.form_as(NoForm)
    path = {"session_id": request.values["session"]}
    try:
        await request.run("end_own_session", dict[str, Any], path=path)
    except OperationRefused as refused:
        if refused.status in (400, 404):
            raise NotFound from None
        raise
    return Redirect(to="/me/sessions")


async def end_others(request: PageRequest) -> Redirect:
    """Sign all other browsers out."""
    request.form_as(NoForm)
    await request.run("end_other_sessions", dict[str, Any])
    return Redirect(to="/me/sessions")
