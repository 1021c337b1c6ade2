"""What a client reads of its limits: OpenAI's names, durations that OpenAI's clients parse, and who is to wait."""

from datetime import UTC, datetime

import msgspec
import pytest

from billing.money import NanoUSD
from billing.values import Cap, CapPeriod, CapScope, Denial, Denied, LimitState
from router.errors import CapReached, CreditHeld
from router.request.admission import HELD_RETRY_S, denial_error, format_duration, rate_limit_headers
from router.values import Caller
from tests.builders.values import PAYER, a_key

NOW = datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
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
    cap = Cap(NanoUSD(100_000), CapPeriod.MONTH)
    capped = msgspec.structs.replace(PAYER, caps=(cap,))
    caller, state = Caller(msgspec.structs.replace(a_key(), payer=capped)), LimitState(1, 1, 0, 1, 1, 0)
    amounts = (NanoUSD(60_000), NanoUSD(10**9), NanoUSD(60_000), NanoUSD(30_000))
    held = denial_error(Denied(Denial.CAP_HELD, *amounts, 0, state, cap=cap), caller, NOW)
    assert (type(held), held.retry_after_s) == (CreditHeld, HELD_RETRY_S)
    assert "0.00003 USD is spent and this call may cost 0.00006 USD" in held.message
    spent = denial_error(Denied(Denial.CAP, *amounts, 0, state, cap=cap), caller, NOW)
    assert (type(spent), spent.retry_after_s) == (CapReached, None)
    assert held.details == spent.details
    assert spent.details == {
        "scope": "key",
        "cap_usd": "0.0001",
        "spent_usd": "0.00003",
        "left_usd": "0.00007",
        "period": "month",
        "resets_at": "2027-01-01T00:00:00Z",
    }


# Which cap (whose, nano-USD, period), what this call needs, and what the error says of it.
CAPS = """
    key      100000  total   60000   The key's cap of 0.0001 USD in total is used up: 0.00005 USD is spent and this call may cost 0.00006 USD. Raise the cap, or use another key.
    key      100000  day     60000   The key's cap of 0.0001 USD per day is used up: 0.00005 USD is spent and this call may cost 0.00006 USD. Raise the cap, or wait until it begins again at 2027-01-01T00:00:00Z.
    key      100000  month  200000   The key's cap of 0.0001 USD per month is less than one such call: 0.00005 USD is spent and this call may cost 0.0002 USD. Raise the cap, or send fewer tokens per call.
    account  100000  total   60000   The account's cap of 0.0001 USD in total is used up: 0.00005 USD is spent and this call may cost 0.00006 USD. Raise the cap.
    account  100000  day     60000   The account's cap of 0.0001 USD per day is used up: 0.00005 USD is spent and this call may cost 0.00006 USD. Raise the cap, or wait until it begins again at 2027-01-01T00:00:00Z.
"""  # noqa: E501 - a table


@pytest.mark.parametrize("line", CAPS.split("\n")[1:-1], ids=lambda line: " ".join(line.split()[:4]))
def test_a_cap_says_what_helps(line: str) -> None:
    scope, amount, period, needed, sentence = line.split(maxsplit=4)
    cap = Cap(NanoUSD(int(amount)), CapPeriod(period), CapScope(scope))
    capped = msgspec.structs.replace(PAYER, caps=(cap,))
    amounts = (NanoUSD(int(needed)), NanoUSD(10**9), NanoUSD(0), NanoUSD(50_000))
    denied = Denied(Denial.CAP, *amounts, 0, LimitState(1, 1, 0, 1, 1, 0), cap=cap)
    assert denial_error(denied, Caller(msgspec.structs.replace(a_key(), payer=capped)), NOW).message == sentence
