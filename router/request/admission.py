"""Admits a call: makes its hold, turns a denial into an error with the limits as headers, frees the hold afterwards.

Errors say what was needed, what is there and what to do. The ``x-ratelimit-*`` headers have OpenAI's names and its
Go-style durations (``8ms``, ``1.5s``, ``6m0s``).
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

from billing.admission import Admission, Recount
from billing.cap_rules import period_end
from billing.errors import BillingUnavailable
from billing.money import NanoUSD, to_usd
from billing.values import Cap, CapPeriod, CapScope, Denial, Denied, Hold, LimitState, Quote
from router import errors
from router.values import Caller, RawCall

# Nearly all calls in flight are over by then.
HELD_RETRY_S = 2.0


@asynccontextmanager
async def admit(
    admission: Admission, call: RawCall, caller: Caller, quote: Quote, recount: Recount | None
) -> AsyncIterator[Hold]:
    """Hold the quote's amount while the block runs, and longer where it is being charged.

    Raises OutOfCredit, CreditHeld, CapReached, AboveTokenLimit, RequestLimit, TokenLimit, ConcurrencyLimit,
    StoreUnavailable.
    """
    try:
        hold = await admission.admit(call.request_id, caller.key.payer, quote, call.now, call.deadline_at, recount)
    except BillingUnavailable as fault:
        raise errors.StoreUnavailable(
            "The billing store cannot be reached right now. Nothing was charged; try again in a moment.",
            detail=f"{fault}: {fault.__cause__!r}",
            retry_after_s=1,
        ) from fault
    if isinstance(hold, Denied):
        raise denial_error(hold, caller, call.now)
    try:
        yield hold
    finally:
        admission.release(hold)


def format_duration(milliseconds: int) -> str:
    """1500 -> ``1.5s``, 360000 -> ``6m0s``, 8 -> ``8ms``."""
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    seconds = f"{rest / 1000:g}s"
    return f"{minutes}m{seconds}" if minutes else seconds


def rate_limit_headers(state: LimitState) -> list[tuple[bytes, bytes]]:
    """Six headers, on success and on refusal alike."""
    return [
        (b"x-ratelimit-limit-requests", str(state.requests_limit).encode()),
        (b"x-ratelimit-limit-tokens", str(state.tokens_limit).encode()),
        (b"x-ratelimit-remaining-requests", str(state.requests_remaining).encode()),
        (b"x-ratelimit-remaining-tokens", str(state.tokens_remaining).encode()),
        (b"x-ratelimit-reset-requests", format_duration(state.requests_reset_ms).encode()),
        (b"x-ratelimit-reset-tokens", format_duration(state.tokens_reset_ms).encode()),
    ]


def denial_error(denied: Denied, caller: Caller, now: datetime) -> errors.Refusal:
    """The error that the denial of a call of ``now`` becomes, with the limits as headers."""
    if denied.cap is not None:
        error = (
            _cap_held(denied, denied.cap, now) if denied.reason is Denial.CAP_HELD else _cap(denied, denied.cap, now)
        )
    else:
        error = _ERRORS[denied.reason](denied, caller)
    error.headers += rate_limit_headers(denied.limits)
    return error


def _credit(denied: Denied, _: Caller) -> errors.Refusal:
    if denied.debt:
        credit = f"{to_usd(denied.balance)} USD of credit" if denied.balance else "no credit"
        return errors.OutOfCredit(
            f"The account has {credit} and owes {to_usd(denied.debt)} USD. Add credit: it pays that first, and this "
            f"call may cost up to {to_usd(denied.needed)} USD.",
            details=_amounts(denied) | {"debt_usd": to_usd(denied.debt)},
        )
    return errors.OutOfCredit(
        f"This call may cost up to {to_usd(denied.needed)} USD and the balance is {to_usd(denied.balance)} USD. Add "
        "credit to the account, or send fewer tokens.",
        details=_amounts(denied),
    )


def _credit_held(denied: Denied, _: Caller) -> errors.Refusal:
    # Not 402: the credit is there, and after a crash of ours it is held by calls that have ended.
    return errors.CreditHeld(
        f"This call may cost up to {to_usd(denied.needed)} USD; the balance is {to_usd(denied.balance)} USD, of which "
        f"calls in flight hold {to_usd(denied.held)} USD. Try again when they are done, or add credit.",
        retry_after_s=HELD_RETRY_S,
        details=_amounts(denied),
    )


def _cap(denied: Denied, cap: Cap, now: datetime) -> errors.Refusal:
    facts = _cap_facts(denied, cap, now)
    state, resets_at = "is used up", facts["resets_at"]
    if denied.needed > cap.amount:
        state = "is less than one such call"
        way_out = "Raise the cap, or send fewer tokens per call."
    elif resets_at is not None:
        way_out = f"Raise the cap, or wait until it begins again at {resets_at}."
    else:
        way_out = "Raise the cap, or use another key." if cap.scope is CapScope.KEY else "Raise the cap."
    return errors.CapReached(
        f"The {_name(cap)} {state}: {to_usd(denied.spent)} USD is spent and this call may cost "
        f"{to_usd(denied.needed)} USD. {way_out}",
        details=facts,
    )


def _cap_held(denied: Denied, cap: Cap, now: datetime) -> errors.Refusal:
    return errors.CreditHeld(
        f"Calls in flight hold what is left of the {_name(cap)}: {to_usd(denied.spent)} USD is spent and this call may "
        f"cost {to_usd(denied.needed)} USD. Try again when they are done, or raise the cap.",
        retry_after_s=HELD_RETRY_S,
        details=_cap_facts(denied, cap, now),
    )


def _name(cap: Cap) -> str:
    """``key's cap of 5.00 USD per day``."""
    scope = "in total" if cap.period is CapPeriod.TOTAL else f"per {cap.period.value}"
    return f"{cap.scope.value}'s cap of {to_usd(cap.amount)} USD {scope}"


