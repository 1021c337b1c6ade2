"""What a client reads of its limits: OpenAI's names, durations that OpenAI's clients parse, and who is to wait."""

import msgspec
import pytest

from billing.money import NanoUSD
from billing.values import Cap, CapPeriod, Denial, Denied, LimitState
from router.errors import CapReached, CreditHeld
from router.request.admission import HELD_RETRY_S, denial_error, format_duration, rate_limit_headers
from router.values import Caller
from tests.builders.values import PAYER, a_key

# Milliseconds and their text in ``x-ratelimit-reset-*``.
DURATIONS = """
         0  0ms
         1  1ms
         8  8ms
       999  999ms
     1_000  1s
     1_001  1.001s
     1_500  1.5s
    10_000  10s
    59_900  59.9s
    59_999  59.999s
    60_000  1m0s
    60_001  1m0.001s
    61_500  1m1.5s
   119_999  1m59.999s
   360_000  6m0s
"""


@pytest.mark.parametrize("line", DURATIONS.split("\n")[1:-1], ids=str.strip)
def test_a_duration_is_written_as_go_writes_it(line: str) -> None:
    milliseconds, text = line.split()
    assert format_duration(int(milliseconds)) == text


def test_each_limit_has_its_own_three_headers() -> None:
    state = LimitState(
        requests_limit=3_000,
        requests_remaining=2_999,
        requests_reset_ms=8,
        tokens_limit=1_000_000,
        tokens_remaining=0,
        tokens_reset_ms=60_000,
    )
    assert dict(rate_limit_headers(state)) == {
        b"x-ratelimit-limit-requests": b"3000",
        b"x-ratelimit-remaining-requests": b"2999",
        b"x-ratelimit-reset-requests": b"8ms",
        b"x-ratelimit-limit-tokens": b"1000000",
        b"x-ratelimit-remaining-tokens": b"0",
        b"x-ratelimit-reset-tokens": b"1m0s",
    }


def test_a_cap_that_calls_in_flight_hold_asks_for_patience_and_a_cap_that_is_spent_does_not() -> None:
    capped = msgspec.structs.replace(PAYER, cap=Cap(NanoUSD(100_000), CapPeriod.MONTH))
    caller, state = Caller(msgspec.structs.replace(a_key(), payer=capped)), LimitState(1, 1, 0, 1, 1, 0)
    amounts = (NanoUSD(60_000), NanoUSD(10**9), NanoUSD(60_000), NanoUSD(30_000))
    held = denial_error(Denied(Denial.CAP_HELD, *amounts, 0, state), caller)
    assert (type(held), held.retry_after_s) == (CreditHeld, HELD_RETRY_S)
    assert "0.00003 USD is spent and this call may cost 0.00006 USD" in held.message
    spent = denial_error(Denied(Denial.CAP, *amounts, 0, state), caller)
    assert (type(spent), spent.retry_after_s) == (CapReached, None)
    assert spent.details == {"cap_usd": "0.0001", "spent_usd": "0.00003", "period": "month"}


# The cap, what the call may cost (both in USD), and what helps.
WAYS_OUT = [
    (CapPeriod.MONTH, 60_000, "per month does not cover this call: 0.00003 USD is spent", "next month (UTC)."),
    (CapPeriod.DAY, 60_000, "per day does not cover this call", "next day (UTC)."),
    (CapPeriod.TOTAL, 60_000, "in total does not cover this call", "Raise the cap: waiting does not help."),
    (CapPeriod.DAY, 110_000, "0.00011 USD", "send fewer tokens per call: waiting does not help."),
]


@pytest.mark.parametrize(("period", "needed", "states", "helps"), WAYS_OUT)
def test_a_cap_that_no_wait_opens_speaks_of_no_period(period: CapPeriod, needed: int, states: str, helps: str) -> None:
    capped = msgspec.structs.replace(PAYER, cap=Cap(NanoUSD(100_000), period))
    caller, state = Caller(msgspec.structs.replace(a_key(), payer=capped)), LimitState(1, 1, 0, 1, 1, 0)
    amounts = (NanoUSD(needed), NanoUSD(10**9), NanoUSD(0), NanoUSD(30_000))
    spent = denial_error(Denied(Denial.CAP, *amounts, 0, state), caller)
    assert states in spent.message
    assert spent.message.endswith(helps)
