"""Admission in the line: makes the hold, turns a denial into its error, frees the hold if nothing was charged."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from billing.admission import Admission, Recount
from billing.errors import BillingUnavailable
from billing.money import to_usd
from billing.values import Denial, Denied, Hold, Quote
from router import errors
from router.limits import limit_headers
from router.values import Caller, RawCall


@asynccontextmanager
async def admit(
    admission: Admission, call: RawCall, caller: Caller, quote: Quote, recount: Recount
) -> AsyncIterator[Hold]:
    """Raises OutOfCredit, CapReached, RequestLimit, TokenLimit, ConcurrencyLimit, StoreUnavailable."""
    try:
        hold = await admission.admit(call.request_id, caller.key.payer, quote, call.now, call.deadline_at, recount)
    except BillingUnavailable as fault:
        raise errors.StoreUnavailable(
            "The billing store cannot be reached right now. Nothing was charged; try again in a moment.",
            detail=str(fault),
            retry_after_s=1,
        ) from fault
    if isinstance(hold, Denied):
        raise refusal(hold, caller)
    try:
        yield hold
    finally:
        admission.release(hold)


def refusal(denied: Denied, caller: Caller) -> errors.Refusal:
    """The sentence for a denial: what was needed, what is there, what to do."""
    headers = limit_headers(denied.limits)
    limits = caller.key.payer.limits
    wait_s = denied.retry_after_ms / 1000
    match denied.reason:
        case Denial.CREDIT | Denial.CREDIT_HELD:
            held = f", of which {to_usd(denied.held)} USD is held by calls in flight" if denied.held else ""
            return errors.OutOfCredit(
                f"This call may cost up to {to_usd(denied.needed)} USD and the balance is {to_usd(denied.balance)} USD"
                f"{held}. Add credit to the account, or send fewer tokens.",
                details={
                    "needed_usd": to_usd(denied.needed),
                    "balance_usd": to_usd(denied.balance),
                    "held_usd": to_usd(denied.held),
                },
                headers=headers,
            )
        case Denial.CAP | Denial.CAP_HELD:
            cap = caller.key.payer.cap
            assert cap is not None, "a cap was reached that the key does not have; this is a bug"
            return errors.CapReached(
                f"The key's cap of {to_usd(cap.amount)} USD per {cap.period.value} is used up: "
                f"{to_usd(denied.spent)} USD is spent and this call may cost {to_usd(denied.needed)} USD. "
                "Raise the cap, or wait for the next period.",
                details={"cap_usd": to_usd(cap.amount), "spent_usd": to_usd(denied.spent), "period": cap.period.value},
                headers=headers,
            )
        case Denial.REQUESTS:
            return errors.RequestLimit(
                f"Rate limit reached for requests: {limits.requests_per_minute} per minute. "
                f"Please try again in {wait_s:.3f}s.",
                retry_after_s=wait_s,
                headers=headers,
            )
        case Denial.TOKENS:
            return errors.TokenLimit(
                f"Rate limit reached for tokens: {limits.tokens_per_minute} per minute. "
                f"Please try again in {wait_s:.3f}s.",
                retry_after_s=wait_s,
                headers=headers,
            )
        case Denial.TOKENS_NEVER:
            return errors.TokenLimit(
                f"This call alone has more tokens than the key's limit of {limits.tokens_per_minute} per minute. "
                "Send fewer inputs per call, or ask for a higher limit.",
                retry_after_s=60,
                headers=headers,
            )
        case Denial.CONCURRENCY:
            return errors.ConcurrencyLimit(
                f"The key's limit of {limits.concurrency} calls at once is reached. Wait for one to finish.",
                retry_after_s=1,
                headers=headers,
            )
