"""What a delivered call is billed, and what is recorded of the provider's own count."""

import msgspec
import pytest

from billing.money import MAX_INT32
from router.response.usage import usage
from tests.builders.values import NOW, a_delivery, a_hold, a_model, a_request, unit_rows


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("told", [MAX_INT32 + 1, 10**15, 2**63 - 1])
def test_a_count_beyond_all_reason_is_billed_at_the_hold_and_recorded_as_far_as_there_is_room(
    told: int, *, exact: bool
) -> None:
    delivery = msgspec.structs.replace(a_delivery(unit_rows(1, 8)), tokens=told, exact=exact)
    used = usage(delivery, a_request("x"), a_model(), a_hold(tokens_max=100), NOW)
    assert (used.tokens, used.provider_tokens) == (100, MAX_INT32)
