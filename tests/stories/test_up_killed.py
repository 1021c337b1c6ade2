"""`gigarouter up` comes back from any kill, with its key, its data and the same vectors."""

import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.harness.processes import free_port
from tests.harness.up_command import Up, end_what_is_left, vector_of


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "data"
    end_what_is_left(tmp_path / "data")


def test_it_comes_back_with_its_data_after_any_and_all_of_it_was_killed(folder: Path) -> None:
    port = free_port()
    first = Up(folder, port)
    vector = vector_of(first.curl)
    for process in first.family():
        with suppress(psutil.NoSuchProcess):
            process.kill()
    first.bury()

    second = Up(folder, port)
    assert second.key == first.key, second.said
    assert vector_of(second.curl) == vector

    second.process.kill()  # the parent alone; its children are told by the kernel, or ended by the next start
    second.bury()
    third = Up(folder, port)
    assert third.key == first.key, third.said
    assert vector_of(third.curl) == vector
    assert "Stopped." in third.end(signal.SIGINT)
