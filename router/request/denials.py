"""The sentence for each way in which admission can say no: what was needed, what is there, what to do. Pure."""

from collections.abc import Callable

from billing.money import to_usd
from billing.values import Denial, Denied
from router import errors
from router.request.rate_limit_headers import limit_headers
from router.values import Caller

# Calls in flight are over by then, nearly always.
HELD_RETRY_S = 2.0


def refusal(denied: Denied, caller: Caller) -> errors.Refusal:
    """The error that a denial becomes, with the limits as headers."""
    refused = _SENTENCES[denied.reason](denied, caller)
    refused.headers += limit_headers(denied.limits)
    return refused


def _credit(denied: Denied, _: Caller) -> errors.Refusal:
    return errors.OutOfCredit(
        f"This call may cost up to {to_usd(denied.needed)} USD and the balance is {to_usd(denied.balance)} USD. Add "
        "credit to the account, or send fewer tokens.",
        details=_amounts(denied),
    )


def _credit_held(denied: Denied, _: Caller) -> errors.Refusal:
    # Not 402: the credit is there, and after a crash of ours it is held by calls that nobody makes any more.
    return errors.CreditHeld(
        f"This call may cost up to {to_usd(denied.needed)} USD; the balance is {to_usd(denied.balance)} USD, of which "
        f"calls in flight hold {to_usd(denied.held)} USD. Try again when they are done, or add credit.",
        retry_after_s=HELD_RETRY_S,
        details=_amounts(denied),
    )


def _cap(denied: Denied, caller: Caller) -> errors.Refusal:
    cap = caller.key.payer.cap
    assert cap is not None, "a cap was reached that the key does not have; this is a bug"
    return errors.CapReached(
        f"The key's cap of {to_usd(cap.amount)} USD per {cap.period.value} is used up: {to_usd(denied.spent)} USD is "
        f"spent and this call may cost {to_usd(denied.needed)} USD. Raise the cap, or wait for the next period.",
        details={"cap_usd": to_usd(cap.amount), "spent_usd": to_usd(denied.spent), "period": cap.period.value},
    )


def _cap_held(denied: Denied, _: Caller) -> errors.Refusal:
    return errors.CreditHeld(
        f"Calls in flight hold what is left of the key's cap: {to_usd(denied.spent)} USD is spent and this call may "
        f"cost {to_usd(denied.needed)} USD. Try again when they are done, or raise the cap.",
        retry_after_s=HELD_RETRY_S,
    )


def _requests(denied: Denied, caller: Caller) -> errors.Refusal:
    wait_s = denied.retry_after_ms / 1000
    return errors.RequestLimit(
        f"Rate limit reached for requests: {caller.key.payer.limits.requests_per_minute} per minute. "
        f"Please try again in {wait_s:.3f}s.",
        retry_after_s=wait_s,
    )


def _tokens(denied: Denied, caller: Caller) -> errors.Refusal:
    wait_s = denied.retry_after_ms / 1000
    return errors.TokenLimit(
        f"Rate limit reached for tokens: {caller.key.payer.limits.tokens_per_minute} per minute. "
        f"Please try again in {wait_s:.3f}s.",
        retry_after_s=wait_s,
    )


def _tokens_never(_: Denied, caller: Caller) -> errors.Refusal:
    return errors.TokenLimit(
        f"This call alone has more tokens than the key's limit of {caller.key.payer.limits.tokens_per_minute} per "
        "minute. Send fewer inputs per call, or ask for a higher limit.",
        retry_after_s=60,
    )


def _concurrency(_: Denied, caller: Caller) -> errors.Refusal:
    return errors.ConcurrencyLimit(
        f"The key's limit of {caller.key.payer.limits.concurrency} calls at once is reached. Wait for one to finish.",
        retry_after_s=1,
    )


def _amounts(denied: Denied) -> dict[str, object]:
    return {
        "needed_usd": to_usd(denied.needed),
        "balance_usd": to_usd(denied.balance),
        "held_usd": to_usd(denied.held),
    }


_SENTENCES: dict[Denial, Callable[[Denied, Caller], errors.Refusal]] = {
    Denial.CREDIT: _credit,
    Denial.CREDIT_HELD: _credit_held,
    Denial.CAP: _cap,
    Denial.CAP_HELD: _cap_held,
    Denial.REQUESTS: _requests,
    Denial.TOKENS: _tokens,
    Denial.TOKENS_NEVER: _tokens_never,
    Denial.CONCURRENCY: _concurrency,
}
