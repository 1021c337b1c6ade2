"""Tests of the API run on uvloop, as ``serve`` does."""

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """The loop that `serve` runs on."""
    return "asyncio", {"use_uvloop": True}
