"""The barrier of a generation: calls are admitted only after the live holds were asserted in that very generation."""

import asyncio

from sqlalchemy import text

from billing.generation import Generation
from store.ids import AccountId
from store.postgres import Database

BUMP = text("UPDATE hot_generation SET generation = generation + 1 RETURNING generation")


def test_a_generation_that_begins_on_the_way_through_a_barrier_has_a_barrier_of_its_own(database_url: str) -> None:
    async def story() -> None:
        db = Database(database_url)
        generation = Generation(db, "serve")
        asserted: list[int] = []

        async def assert_live(number: int) -> dict[AccountId, int]:
            asserted.append(number)
            if len(asserted) == 1:
                # Another process finds something gone while this one asserts its holds.
                async with db.transaction() as tx:
                    await tx.execute(BUMP)
            return {}

        generation.set_callbacks(assert_live, lambda: None)
        running = asyncio.create_task(generation.run())
        try:
            assert await generation.ready(10)
            assert asserted == [generation.number - 1, generation.number]
        finally:
            running.cancel()
            await generation.leave()
            await db.close()

    asyncio.run(story())


def test_what_many_find_gone_starts_one_generation(database_url: str) -> None:
    async def story() -> None:
        db = Database(database_url)
        generation = Generation(db, "serve")
        async with db.transaction() as tx:
            first = int((await tx.execute(text("SELECT generation FROM hot_generation"))).scalar_one())
        for _ in range(3):
            await generation.start_next(first, "tests")
        assert generation.number == first + 1
        await db.close()

    asyncio.run(story())
