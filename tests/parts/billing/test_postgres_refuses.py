"""Whatever Postgres answers to a commit, the process lives on: its state is waited out, a refused charge is alone."""

import asyncio

import msgspec
import pytest
from sqlalchemy import text

from billing.errors import ChargeUnknown
from billing.money import MAX_INT32
from billing.values import Hold
from store.postgres import Database
from tests.builders.billing import Billing, an_account, billing, usage_of
from tests.builders.values import a_payer

GUILTY = 13
_RAISES = """
    CREATE FUNCTION refuse_it() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'refused by the test' USING ERRCODE = '{state}'; END $$
"""
_ALL = "CREATE TRIGGER refuse_it BEFORE INSERT ON ended_calls EXECUTE FUNCTION refuse_it()"
_ONE = f"""
    CREATE TRIGGER refuse_it BEFORE INSERT ON usage_events FOR EACH ROW WHEN (NEW.tokens = {GUILTY})
    EXECUTE FUNCTION refuse_it()
"""


async def as_owner(database_url: str, *statements: str) -> None:
    db = Database(database_url, as_owner=True)
    try:
        async with db.transaction() as tx:
            for statement in statements:
                await tx.execute(text(statement))
    finally:
        await db.close()


async def holds_of(b: Billing, costs: list[int]) -> list[Hold]:
    payer = a_payer(await an_account(b.db, 10_000))
    holds = [await b.admit(payer, cost) for cost in costs]
    assert all(isinstance(hold, Hold) for hold in holds)
    return [hold for hold in holds if isinstance(hold, Hold)]


@pytest.mark.parametrize(
    "state",
    ["53300", "25006", "53100", "53200", "55P03", "57014", "57P01", "XX000", "42883"],
    ids=["connections", "read-only", "disk", "memory", "lock", "canceled", "shutdown", "internal", "schema"],
)
def test_a_state_of_postgres_is_waited_out(database_url: str, redis_url: str, state: str) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            hold, later = await holds_of(b, [100, 200])
            await as_owner(database_url, _RAISES.format(state=state), _ALL)
            charge = asyncio.ensure_future(b.charge(hold, 100))
            await asyncio.sleep(0.2)
            assert not charge.done()
            await as_owner(database_url, "DROP TRIGGER refuse_it ON ended_calls")
            await charge
            await b.charge(later, 200)
            await b.settle()
            redis = await b.redis(hold.payer.account_id)
            assert (redis["bal"], redis["held"], b.charging.given_up) == ("9700", "0", 0)

    asyncio.run(story())


@pytest.mark.parametrize("state", ["P0001", "22003", "23514", "54000"], ids=["raised", "range", "check", "limit"])
@pytest.mark.parametrize("durability", ["commit", "memory"])
def test_a_charge_that_postgres_refuses_is_given_up_alone(
    database_url: str, redis_url: str, state: str, durability: str
) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url, "commit" if durability == "commit" else "memory") as b:
            costs = [GUILTY, *range(50, 60), GUILTY, *range(60, 63)]
            holds = await holds_of(b, costs)
            await as_owner(database_url, _RAISES.format(state=state), _ONE)
            charges = [b.charge(hold, cost) for hold, cost in zip(holds, costs, strict=True)]
            ended = await asyncio.gather(*charges, return_exceptions=True)
            if durability == "commit":
                assert [isinstance(end, ChargeUnknown) for end in ended] == [cost == GUILTY for cost in costs]
            await b.settle()
            # The guilty ones hold nothing any more, and the next call is served.
            redis = await b.redis(holds[0].payer.account_id)
            assert (redis["bal"], redis["held"]) == (str(10_000 - sum(costs) + 2 * GUILTY), "0")
            assert b.charging.given_up == 2
            (after,) = await holds_of(b, [1])
            await b.charge(after, 1)
            await b.settle()
            await b.assert_books_are_right()

    asyncio.run(story())


def test_a_count_that_the_record_has_no_room_for_never_gets_as_far_as_postgres(
    database_url: str, redis_url: str
) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            (hold,) = await holds_of(b, [1])
            used = usage_of(1)
            with pytest.raises(AssertionError, match="no room"):
                await b.charging.charge(hold, msgspec.structs.replace(used, provider_tokens=MAX_INT32 + 1))
            await b.charge(hold, 1)

    asyncio.run(story())
