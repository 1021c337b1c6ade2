"""Asks Postgres for a customer: one transaction, of bounded time where the question may be large; faults as errors."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from router.context import RouterContext
from router.errors import InvalidRequest, StoreUnavailable
from store.postgres import STORE_FAULTS

T = TypeVar("T")

# A customer may ask as often as they like, so one question costs Postgres no more than this.
STATEMENT_S_MAX = 10
_CANCELED = "57014"
TOO_MANY_CALLS = InvalidRequest(
    "These are more calls than can be summed at once. Ask for a shorter time.", param="from"
)


async def ask_postgres(context: RouterContext, ask: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """Run one transaction of few rows. Raises what ``ask`` raises, and ``StoreUnavailable``."""
    with _translated(
        "Postgres cannot be reached right now. Try again in a moment, with the same Idempotency-Key.", None
    ):
        async with context.db.transaction() as tx:
            return await ask(tx)


async def read(
    context: RouterContext,
    ask: Callable[[AsyncConnection], Awaitable[T]],
    *,
    what: str = "Usage",
    too_large: InvalidRequest = TOO_MANY_CALLS,
    snapshot: bool = False,
) -> T:
    """What Postgres answers, within a bounded time. Raises ``too_large`` beyond it, and ``StoreUnavailable``.

    ``snapshot``: of one instant, or read through a cursor. ``too_large`` says what to ask for instead: the same
    question would take as long again.
    """
    with _translated(f"{what} cannot be read right now. Try again in a moment.", too_large):
        async with context.usage_reads, context.db.transaction(snapshot=snapshot) as connection:
            # Statements of the pages are bounded already, by their session.
            if context.db.statement_s is None:
                await connection.execute(text(f"SET LOCAL statement_timeout = '{STATEMENT_S_MAX}s'"))
            return await ask(connection)


@contextmanager
def _translated(unavailable: str, too_large: InvalidRequest | None) -> Iterator[None]:
    try:
        yield
    except STORE_FAULTS as fault:
        is_canceled = isinstance(fault, DBAPIError) and getattr(fault.orig, "sqlstate", None) == _CANCELED
        if is_canceled and too_large is not None:
            raise type(too_large)(too_large.message, param=too_large.param) from fault
        raise StoreUnavailable(unavailable, retry_after_s=1, detail=str(fault)) from fault
