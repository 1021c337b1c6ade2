"""Reads ids of requests, and answers one that nothing is recorded of."""

from datetime import datetime
from typing import Annotated, TypeAlias

from router.api.fields import TextValue
from router.errors import NotFound
from router.explain.receipts import KEPT_DAYS, may_be_unwritten
from store.ids import RequestId, parse, wire


def request_of(text: str) -> RequestId:
    """The id in a path. Raises NotFound."""
    try:
        return RequestId(parse(RequestId, text))
    except ValueError:
        raise NotFound(
            "That is not the id of a request: they look like req_0198…, and every answer has its own in x-request-id.",
            param="request_id",
        ) from None


# Raises NotFound itself: where else ids of requests are found is worth a sentence.
RequestIdText: TypeAlias = Annotated[
    RequestId,
    TextValue(request_of, lambda value: wire(RequestId, value), "an id such as req_…", pattern="^req_[0-9a-f]{32}$"),
]


def unknown(request_id: RequestId, now: datetime) -> NotFound:
    """The same whether there is no such call, or it is another account's: only the id's own age tells them apart."""
    if may_be_unwritten(request_id, now):
        return NotFound("This request is not recorded yet. Try again in a second.", param="request_id", retry_after_s=1)
    return NotFound(
        f"There is no record of this request in this account. Explanations are kept for {KEPT_DAYS} days, charges for "
        "good; of many refused or free requests only some are kept.",
        param="request_id",
    )
