"""How the providers' tests run a coroutine: on both event loops, the production one and the standard library's."""

import asyncio

import pytest
import uvloop

from tests.harness.event_loops import Run


@pytest.fixture(params=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Run:
    return uvloop.run if request.param == "uvloop" else asyncio.run
