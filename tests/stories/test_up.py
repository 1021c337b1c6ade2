"""A newcomer types one command: it runs, says how to call it, keeps its data, and comes back from any kill."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from socket import create_server
from typing import Any
from urllib.request import Request, urlopen

import psutil
import pytest

from gigarouter.demo import CREDIT
from tests.harness.processes import free_port

ROOT = Path(__file__).parents[2]
WELCOME = "Ctrl-C stops everything."


class Up:
    """One `gigarouter up` in a terminal of its own."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIGAROUTER_")}
        began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gigarouter", "up", "--data-dir", str(folder), "--port", str(port)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if line.startswith(WELCOME):
                break
        self.took_s = time.monotonic() - began

    @property
    def key(self) -> str:
        return re.search(r"gr_live_\w+", self.said)[0]  # type: ignore[index]

    @property
    def curl(self) -> str:
        return next(line for line in self.said.splitlines() if line.startswith("curl "))

    def family(self) -> list[psutil.Process]:
        """`up` and all that it started, the servers' own children too."""
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self.process.pid)
            return [parent, *parent.children(recursive=True)]
        return []

    def interrupt(self) -> str:
        """Ctrl-C; what was said after."""
        self.process.send_signal(signal.SIGINT)
        rest, _ = self.process.communicate(timeout=60)
        return rest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    data = tmp_path_factory.mktemp("up") / "data"
    yield data
    noted = json.loads((data / "children.json").read_text()) if (data / "children.json").exists() else []
    for child in noted:
        with suppress(psutil.NoSuchProcess):
            psutil.Process(child["pid"]).kill()


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


def vector_of(curl: str) -> list[float]:
    """What the printed line gives when it is pasted into a shell; read by hand where there is no curl."""
    if shutil.which("curl"):
        done = subprocess.run(["sh", "-c", f"{curl} --silent --show-error"], capture_output=True, text=True, check=True)
        answer: dict[str, Any] = json.loads(done.stdout)
    else:
        _, url, *options = shlex.split(curl)
        given = list(zip(options[::2], options[1::2], strict=True))
        headers = dict(value.split(": ", 1) for flag, value in given if flag == "-H")
        with urlopen(Request(url, dict(given)["-d"].encode(), headers), timeout=10) as reply:
            answer = json.load(reply)
    vector: list[float] = answer["data"][0]["embedding"]
    return vector


def balance(port: int, key: str) -> str:
    request = Request(f"http://127.0.0.1:{port}/v1/account", headers={"authorization": f"Bearer {key}"})
    with urlopen(request, timeout=10) as answer:
        return str(json.load(answer)["balance"])


def running(processes: list[psutil.Process]) -> list[psutil.Process]:
    alive = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
    return alive


def test_one_command_runs_the_product_and_it_comes_back_with_its_data_from_any_end(folder: Path, port: int) -> None:
    first = Up(folder, port)
    assert WELCOME in first.said, first.said
    vector = vector_of(first.curl)
    assert len(vector) == 384
    left = balance(port, first.key)
    assert 0 < float(left) < CREDIT / 1e9, "the call was charged"
    family = first.family()
    assert len(family) > 5
    assert "Stopped." in first.interrupt()
    assert first.process.returncode == 0
    assert not running(family), "Ctrl-C ends everything that it started"

    second = Up(folder, port)
    assert second.key == first.key
    assert balance(port, second.key) == left
    assert vector_of(second.curl) == vector

    for process in second.family():  # any and all of it
        with suppress(psutil.NoSuchProcess):
            process.kill()
    second.process.wait()
    third = Up(folder, port)
    assert third.key == first.key, third.said
    assert vector_of(third.curl) == vector

    third.process.kill()  # the parent alone; its children are told by the kernel, or ended by the next start
    third.process.wait()
    fourth = Up(folder, port)
    assert fourth.key == first.key, fourth.said
    assert vector_of(fourth.curl) == vector
    sys.stdout.write(f"starts took {[round(one.took_s, 1) for one in (first, second, third, fourth)]} s\n")

    serve = next(process for process in fourth.family() if process.cmdline()[-1] == "serve")
    serve.kill()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(0.2)
        with suppress(subprocess.CalledProcessError, OSError):
            assert vector_of(fourth.curl) == vector
            break
    assert "serve ended (signal 9); it starts again in 0.5 s." in fourth.interrupt()


def test_a_port_that_is_taken_ends_the_start_with_one_sentence(tmp_path: Path) -> None:
    with create_server(("127.0.0.1", 0)) as taken:
        refused = Up(tmp_path / "other", taken.getsockname()[1])
        assert refused.process.wait(30) == 1
    assert refused.said.count("\n") == 1, "one sentence"
    assert "cannot be used (Address already in use): set GIGAROUTER_PORT to another one." in refused.said
