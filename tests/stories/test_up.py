"""A newcomer types one command: it runs, says how to call it, keeps its data, and ends when it is asked to."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from socket import create_server

import pytest
from typer.testing import CliRunner

from gigarouter.commands.ledger import app as ledger
from gigarouter.demo import CREDIT
from tests.harness.admin_client import admin_command
from tests.harness.processes import free_port
from tests.harness.up_command import IN_BACKGROUND, WELCOME, Up, balance, end_what_is_left, running, vector_of
from tests.harness.up_fire import within


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "data"
    end_what_is_left(tmp_path / "data")


def test_one_command_runs_the_product_and_it_comes_back_with_its_data_however_it_was_started(folder: Path) -> None:
    port = free_port()
    # A shell starts background jobs with SIGINT ignored; it ends them all the same.
    first = Up(folder, port, started_by=IN_BACKGROUND)
    assert WELCOME in first.said, first.said
    vector = vector_of(first.curl)
    assert len(vector) == 384
    left = balance(port, first.key)
    assert 0 < float(left) < CREDIT / 1e9, "the call was charged"
    beside = {"GIGAROUTER_DATA_DIR": str(folder)}
    export = admin_command(beside, "exports", "create", "usage", "csv", "--from", "2026-01-01", "--json")["id"]
    within(60, lambda: admin_command(beside, "exports", "show", export, "--json")["files"][0])
    assert list((folder / "exports" / export).glob("usage-*.csv")), "all data is in the data folder"
    verified = CliRunner().invoke(ledger, ["verify", "--archives", str(folder)], env=beside)
    assert " batches are right" in verified.output, "all commands find a running `up`"
    family = first.family()
    assert len(family) > 5
    assert "Stopped." in first.end(signal.SIGINT)
    assert first.process.returncode == 0
    assert not running(family), "Ctrl-C ends everything that it started"

    second = Up(folder, port)
    assert second.key == first.key
    assert balance(port, second.key) == left
    assert vector_of(second.curl) == vector

    serve = next(process for process in second.family() if process.cmdline()[-1] == "serve")
    serve.kill()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(0.2)
        with suppress(subprocess.CalledProcessError, OSError):
            assert vector_of(second.curl) == vector
            break
    family = second.family()
    rest = second.end(signal.SIGTERM)
    assert "serve ended (signal 9); it starts again in 0.5 s." in rest
    assert "Stopped." in rest
    assert second.process.returncode == 0
    assert not running(family), "so does SIGTERM"


def test_a_port_that_is_taken_ends_the_start_with_one_sentence(tmp_path: Path) -> None:
    with create_server(("127.0.0.1", 0)) as taken:
        refused = Up(tmp_path / "other", taken.getsockname()[1])
        refused.bury()
        assert refused.process.returncode == 1
    assert refused.said.count("\n") == 1, "one sentence"
    assert "cannot be used (Address already in use): set GIGAROUTER_PORT to another one." in refused.said
