"""Admission in the line: makes the hold, turns a denial into its error, frees the hold if nothing was charged."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from billing.admission import Admission, Recount
from billing.errors import BillingUnavailable
from billing.values import Denied, Hold, Quote
from router import errors
from router.request.denials import refusal
from router.values import Caller, RawCall


@asynccontextmanager
async def admit(
    admission: Admission, call: RawCall, caller: Caller, quote: Quote, recount: Recount
) -> AsyncIterator[Hold]:
    """Raises OutOfCredit, CreditHeld, CapReached, RequestLimit, TokenLimit, ConcurrencyLimit, StoreUnavailable."""
    try:
        hold = await admission.admit(call.request_id, caller.key.payer, quote, call.now, call.deadline_at, recount)
    except BillingUnavailable as fault:
        raise errors.StoreUnavailable(
            "The billing store cannot be reached right now. Nothing was charged; try again in a moment.",
            detail=f"{fault}: {fault.__cause__!r}",
            retry_after_s=1,
        ) from fault
    if isinstance(hold, Denied):
        raise refusal(hold, caller)
    try:
        yield hold
    finally:
        admission.release(hold)
