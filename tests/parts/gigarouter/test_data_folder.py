"""`up` refuses with one sentence what it cannot run on, and ends what a killed run left."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from gigarouter.data_folder import DataFolder
from gigarouter.ports import free_port, require_free_port
from gigarouter.supervise import Child
from store.faults import CannotStart


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_secrets_are_made_once_kept_and_closed_to_others(tmp_path: Path) -> None:
    first = DataFolder(tmp_path / "data")
    key = first.secret_key()
    first.release()
    again = DataFolder(tmp_path / "data")
    assert again.secret_key() == key
    assert (tmp_path / "data" / "secret-key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    again.release()


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    running = DataFolder(tmp_path)
    with pytest.raises(CannotStart, match="already runs on"):
        DataFolder(tmp_path)
    running.release()
    DataFolder(tmp_path).release()


def test_a_folder_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "version").write_text("2\n")
    with pytest.raises(CannotStart, match=r"written by a newer gigarouter \(format 2"):
        DataFolder(tmp_path)


def test_a_disk_that_is_too_small_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(10**12, 10**12, 10**9))
    with pytest.raises(CannotStart, match=r"has 1\.0 GB free and 1\.5 GB are needed"):
        DataFolder(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotStart, match="cannot be used: Not a directory"):
        DataFolder(tmp_path / "file" / "data")


def test_a_refused_folder_can_be_used_once_the_reason_is_gone(tmp_path: Path) -> None:
    (tmp_path / "version").write_text("2\n")
    with pytest.raises(CannotStart):
        DataFolder(tmp_path)
    (tmp_path / "version").write_text("1\n")
    DataFolder(tmp_path).release()


def test_a_port_that_is_taken_is_refused_with_the_setting_to_change() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotStart, match=rf"Port {port} on 127\.0\.0\.1 cannot be used .*GIGAROUTER_PORT"):
            require_free_port("127.0.0.1", port, "GIGAROUTER_PORT")
        assert free_port("127.0.0.1", port) not in (0, port)
    require_free_port("127.0.0.1", port, "GIGAROUTER_PORT")


def test_children_of_a_killed_run_are_ended_and_a_reused_pid_is_not(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    left, bystander = (subprocess.Popen(["sleep", "600"]) for _ in range(2))
    try:
        folder.record_children([left.pid, bystander.pid])
        noted = json.loads((tmp_path / "children.json").read_text())
        noted[1]["created"] -= 100  # the noted process is gone, and its number was given to another
        (tmp_path / "children.json").write_text(json.dumps(noted))
        folder.end_children_of_killed_run()
        assert left.wait(5) != 0
        assert bystander.poll() is None
    finally:
        for process in (left, bystander):
            process.kill()
            process.wait()
        folder.release()


def test_a_child_that_dies_is_started_again_with_growing_pauses(tmp_path: Path) -> None:
    program = tmp_path / "dies.py"
    program.write_text("raise SystemExit(3)")
    child = Child("dies", ["runpy", str(program)], tmp_path / "log", {})
    child._argv = [sys.executable, str(program)]
    pauses: list[float] = []
    now = 0.0
    child.start(now)
    while len(pauses) < 8:
        assert child._process is not None
        child._process.wait()
        sentence = child.restart_if_dead(now)
        assert sentence is not None
        assert "dies ended (exit code 3)" in sentence
        pauses.append(float(sentence.split("again in ")[1].split(" s.")[0]))
        assert child.restart_if_dead(now + pauses[-1] - 0.01) is None
        assert child.pid is None, "it waits"
        now += pauses[-1]
        child.restart_if_dead(now)
    assert pauses == [0.5, 1, 2, 4, 5, 5, 5, 5], "seconds, whatever it was and however long it took"
    assert child._process is not None
    child._process.wait()
    assert "again in 0.5 s" in str(child.restart_if_dead(now + 61)), "after a healthy minute the pauses start afresh"
