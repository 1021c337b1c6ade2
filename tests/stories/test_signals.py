"""SIGINT and SIGTERM end every process of the product, from its first second on and however it was started."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from socket import create_server

import pytest

from gigarouter.up import demo_model
from store.embedded import Embedded
from tests.harness.processes import ROOT, Product, free_port
from tests.harness.up_command import IN_BACKGROUND, WITH_SIGNALS_BLOCKED, Up, end_what_is_left, running

# How it was started, and what then has to end it: each signal in the way that would hide it.
STARTS = [
    pytest.param(IN_BACKGROUND, signal.SIGINT, id="from a shell's background"),
    pytest.param(WITH_SIGNALS_BLOCKED, signal.SIGTERM, id="with signals blocked"),
    pytest.param(("setsid", "nohup"), signal.SIGINT, id="by setsid and nohup"),
]
Way = Sequence[str]
ENDS_WITHIN_S = 30


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "data"
    end_what_is_left(tmp_path / "data")


@pytest.mark.parametrize(("way", "number"), STARTS)
def test_up_ends_in_the_middle_of_its_start(folder: Path, way: Way, number: signal.Signals) -> None:
    up = Up(folder, free_port(), started_by=way, until="gigarouter starts")
    family = up.family()
    assert "Stopped." in up.end(number)
    assert up.process.returncode == 0
    assert not running(family)


def test_up_under_nohup_outlives_its_terminal_and_ends_when_told_to(folder: Path) -> None:
    up = Up(folder, free_port(), started_by=("nohup",), until="gigarouter starts")
    up.process.send_signal(signal.SIGHUP)
    up.read("catalogue and demo account")
    assert up.process.poll() is None, up.said
    assert "Stopped." in up.end(signal.SIGINT)


class Started:
    """A command, started one of the ways; its output is read at its end."""

    def __init__(self, way: Way, arguments: Sequence[str], environment: dict[str, str], log: Path) -> None:
        with log.open("wb") as out:
            command = [*way, sys.executable, "-m", *arguments]
            self._process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out)
        self._log = log

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + 60
        while text not in self._log.read_text():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.05)

    def end(self, number: signal.Signals) -> int:
        """Its exit code; it may take no longer than a drain of nothing."""
        self._process.send_signal(number)
        return self._process.wait(ENDS_WITHIN_S)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def product(servers: Embedded, database_url: str, redis_url: str, tmp_path: Path) -> Product:
    """Its settings; what is started is started here."""
    return Product(tmp_path, database_url, redis_url, settings={"drain_s": "1"})


@pytest.mark.parametrize(("way", "number"), STARTS)
@pytest.mark.parametrize(
    ("name", "ready"), [("serve", '"listening"'), ("jobs", "jobs_started"), ("worker", "serving on")]
)
def test_each_process_ends_in_order_when_it_runs(
    product: Product, name: str, ready: str, way: Way, number: signal.Signals
) -> None:
    arguments = ["gigarouter", name]
    if name == "worker":
        model = demo_model()
        assert model is not None
        arguments += ["--model", str(model), "--name", "m", "--port", "0", "--device", "cpu"]
    with ExitStack() as stack:
        started = Started(way, arguments, environment_of(product), product.folder / f"{name}.log")
        stack.callback(started.kill)
        started.wait_for(ready)
        assert started.end(number) == 0


def environment_of(product: Product, **settings: str) -> dict[str, str]:
    ports = {"GIGAROUTER_PORT": str(free_port()), "GIGAROUTER_ADMIN_PORT": str(free_port())}
    return product.environment | ports | settings


@pytest.mark.parametrize(("way", "number"), STARTS)
@pytest.mark.parametrize("name", ["serve", "jobs", "migrate"])
def test_each_process_ends_while_it_waits_for_a_store_that_says_nothing(
    product: Product, name: str, way: Way, number: signal.Signals
) -> None:
    with create_server(("127.0.0.1", 0)) as silent, ExitStack() as stack:
        silent.settimeout(60)
        url = f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/x"
        log = product.folder / f"{name}.log"
        started = Started(way, ["gigarouter", name], environment_of(product, DATABASE_URL=url), log)
        stack.callback(started.kill)
        connection, _ = silent.accept()
        with connection:
            assert started.end(number) != 0
        # The attempt to connect would have ended in a sentence after its five seconds.
        assert "cannot be reached" not in log.read_text(), "it did not wait for the store"
        assert "Traceback" not in log.read_text()
