"""Finds who reads a page: the person whose session the request's cookie names, as they are in Postgres now."""

from collections.abc import Mapping
from datetime import datetime

from router.context import RouterContext
from router.identity.members import Role
from router.identity.people.sessions import find_session, note_seen
from router.identity.people.values import Membership as PersonMembership
from router.identity.people.values import OpenView, SignedIn
from store.ids import PersonId, wire
from store.postgres import Database
from web.sign_in.cookies import SESSION
from web.viewer import NOBODY, Membership, Staff, Viewer


class FindViewer:
    """Finds viewers; notes at most once a minute, on ``writes``, that a session is in use."""

    def __init__(self, writes: Database) -> None:
        self._writes = writes

    async def __call__(self, cookies: Mapping[str, str], context: RouterContext, now: datetime) -> Viewer:
        """The reader. Raises the database's faults where Postgres is away."""
        secret = cookies.get(SESSION)
        if secret is None:
            return NOBODY
        async with context.db.transaction() as tx:
            signed_in = await find_session(tx, secret, now)
        if signed_in is None:
            return NOBODY
        await note_seen(self._writes, signed_in.session)
        return viewer_of(signed_in, now)


def viewer_of(signed_in: SignedIn, now: datetime) -> Viewer:
    """A person who is signed in, as pages have them; an operator is one with a passkey alone."""
    operator = signed_in.operator_membership(now)
    return Viewer(
        person=wire(PersonId, signed_in.person.id),
        name=signed_in.person.name,
        email=signed_in.person.email,
        zone=signed_in.person.zone,
        memberships=tuple(
            Membership(one.account_id, one.account_name, one.role, one.member_id)
            for one in signed_in.memberships
            if one.account_id is not None
        ),
        staff=None if operator is None else Staff(operator.member_id, operator.role, _view(signed_in, operator, now)),
        signed_in_at=signed_in.session.created_at,
        signed_in=signed_in,
    )


def _view(signed_in: SignedIn, operator: PersonMembership, now: datetime) -> OpenView | None:
    """What the operator sees: of the role that may, and not beyond its time."""
    view = signed_in.view
    return view if operator.role is Role.OPS and view is not None and view.expires_at > now else None
