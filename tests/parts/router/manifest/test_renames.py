"""A catalogue file with another address of a provider: the plan tells whose traffic that ends, and apply ends it."""

import pytest

from router.values import EndpointState
from store.postgres import Database
from tests.builders.manifest import EXAMPLE, MODEL, apply, make_live, plan, the_endpoint, told

pytestmark = pytest.mark.anyio


async def test_a_plan_tells_which_endpoints_another_address_takes_out_until_they_pass(db: Database) -> None:
    await apply(db)
    await make_live(db)
    name = "acme/embed-1 at alpha as embed-1"
    moved = EXAMPLE.replace("https://api.alpha.example/v1", "https://api.alpha.example/v2")
    planned = await plan(db, moved)
    impact = planned.impact
    assert (impact.unverified, impact.stopping, impact.without_live_endpoint) == ((name,), (), (MODEL,))
    assert f"OUT UNTIL IT PASSES ITS PROBES {name}" in told(planned)
    coarser = await plan(db, EXAMPLE.replace("max_batch: 256", "max_batch: 256\n    numerics: f16"))
    assert coarser.impact.unverified == (name,)
    less = moved[: moved.index("endpoints:")] + moved[moved.index("prices:") :]
    await apply(db, moved)
    assert (await the_endpoint(db)).endpoint.state is EndpointState.QUARANTINED
    assert not (await plan(db, moved)).needs_action
    await apply(db, less, prune=True)
    assert (await the_endpoint(db)).endpoint.state is EndpointState.OFF


async def test_one_plan_moves_a_provider_and_ends_its_endpoint(db: Database) -> None:
    await apply(db)
    await make_live(db)
    moved = EXAMPLE.replace("https://api.alpha.example/v1", "https://api.alpha.example/v2")
    await apply(db, moved[: moved.index("endpoints:")] + moved[moved.index("prices:") :], prune=True)
    assert (await the_endpoint(db)).endpoint.state is EndpointState.OFF
