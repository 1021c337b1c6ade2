"""`up` starts its worker at another address than the last time: the demo model serves again once it has passed."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from gigarouter import launch_again
from gigarouter.data_folder import DataFolder
from gigarouter.demo import MODEL, launch_demo, prepare
from router.registry.endpoints import list_endpoints
from tests.builders.spaces import SpaceLab
from tests.harness.fake_upstream import Reply, Upstream


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


def test_a_worker_at_another_port_is_examined_before_it_serves(database_url: str, folder: DataFolder) -> None:
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

    with Upstream(384).in_thread() as first, Upstream(384).in_thread() as second:
        prepare(database_url, folder, first.worker_url)
        assert in_the_lab(database_url, vouch) == "live"
        prepare(database_url, folder, first.worker_url)
        assert in_the_lab(database_url, state) == "live", "nothing has changed"
        prepare(database_url, folder, second.worker_url)
        assert in_the_lab(database_url, state) == "quarantined"
        # The machine is busy with other work, and the worker late: that says nothing of its vectors.
        second.script.extend([Reply(status=500)] * 2)
        assert launch_demo(database_url, second.worker_url) == ""
        assert in_the_lab(database_url, state) == "live"
        assert second.calls


def test_a_launch_that_did_not_pass_is_tried_until_it_does_and_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch_again, "PAUSE_FIRST_S", 0.001)
    answers: list[str | Exception] = ["It is late.", OSError("the store is away"), "Its vectors differ.", ""]
    said: list[str] = []

    def launch() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    again = launch_again.LaunchAgain(launch, said.append, "It is late.")
    until = time.monotonic() + 30
    while len(said) < 2 and time.monotonic() < until:
        again.look()
        time.sleep(0.001)
    for _ in range(5):
        again.look()
    assert said == ["Its vectors differ.", "The worker's vectors were compared: the model is live."]
    assert answers == []
