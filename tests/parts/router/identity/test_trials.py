"""How often a model may be tried: nobody is locked out by others of their network."""

import pytest

from router.errors import NotAllowed, RequestLimit
from router.identity.members import Role
from router.identity.people import limits
from router.identity.people.limits import TRIALS_OWN, Bound, count_trial
from router.identity.principals import MemberPrincipal
from router.trial.call import ApiAnswer, run_trial
from router.trial.plan import Trial
from store.ids import AccountId, KeyId, MemberId, ModelId, new_id
from tests.builders.people import Door

pytestmark = pytest.mark.anyio
BUSY = "198.51.100.0/24"


@pytest.mark.parametrize(("role", "only_reads"), [(Role.FINANCE, False), (Role.OWNER, True)])
async def test_who_may_make_no_key_makes_no_call(door: Door, role: Role, only_reads: bool) -> None:
    """Not even where a page lets them through: finance, and an operator who sees the account as its owner."""
    account = AccountId(new_id())
    trial = Trial(account_id=account, key_id=KeyId(new_id()), model_id=ModelId("a/b"), texts=("x",), once="1")

    async def send(secret: str, key: str, body: bytes) -> ApiAnswer:
        raise AssertionError("it called")

    for of in (account, AccountId(new_id())):
        member = MemberPrincipal(MemberId(new_id()), of, role, only_reads=only_reads)
        with pytest.raises(NotAllowed):
            await run_trial(door.db, send, member, trial)


async def test_a_busy_network_leaves_each_of_its_people_their_own(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TRIALS_OF_NETWORK", Bound("few", 3, limits.TRIALS_OF_NETWORK.per))
    for _ in range(TRIALS_OWN + 3):
        await count_trial(door.db, "eager", "eager@acme.example", BUSY)
    with pytest.raises(RequestLimit, match="or call the API by your key"):
        await count_trial(door.db, "eager", "eager@acme.example", BUSY)
    for _ in range(TRIALS_OWN):
        await count_trial(door.db, "victim", "victim@acme.example", BUSY)


async def test_an_address_is_one_whoever_signed_up_with_it_again(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TRIALS_OF_ADDRESS", Bound("few", 2, limits.TRIALS_OF_ADDRESS.per))
    await count_trial(door.db, "first", "ann@acme.example", BUSY)
    await count_trial(door.db, "second", "Ann@acme.example", BUSY)
    with pytest.raises(RequestLimit):
        await count_trial(door.db, "third", "ann@acme.example", BUSY)
