"""Holds a customer's request that moves money: it needs an Idempotency-Key, and its body is small."""

from typing import Annotated, TypeVar

from fastapi import Depends, Request, Response

from router.api.dependencies import depend_on
from router.api.operation import check_request
from router.api.public.request import PrivateRequest
from router.errors import IdempotencyKeyInvalid
from router.request.idempotency import validate_idempotency_key

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


MoneyRequest = Annotated[_MoneyRequest, depend_on(_MoneyRequest)]
