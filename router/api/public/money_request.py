"""Holds a customer's request that moves money: it needs an Idempotency-Key, and its body is small."""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

from fastapi import Depends, Request, Response
from sqlalchemy.ext.asyncio import AsyncConnection

from router.api.operation import check_request
from router.api.public.request import PrivateRequest
from router.context import RouterContext
from router.errors import IdempotencyKeyInvalid, StoreUnavailable
from router.request.idempotency import validate_idempotency_key
from store.postgres import STORE_FAULTS

T = TypeVar("T")


class _MoneyRequest(PrivateRequest):
    """One that is made once per Idempotency-Key, for good: the row that it makes keeps the key."""

    def __init__(self, request: Request, response: Response, _checked: Annotated[None, Depends(check_request)]) -> None:
        super().__init__(request, response)
        key = self.exchange.idempotency_key
        if key is None:
            raise IdempotencyKeyInvalid(
                "Send an Idempotency-Key, such as a random UUID: a request that is sent twice then moves money once.",
                param="Idempotency-Key",
            )
        self.idempotency_key = validate_idempotency_key(key)


MoneyRequest = Annotated[_MoneyRequest, Depends()]


async def ask_postgres(context: RouterContext, ask: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    """Run one transaction. Raises what ``ask`` raises, and ``StoreUnavailable``."""
    try:
        async with context.db.transaction() as tx:
            return await ask(tx)
    except STORE_FAULTS as fault:
        raise StoreUnavailable(
            "Postgres cannot be reached right now. Try again in a moment, with the same Idempotency-Key.",
            retry_after_s=1,
            detail=str(fault),
        ) from fault
