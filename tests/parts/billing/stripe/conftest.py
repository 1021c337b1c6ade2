"""One renderer for all tests here that issue documents: its rules take seconds to compile."""

from collections.abc import Iterator

import pytest

from billing.documents.render import Renderer


@pytest.fixture(scope="session")
def renderer() -> Iterator[Renderer]:
    renderer = Renderer()
    yield renderer
    renderer.close()
