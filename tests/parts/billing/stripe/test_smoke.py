"""The stories of ``make stripe-smoke`` at the stand-in, so that they are right when somebody has a key."""

import asyncio

import pytest

from tests.builders.stripe import payments
from tests.harness.stripe_invoices import InvoiceWorld
from tests.stripe_smoke.__main__ import NAME, main
from tests.stripe_smoke.stories import STORIES


class StandInCards:
    def __init__(self, world: InvoiceWorld) -> None:
        self._world = world

    async def save(self, customer: str, behaviour: str) -> None:
        self._world.save_card(customer, behaviour)


def test_the_smoke_stories_hold_at_the_stand_in(database_url: str, redis_url: str) -> None:
    async def running() -> None:
        async with payments(database_url, redis_url) as p:
            for story in STORIES:
                await story(p, StandInCards(p.world))
            await p.assert_right()

    asyncio.run(running())


def test_without_a_key_it_skips_with_a_sentence_and_a_live_key_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(NAME, raising=False)
    assert main() == 0
    assert capsys.readouterr().out.startswith(f"Skipped: {NAME} has no key.")
    monkeypatch.setenv(NAME, "sk_live_x")
    assert main() == 2