def _cap_facts(denied: Denied, cap: Cap, now: datetime) -> dict[str, object]:
    ends_at = period_end(cap.period, now)
    return {
        "scope": cap.scope.value,
        "cap_usd": to_usd(cap.amount),
        "spent_usd": to_usd(denied.spent),
        "left_usd": to_usd(NanoUSD(max(0, cap.amount - denied.spent))),
        "period": cap.period.value,
        "resets_at": None if ends_at is None else f"{ends_at:%Y-%m-%dT%H:%M:%SZ}",
    }


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
        f"Rate limit reached for tokens: {caller.key.payer.limits.tokens_per_minute} per minute, of which "
        f"{denied.limits.tokens_remaining} are left and this call needs {_tokens_needed(denied)}. Please try again in "
        f"{wait_s:.3f}s.",
        retry_after_s=wait_s,
    )


def _tokens_held(denied: Denied, _: Caller) -> errors.Refusal:
    limits = denied.limits
    return errors.TokenLimit(
        f"Calls in flight may use what is left of the key's {limits.tokens_limit} tokens per minute: "
        f"{limits.tokens_remaining} are free and this call needs {_tokens_needed(denied)}. Try again when those calls "
        "are done.",
        retry_after_s=HELD_RETRY_S,
    )


def _tokens_never(denied: Denied, caller: Caller) -> errors.Refusal:
    limit = caller.key.payer.limits.tokens_per_minute
    return errors.AboveTokenLimit(
        f"This call alone has {_tokens_needed(denied)} tokens, and the key's limit is {limit} per minute: waiting does "
        "not help. Send fewer or shorter inputs per call, or ask for a higher limit.",
        param="input",
        details={"tokens": denied.tokens, "counted": denied.counted, "limit": limit},
    )


def _tokens_needed(denied: Denied) -> str:
    """Nobody has counted a text whose model has no worker: a quarter of its bytes is then a guess."""
    return f"{denied.tokens}" if denied.counted else f"about {denied.tokens}"


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


_ERRORS: dict[Denial, Callable[[Denied, Caller], errors.Refusal]] = {
    Denial.CREDIT: _credit,
    Denial.CREDIT_HELD: _credit_held,
    Denial.REQUESTS: _requests,
    Denial.TOKENS: _tokens,
    Denial.TOKENS_HELD: _tokens_held,
    Denial.TOKENS_NEVER: _tokens_never,
    Denial.CONCURRENCY: _concurrency,
}
