"""The one way in which the admin API changes something, around a command that the CLI has too.

If-Match is looked at in the transaction, under the row's lock, so of two editors with one version only one wins. The
outcome under an Idempotency-Key is stored in the same transaction. A dry run does all of it and commits nothing.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from fastapi import Request, Response
from sqlalchemy.exc import DBAPIError

from catalog.errors import CatalogError
from router.api.admin.parsing import context_of, exchange_of, flag, operator_of, query_of
from router.api.admin.request import refusal_of
from router.api.admin.responses import JSON, NO_STORE, Resource, etag, one
from router.changes import idempotency
from router.changes.audit import Actor
from router.changes.idempotency import IdempotentRequest, StoredOutcome
from router.changes.transaction import UnitOfWork, transact
from router.errors import InvalidRequest, PreconditionRequired, Refusal, VersionConflict
from router.request.idempotency import validate_idempotency_key

DRY_RUN = {"x-gigarouter-dry-run": "true"}
# SQLSTATE classes: a value that does not fit its type; a check that a column has.
_VALUE, _CHECK = "22", "23514"


class Made(msgspec.Struct, frozen=True):
    """What a change answers. ``kept`` is the same without what is shown once, for replays and dry runs."""

    shown: msgspec.Struct
    status: int = 200
    location: str = ""
    kept: msgspec.Struct | None = None


Command = Callable[[UnitOfWork], Awaitable[Made]]
# The thing as it is now, its row locked.
Current = Callable[[UnitOfWork], Awaitable[Resource]]


async def change(
    request: Request, command: Command, *, current: Current | None = None, needs_match: bool = False
) -> Response:
    """Run a command of this operator's and answer what it made.

    Raises what the command raises; ``PreconditionRequired``, ``VersionConflict``, ``IdempotencyMismatch``.
    """
    dry_run = is_dry_run(request)
    expected = request.headers.get("if-match")
    if needs_match and expected is None and exchange_of(request).operator is not None:
        raise PreconditionRequired(
            "Send If-Match with the ETag that you read, so that nobody else's change is overwritten unseen.",
            param="If-Match",
        )
    claim = claim_of(request, dry_run=dry_run)

    async def run(work: UnitOfWork) -> Made:
        if claim is not None:
            await idempotency.claim_key(work.connection, claim)
        if current is not None and expected is not None:
            _match(expected, await current(work))
        made = await command(work)
        await keep(work, claim, made)
        return made

    try:
        made = await transact(context_of(request).db, actor_of(request), run, dry_run=dry_run)
    except idempotency.ReplayedOutcome as before:
        return replay(before.outcome)
    except CatalogError as refused:
        raise refusal_of(refused) from refused
    except DBAPIError as refused:
        raise _value_refused(refused) from refused
    if dry_run:
        return one(made.kept or made.shown, 200, DRY_RUN)
    return one(made.shown, made.status, _location(made))


def is_dry_run(request: Request) -> bool:
    """``?dry_run=1``; a write takes no other parameter. Raises ``UnknownParameter``."""
    return flag(query_of(request, "dry_run").get("dry_run"), "dry_run")


def actor_of(request: Request) -> Actor:
    """The operator as the audit log names them."""
    actor = exchange_of(request).actor
    assert actor is not None, "an operation for operators was reached without one; this is a bug"
    return actor


def claim_of(request: Request, *, dry_run: bool = False) -> IdempotentRequest | None:
    """What the request's Idempotency-Key stands for; None without one, and for a dry run, which may always be run."""
    exchange = exchange_of(request)
    if exchange.idempotency_key is None or exchange.operator is None or dry_run:
        return None
    assert exchange.authorization is not None, "an operator without a key; this is a bug"
    return IdempotentRequest(
        member_id=operator_of(request).member_id,
        operation=f"{exchange.method} {exchange.operation}",
        key=validate_idempotency_key(exchange.idempotency_key),
        mac=idempotency.request_mac(exchange.authorization[7:], exchange.path.encode(), exchange.body),
        request_id=exchange.request_id,
    )


async def keep(work: UnitOfWork, claim: IdempotentRequest | None, made: Made) -> None:
    """Store what a change answers, for whoever asks again with its key."""
    if claim is None:
        return
    shown = made.kept or made.shown
    tag = {"etag": etag(shown)} if isinstance(shown, Resource) else {}
    headers = list({**tag, **_location(made)}.items())
    await idempotency.store_outcome(
        work.connection, claim, StoredOutcome(made.status, headers, msgspec.json.encode(shown))
    )


def replay(outcome: StoredOutcome) -> Response:
    """What was answered the first time."""
    headers = {**NO_STORE, **dict(outcome.headers), "idempotency-replayed": "true"}
    return Response(outcome.body, outcome.status, headers, JSON)


def _match(expected: str, now: Resource) -> None:
    tags = [tag.strip() for tag in expected.split(",")]
    if "*" not in tags and etag(now) not in tags:
        raise VersionConflict(
            "It was changed since you read it. Read it again, and decide anew what to change.",
            param="If-Match",
            headers=[(b"etag", etag(now).encode())],
        )


def _location(made: Made) -> dict[str, str]:
    return {"location": made.location} if made.location else {}


def _value_refused(refused: DBAPIError) -> Refusal | DBAPIError:
    """A value that only the database could judge; anything else is a fault of ours."""
    cause: Any = refused.orig
    state = getattr(cause, "sqlstate", None) or ""
    if state != _CHECK and not state.startswith(_VALUE):
        return refused
    rule = getattr(getattr(cause, "__cause__", None), "constraint_name", None)
    return InvalidRequest(f"A value is out of bounds{f': {rule}' if rule else ''}.", detail=state)
