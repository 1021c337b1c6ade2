"""`up` starts its worker at another address than the last time: the demo model serves again once it has passed."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from typing_extensions import override

from gigarouter.data_folder import DataFolder
from gigarouter.demo import MODEL, launch_demo, prepare
from router.registry.endpoints import list_endpoints
from tests.builders.spaces import SpaceLab
from tests.harness.fake_upstream import Received, Reply, Upstream


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    folder = DataFolder(tmp_path / "data")
    yield folder
    folder.release()


def in_the_lab(url: str, do: Callable[[SpaceLab], Awaitable[str]]) -> str:
    async def run() -> str:
        lab = SpaceLab(url)
        try:
            return await do(lab)
        finally:
            await lab.close()

    return asyncio.run(run())


async def state(lab: SpaceLab) -> str:
    async with lab.db.transaction() as connection:
        (view,) = await list_endpoints(connection, MODEL)
    return view.endpoint.state.value


async def vouch(lab: SpaceLab) -> str:
    async with lab.db.transaction() as connection:
        (view,) = await list_endpoints(connection, MODEL)
    await lab.verify(view.endpoint.id, as_reference="the tests say so")
    await lab.rows("UPDATE models SET status = 'live' WHERE id = :id", id=MODEL)
    return await state(lab)


def test_a_worker_at_another_port_is_examined_before_it_serves(database_url: str, folder: DataFolder) -> None:
    with Upstream(384).in_thread() as first, Upstream(384).in_thread() as second:
        prepare(database_url, folder, first.worker_url)
        assert in_the_lab(database_url, vouch) == "live"
        prepare(database_url, folder, first.worker_url)
        assert in_the_lab(database_url, state) == "live", "nothing has changed"
        prepare(database_url, folder, second.worker_url)
        assert in_the_lab(database_url, state) == "quarantined"
        assert launch_demo(database_url, second.worker_url) == ""
        assert in_the_lab(database_url, state) == "live"
        assert second.calls


class Busy(Upstream):
    """Answers the first calls with 503, as a worker on a machine that is too busy."""

    refusals = 6

    @override
    def _bytes(self, received: Received, reply: Reply) -> bytes:
        self.refusals -= 1
        return super()._bytes(received, Reply(status=503) if self.refusals >= 0 else reply)


def test_a_worker_that_does_not_answer_at_first_is_compared_again_and_serves(
    database_url: str, folder: DataFolder
) -> None:
    """Silence says nothing of its vectors, and an `up` that gave up at the first would serve nothing."""
    with Upstream(384).in_thread() as first, Busy(384).in_thread() as busy:
        prepare(database_url, folder, first.worker_url)
        assert in_the_lab(database_url, vouch) == "live"
        prepare(database_url, folder, busy.worker_url)
        assert in_the_lab(database_url, state) == "quarantined"
        assert launch_demo(database_url, busy.worker_url) == ""
        assert busy.refusals < 0
        assert in_the_lab(database_url, state) == "live"
