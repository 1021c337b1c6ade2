"""Signs out: ends the session of this browser."""

import contextlib
from functools import partial

import msgspec

from router.admin.sign_in import actor_of
from router.changes.transaction import transact
from router.errors import NotFound
from router.identity.people.sessions import end_session
from web.answers import Redirect
from web.request import PageRequest
from web.sign_in.cookies import SESSION, forget


class OutForm(msgspec.Struct, frozen=True):
    """A button alone."""


async def act(request: PageRequest) -> Redirect:
    """End the session; one that is over already is over."""
    request.form_as(OutForm)
    signed_in = request.viewer.signed_in
    if signed_in is not None:
        person, session = signed_in.person, signed_in.session
        end = partial(end_session, person_id=person.id, session_id=session.id)
        with contextlib.suppress(NotFound):
            await transact(request.context.people.writes, actor_of(person), end)
    return Redirect(to="/", cookies=(forget(SESSION),))
