"""Holds one request for a page as its function has it: the reader, the path's values, query, form, and operations."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from router.api.exchange import Exchange
from router.api.in_process import InProcess, OperationCall, Outcome
from router.changes.audit import Actor
from router.identity.operators import Operator
from router.identity.people.values import Place, SignedIn, place_of
from router.identity.principals import MemberPrincipal, PersonPrincipal, actor_of
from store.ids import AccountId, MemberId, PersonId, parse, wire
from web.context import WebContext
from web.faults import NotFound
from web.fields import Pairs, struct_of
from web.viewer import Viewer

T = TypeVar("T")
S = TypeVar("S", bound=msgspec.Struct)
FORM_MEDIA = b"application/x-www-form-urlencoded"


class PageRequest:
    """One request. ``values`` are those of the path; ``form`` is empty where nothing was posted."""

    __slots__ = (
        "_is_form",
        "_is_page",
        "account_id",
        "client",
        "context",
        "cookies",
        "exchange",
        "form",
        "method",
        "path",
        "query",
        "values",
        "viewer",
    )

    def __init__(
        self,
        exchange: Exchange,
        context: WebContext,
        viewer: Viewer,
        *,
        values: Mapping[str, str],
        query: Pairs,
        form: Pairs,
        cookies: Mapping[str, str],
        client: str,
        is_page: Callable[[str], bool],
        is_form: Callable[[str], bool],
    ) -> None:
        self.exchange = exchange
        self.context = context
        self.viewer = viewer
        self.method = exchange.method
        self.path = exchange.path
        self.values = values
        self.query = query
        self.form = form
        self.cookies = cookies
        self.account_id: AccountId | None = None
        # The reader's network address, for limits and the audit of sessions.
        self.client = client
        self._is_page, self._is_form = is_page, is_form

    @property
    def operations(self) -> InProcess:
        """The operations that this request may call: a GET's refuse to write, in Postgres."""
        return self.context.writing if self.method == "POST" else self.context.reading

    def query_as(self, form: type[S]) -> S:
        """The query's fields. Raises ``InvalidInput``."""
        return struct_of(self.query, form)

    def form_as(self, form: type[S]) -> S:
        """The posted fields. Raises ``InvalidInput``."""
        return struct_of(self.form, form)

    def typed(self, name: str) -> str:
        """What was posted in a field, as it was typed; empty where nothing was."""
        return next((value for key, value in self.form if key == name), "")

    def page_or(self, address: str, otherwise: str) -> str:
        """An address to go back to that came with the request, where it is a page of ours."""
        return address if self._is_page(address) else otherwise

    def is_form(self, address: str) -> bool:
        """Whether a form can be sent to an address that came with the request: one of ours."""
        return self._is_form(address)

    async def become(self, cookies: Mapping[str, str]) -> None:
        """Make whoever these cookies name the reader, for what is around the page."""
        self.viewer = await self.context.find_viewer(cookies, self.context.reads, self.exchange.now)

    @property
    def place(self) -> Place:
        """Where the reader's browser is, for limits and for the list of sessions."""
        return place_of(self.client, self.exchange.user_agent.decode("latin-1"))

    def signed_in(self) -> SignedIn:
        """The reader's person and session, on a route that is for persons."""
        assert self.viewer.signed_in is not None, "its route is for anyone; this is a bug"
        return self.viewer.signed_in

    def account(self) -> AccountId:
        """The account of the path, in which the reader is a member."""
        assert self.account_id is not None, "its route has no account; this is a bug"
        return self.account_id

    def member(self) -> MemberPrincipal:
        """The reader as who acts in the account of the path."""
        found = self.viewer.membership(self.account())
        assert found is not None, "access was checked; this is a bug"
        return MemberPrincipal(found.member_id, found.account_id, found.role, only_reads=found.only_reads)

    async def run(
        self,
        operation: str,
        answer: type[T],
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, str] | Pairs = (),
        body: Mapping[str, Any] | None = None,
        dry_run: bool = False,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> Outcome[T]:
        """Run an operation, named by its operationId, as this reader. Raises ``OperationRefused``."""
        pairs = tuple(query.items()) if isinstance(query, Mapping) else query
        call = OperationCall(
            path=path or {},
            query=pairs,
            body=body,
            dry_run=dry_run,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )
        return await self.operations.run(operation, self.identify, call, answer)

    def identify(self, exchange: Exchange) -> None:
        """Make an operation's exchange this reader's: a person, and a member of the page's account or an operator."""
        if (signed_in := self.viewer.signed_in) is not None:
            person_id = signed_in.person.id
            actor = Actor(wire(PersonId, person_id))
            exchange.person = PersonPrincipal(person_id, actor, signed_in.session.id)
        if self.account_id is not None:
            principal = self.member()
            exchange.principal, exchange.actor = principal, actor_of(principal)
        elif (staff := self.viewer.staff) is not None:
            session = None if signed_in is None else signed_in.session.id
            exchange.operator = Operator(staff.member_id, staff.role, self.viewer.email, session_id=session)
            exchange.actor = Actor(wire(MemberId, staff.member_id))


def parse_account(text: str) -> AccountId:
    """The account of a path. Raises :class:`NotFound` for what can be no account's id."""
    try:
        known = AccountId(parse(AccountId, text))
    except ValueError:
        raise NotFound from None
    # One address for one page: an id has other spellings.
    if wire(AccountId, known) != text:
        raise NotFound
    return known
