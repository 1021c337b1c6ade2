"""Operators' keys in memory: one that was revoked does not outlive it where changes do not arrive."""

from datetime import UTC, datetime

import pytest

from router.errors import KeyUnknown, StoreUnavailable
from router.identity.authenticate import KeyIndex
from router.identity.keys import new_operator_key
from router.identity.members import Role
from router.identity.operators import Operator, OperatorIndex, authenticate_operator
from store.ids import MemberId, OperatorKeyId, new_id

pytestmark = pytest.mark.anyio
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


async def test_a_process_that_hears_of_no_change_lets_no_operator_in_until_it_has_caught_up() -> None:
    fresh = new_operator_key()
    operator = Operator(MemberId(new_id()), Role.OPS, "ops@example.com", OperatorKeyId(new_id()), fresh.digest)
    operators, keys = OperatorIndex(), KeyIndex()
    operators.replace({fresh.digest: operator})
    header = f"Bearer {fresh.text}"

    async def nothing_comes() -> None:
        pass

    async def it_was_revoked() -> None:
        operators.replace({})
        keys.mark_fresh(NOW)

    keys.mark_fresh(NOW)
    assert await authenticate_operator(header, operators, keys, NOW, nothing_comes) is operator
    keys.mark_stale()
    with pytest.raises(StoreUnavailable):
        await authenticate_operator(header, operators, keys, NOW, nothing_comes)
    with pytest.raises(KeyUnknown):
        await authenticate_operator(header, operators, keys, NOW, it_was_revoked)
