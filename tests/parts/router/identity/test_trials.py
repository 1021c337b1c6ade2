"""How often a model may be tried: nobody is locked out by others of their network."""

import pytest

from router.errors import RequestLimit
from router.identity.people import limits
from router.identity.people.limits import TRIALS_OWN, Bound, count_trial
from tests.builders.people import Door

pytestmark = pytest.mark.anyio
BUSY = "198.51.100.0/24"


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
