"""An operator's request as its handler has it: it reads, it changes, and it answers with the headers that belong to it.

A handler takes one of three, and by it says what the operation does:

- ``admin: Read``: it only asks. ``await admin.read(lambda connection: …)``, ``admin.page(query, rows)``.
- ``admin: Write``: it changes something. ``await admin.change(command)``.
- ``admin: Edit``: a write that needs If-Match. ``await admin.change(command, current=…)``.

:meth:`Writing.change` is the one write path, around a command of a :class:`UnitOfWork`: If-Match is looked at in the
transaction, under the row's lock, so of two editors with one version only one wins; the outcome under an
Idempotency-Key is stored in the same transaction; a dry run does all of it and commits nothing.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar, TypeAlias, TypeVar, cast
from uuid import UUID, uuid5

import msgspec
from fastapi import Header, Query, Request, Response
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.ledger import BookedLeg, booked_here
from billing.money import NanoUSD, to_usd
from catalog.errors import CatalogError, LaunchRefused, LicenseUnknown, ModelUnknown
from router.api.accept import preferred
from router.api.admin.context import AdminContext
from router.api.admin.dry_runs import DryRan, Proposed, with_entries
from router.api.admin.proposal_answers import proposal_out
from router.api.dependencies import depend_on
from router.api.exchange import EXCHANGE, Exchange
from router.api.fields import Flag
from router.api.forms import Answer, Page, PageQuery, Resource
from router.api.operation import JSON, MONEY, V1, OperationRequest, OperationRoute, operation_routes
from router.api.paging import Paging
from router.changes import idempotency
from router.changes.audit import Actor, Change
from router.changes.idempotency import IdempotentRequest, StoredOutcome
from router.changes.second_person import Above, MoneyKind, facts_of, measure, propose
from router.changes.transaction import UnitOfWork, store_unavailable, transact
from router.errors import (
    Conflict,
    IdempotencyKeyInvalid,
    IdempotencyResultGone,
    InvalidRequest,
    LaunchIncomplete,
    ModelNotFound,
    PreconditionRequired,
    Refusal,
    VersionConflict,
)
from router.registry.encryption import CredentialCipher, CredentialUnreadable
from router.request.idempotency import validate_idempotency_key
from store.ids import AccountId, ProposalId, wire

T = TypeVar("T")
A = TypeVar("A", bound=Answer)

NO_STORE = {"cache-control": "no-store"}
DRY_RUN = {"x-gigarouter-dry-run": "true"}
SECOND_PERSON = {"x-gigarouter-second-person": "true"}
PROPOSALS = f"{V1}/finance/proposals"
# On the machine an Idempotency-Key is that of the operating-system user, who has no id: it is derived from the actor.
LOCAL_ACTORS = UUID("afd658cd-f86d-4735-8862-e3d5246a3150")
KEY_NEEDED = "A write of money needs an Idempotency-Key, such as a UUID."
UNSEALABLE = "An Idempotency-Key needs a secret key on this machine, which is not set: GIGAROUTER_SECRET_KEYS."
# SQLSTATE classes: a value that does not fit its type; a check that a column has.
_VALUE, _CHECK = "22", "23514"

Command: TypeAlias = Callable[[UnitOfWork], Awaitable[A]]
# The thing as it is now, its row locked.
Current: TypeAlias = Command[Resource]


class _NeedsSecondPerson(Exception):
    """Rolls back what one operator may not do alone."""

    def __init__(self, answer: Answer, changes: list[Change], above: Above) -> None:
        super().__init__("above a limit")
        self.answer, self.changes, self.above = answer, changes, above


class Reading(OperationRequest):
    """A request that only asks."""

    def __init__(self, request: Request, response: Response) -> None:
        self.exchange: Exchange = request.scope[EXCHANGE]
        self.context: AdminContext = request.app.state.admin
        self.route: OperationRoute = request.scope["route"]
        self._app, self._path_values = request.app, dict(request.path_params)
        self.paging = Paging(request, response)
        self.accept = request.headers.get("accept")
        self._response = response
        response.headers.update(NO_STORE)

    @property
    def actor(self) -> Actor:
        """Who asks, as the audit log names them."""
        assert self.exchange.actor is not None, "an operation for operators was reached without one; this is a bug"
        return self.exchange.actor

    @property
    def is_local(self) -> bool:
        """Whether it was made on the machine, in process, where nobody has a key."""
        return self.exchange.operator is None

    @property
    def media(self) -> str:
        """The type of the answer that the Accept header prefers, of those that the operation has."""
        return preferred(self.accept, self.route.spec.media)

    def respond(self, body: bytes, media: str = JSON) -> Response:
        """An answer whose bytes the handler wrote."""
        return Response(body, media_type=media, headers=NO_STORE)

    async def read(self, ask: Callable[[AsyncConnection], Awaitable[T]], *, snapshot: bool = False) -> T:
        """What the database answers; a resource's ETag goes out with it.

        ``snapshot``: of one instant, or read through a cursor. Raises what ``ask`` raises, and ``StoreUnavailable``.
        """
        with translated():
            async with self.context.db.transaction(snapshot=snapshot) as connection:
                found = await ask(connection)
        if isinstance(found, Resource):
            self._response.headers["etag"] = found.etag()
        return found

    def page(self, query: PageQuery, rows: Sequence[A], key: Callable[[A], str]) -> Page[A]:
        """A page from up to one row more than asked for, sorted by ``key``."""
        return self.paging.page(query, rows, key)


class Writing(Reading):
    """A request that changes something."""

    writes: ClassVar[bool] = True

    def __init__(
        self,
        request: Request,
        response: Response,
        dry_run: Annotated[
            Flag,
            Query(description="1: answer what would be, and write nothing; of money also its `entries`."),
        ] = False,
        idempotency_key: Annotated[
            str | None,
            Header(
                alias="Idempotency-Key",
                json_schema_extra={"minLength": 1, "maxLength": 255},
                description="The same key and request give the stored outcome for 24 hours, a rotation's until the old "
                "secret ends where that is later, with Idempotency-Replayed: true and with what is shown once.",
            ),
        ] = None,
        if_match: Annotated[
            str | None,
            Header(
                alias="If-Match",
                description="The ETag that you read; 409 version_conflict where it is another now. An edit needs it.",
            ),
        ] = None,
    ) -> None:
        super().__init__(request, response)
        self.dry_run = dry_run
        self.claim = None if idempotency_key is None or dry_run else self._claim(idempotency_key)
        self._expected = if_match
        self._above: Above | None = None

    async def change(self, command: Command[A], *, current: Current | None = None) -> A:
        """Run a command of this operator's and answer what it gives back.

        ``current`` is what If-Match is compared with. Raises what the command raises; ``PreconditionRequired``,
        ``VersionConflict``, ``IdempotencyMismatch``; :class:`router.changes.idempotency.ReplayedOutcome`, which the
        application answers.
        """
        # On the machine nobody reads first to edit then: what is typed is meant, whatever stands there.
        if self.edits and self._expected is None and not self.is_local:
            raise PreconditionRequired(
                "Send If-Match with the ETag that you read, so that nobody else's change is overwritten unseen.",
                param="If-Match",
            )

        booked: list[BookedLeg] = []

        # Pages and the machine have no bearer, and repeat nothing by themselves.
        if self.claim is None and not self.dry_run and self.route.spec.roles == MONEY and self.exchange.authorization:
            raise IdempotencyKeyInvalid(KEY_NEEDED, param="Idempotency-Key")

        async def run(work: UnitOfWork) -> A:
            self._above = None
            if self.claim is not None:
                await idempotency.claim_key(work.connection, self.claim)
            if current is not None and self._expected is not None:
                match_version(self._expected, await current(work))
            answer = await command(work)
            if self.dry_run:
                booked[:] = await booked_here(work.connection)
            if self._above is not None and not self.dry_run:
                raise _NeedsSecondPerson(answer, work.changes, self._above)
            await self.keep(work, answer)
            return answer

        try:
            answer = await transact(self.context.db, self.actor, run, dry_run=self.dry_run)
        except _NeedsSecondPerson as needed:
            raise Proposed(await self._propose(needed)) from None
        except CatalogError as refused:
            raise refusal_of(refused) from refused
        except DBAPIError as refused:
            raise value_refused(refused) from refused
        answered = self.answer(answer)
        if self.dry_run and self.route.spec.roles == MONEY:
            raise DryRan(with_entries(answered, booked, self._response.headers))
        return answered

    async def require_second_person(
        self, work: UnitOfWork, kind: MoneyKind, account_id: AccountId | None, amount: NanoUSD
    ) -> None:
        """Let this be proposed instead of done where its amount is above the limit: called by its command."""
        self._above = await measure(work, self.context.second_person, kind, account_id, amount) or self._above

    def routes(self) -> Iterator[OperationRoute]:
        """All operations of this application."""
        return operation_routes(self._app.routes)

    async def _propose(self, needed: "_NeedsSecondPerson") -> StoredOutcome:
        """Store what was asked for as a proposal, and under the Idempotency-Key that it was; the answer is 202."""

        async def run(work: UnitOfWork) -> StoredOutcome:
            if self.claim is not None:
                await idempotency.claim_key(work.connection, self.claim)
            proposal = await propose(
                work,
                needed.above,
                operation=" ".join(self.route.spec.name),
                path_values={name: str(value) for name, value in self._path_values.items()},
                body=bytes(self.exchange.body) or b"{}",
                if_match=self._expected,
                answer=needed.answer.storable().model_dump_json().encode(),
                changes=facts_of(needed.changes),
            )
            facts: dict[str, object] = {"operation": proposal.operation, "amount_usd": to_usd(needed.above.amount)}
            subject = wire(ProposalId, proposal.id)
            work.record_change(Change("proposal.create", subject, proposal.account_id, after=facts))
            body = proposal_out(proposal, work.now).model_dump_json().encode()
            outcome = StoredOutcome(202, [("location", f"{PROPOSALS}/{subject}")], body)
            if self.claim is not None:
                await idempotency.store_outcome(work.connection, self.claim, outcome)
            return outcome

        return await transact(self.context.db, self.actor, run)

    def answer(self, answer: A) -> A:
        """The same with its headers; after a dry run without what is shown once."""
        if self.dry_run:
            self._response.status_code = 200
            self._response.headers.update(DRY_RUN)
            if self._above is not None:
                self._response.headers.update(SECOND_PERSON)
            answer = answer.storable()
        else:
            self._response.headers.update(self._location(answer))
        if isinstance(answer, Resource):
            self._response.headers["etag"] = answer.etag()
        return answer

    async def keep(self, work: UnitOfWork, answer: Answer) -> None:
        """Store what is answered, in the transaction that made it, for whoever asks again with its key."""
        if self.claim is None:
            return
        stored, secrets = answer.storable(), answer.secrets()
        tag = {"etag": stored.etag()} if isinstance(stored, Resource) else {}
        headers = list({**tag, **self._location(stored)}.items())
        sealed = None
        if secrets:
            assert self.context.cipher is not None, "serve has a cipher, and a local claim needs one; this is a bug"
            binding = self.claim.binding(self.claim.request_id)
            sealed = self.context.cipher.seal(binding, msgspec.json.encode(secrets))
        outcome = StoredOutcome(self._status, headers, stored.model_dump_json().encode(), sealed)
        await idempotency.store_outcome(
            work.connection, self.claim, outcome, replays_until=answer.replays_until() if secrets else None
        )

    @property
    def _status(self) -> int:
        return self.route.status_code or 200

    def _location(self, answer: Answer) -> dict[str, str]:
        """Where what was made is, which is below where it was asked for."""
        if self._status != 201:
            return {}
        known = cast(str, answer.model_dump(mode="json", include={"id"})["id"])
        return {"location": f"{self.paging.path}/{known}"}

    @property
    def claimant(self) -> UUID:
        """Whose an Idempotency-Key is."""
        return uuid5(LOCAL_ACTORS, self.actor) if self.exchange.operator is None else self.exchange.operator.member_id

    def _claim(self, key: str) -> IdempotentRequest:
        exchange, cipher = self.exchange, self.context.cipher
        parts = exchange.path.encode(), bytes(exchange.body)
        if exchange.authorization is not None:
            macs = [idempotency.request_mac(exchange.authorization[7:], *parts)]
        elif cipher is not None:
            macs = cipher.macs(idempotency.request_message(*parts))
        else:
            raise IdempotencyKeyInvalid(UNSEALABLE)
        return IdempotentRequest(
            claimant=self.claimant,
            operation=f"{exchange.method} {exchange.operation}",
            key=validate_idempotency_key(key),
            mac=macs[0],
            request_id=exchange.request_id,
            earlier_macs=tuple(macs[1:]),
        )


class Editing(Writing):
    """A request that edits what somebody else may have changed since it was read."""

    edits: ClassVar[bool] = True


Read = Annotated[Reading, depend_on(Reading)]
Write = Annotated[Writing, depend_on(Writing)]
Edit = Annotated[Editing, depend_on(Editing)]


@contextmanager
def translated() -> Iterator[None]:
    """Raises what the catalogue and the database refuse as the API tells it, and ``StoreUnavailable``."""
    try:
        yield
    except CatalogError as refused:
        raise refusal_of(refused) from refused
    except DBAPIError as fault:
        raise (store_unavailable(fault) if fault.connection_invalidated else value_refused(fault)) from fault
    except (OSError, TimeoutError) as fault:
        raise store_unavailable(fault) from fault


def proposed(outcome: StoredOutcome) -> Response:
    """What is answered instead of an operation that waits for a second person, or that was only tried."""
    return Response(outcome.body, outcome.status, {**NO_STORE, **dict(outcome.headers)}, JSON)


def replayed(outcome: StoredOutcome, cipher: CredentialCipher | None) -> Response:
    """What was answered the first time, with what it showed once. Raises ``IdempotencyResultGone``."""
    headers = {**NO_STORE, **dict(outcome.headers), "idempotency-replayed": "true"}
    body = outcome.body
    if outcome.sealed is not None:
        try:
            if cipher is None:
                raise CredentialUnreadable(UNSEALABLE)
            secrets = msgspec.json.decode(cipher.unseal(outcome.binding, outcome.sealed), type=dict[str, Any])
        except CredentialUnreadable as fault:
            raise IdempotencyResultGone(
                "This request was carried out before. What its answer showed once cannot be read any more, because the "
                "secret key that encrypted it is not set: set it too, or rotate what was made.",
                param="Idempotency-Key",
                detail=str(fault),
            ) from fault
        body = msgspec.json.encode(msgspec.json.decode(body, type=dict[str, Any]) | secrets)
    return Response(body, outcome.status, headers, JSON)


def refusal_of(refused: CatalogError) -> Refusal:
    """What the catalogue refuses, as the API tells it."""
    match refused:
        case ModelUnknown():
            return ModelNotFound(refused.message, param="model", details={"nearest": refused.nearest})
        case LaunchRefused():
            return LaunchIncomplete(refused.message, param="model", details={"missing": list(refused.missing)})
        case LicenseUnknown():
            return InvalidRequest(refused.message, param="license")
        case _:
            return Conflict(refused.message)


def value_refused(refused: DBAPIError) -> Refusal | DBAPIError:
    """A value that only the database could judge; anything else is a fault of ours."""
    cause: Any = refused.orig
    state = getattr(cause, "sqlstate", None) or ""
    if state != _CHECK and not state.startswith(_VALUE):
        return refused
    rule = getattr(getattr(cause, "__cause__", None), "constraint_name", None)
    return InvalidRequest(f"A value is out of bounds{f': {rule}' if rule else ''}.", detail=state)


def match_version(expected: str, now: Resource) -> None:
    """Compare a version that was read with what there is now. Raises ``VersionConflict``."""
    tags = [tag.strip() for tag in expected.split(",")]
    if "*" not in tags and now.etag() not in tags:
        raise VersionConflict(
            "It was changed since you read it. Read it again, and decide anew what to change.",
            param="If-Match",
            headers=[(b"etag", now.etag().encode())],
        )
