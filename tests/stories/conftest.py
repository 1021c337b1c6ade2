"""What most stories need: a provider that answers."""

from collections.abc import Iterator

import pytest

from tests.harness.fake_upstream import Upstream


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream().in_thread() as running:
        yield running
