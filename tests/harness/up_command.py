"""``gigarouter up`` as a person types it: what it says, what it starts, how it is ended, and the line it prints."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psutil

from tests.harness.processes import free_port

ROOT = Path(__file__).parents[2]
WELCOME = "Ctrl-C stops everything."
# Ways to start a command, as what stands before it. A shell ignores SIGINT for a job in the background.
IN_BACKGROUND = ("sh", "-c", "trap '' INT; exec \"$@\"", "sh")
WITH_SIGNALS_BLOCKED = (
    sys.executable,
    "-c",
    "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM}); "
    "os.execvp(sys.argv[1], sys.argv[1:])",
)


class Up:
    """One `gigarouter up`: ready to serve or refused when it is made, or read up to a line that begins ``until``."""

    def __init__(
        self, folder: Path, port: int, *, started_by: Sequence[str] = (), until: str = WELCOME, **environment: str
    ) -> None:
        self.folder = folder
        self.port = port
        command = [sys.executable, "-m", "gigarouter", "up", "--data-dir", str(folder), "--port", str(port)]
        self.process = subprocess.Popen(
            [*started_by, *command],
            cwd=ROOT,
            env={name: value for name, value in os.environ.items() if not name.startswith("GIGAROUTER_")}
            | {"GIGAROUTER_WEB_PORT": str(free_port())}
            | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said = ""
        try:
            self.read(until)
        except BaseException:
            self.process.terminate()
            raise

    def read(self, until: str) -> None:
        """Read on to a line that begins so, or to the end."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            if line.strip().startswith(until):
                break

    @property
    def key(self) -> str:
        found = re.search(r"gr_live_\w+", self.said)
        assert found is not None, self.said
        return found[0]

    @property
    def curl(self) -> str:
        return next(line for line in self.said.splitlines() if line.startswith("curl "))

    def family(self) -> list[psutil.Process]:
        """`up` and all that it started, the servers' own children too."""
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self.process.pid)
            return [parent, *parent.children(recursive=True)]
        return []

    def end(self, number: signal.Signals) -> str:
        """Ask it to end; what was said after."""
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=60)
        return rest

    def bury(self) -> None:
        """Wait for a process that was killed."""
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def end_what_is_left(folder: Path) -> None:
    """Kill an `up` of this data folder that a failed test has left, and then the children that it would start again."""
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or ()
        if "up" in command and str(folder) in command:
            with suppress(psutil.NoSuchProcess):
                process.kill()
                process.wait(10)
    noted = json.loads((folder / "children.json").read_text()) if (folder / "children.json").exists() else []
    for child in noted:
        with suppress(psutil.NoSuchProcess):
            psutil.Process(child["pid"]).kill()


def vector_of(curl: str) -> list[float]:
    """What the printed line gives when it is pasted into a shell; read by hand where there is no curl."""
    if shutil.which("curl"):
        done = subprocess.run(["sh", "-c", f"{curl} --silent --show-error"], capture_output=True, text=True, check=True)
        answer: dict[str, Any] = json.loads(done.stdout)
    else:
        _, url, *options = shlex.split(curl)
        given = list(zip(options[::2], options[1::2], strict=True))
        headers = dict(value.split(": ", 1) for flag, value in given if flag == "-H")
        with urlopen(Request(url, dict(given)["-d"].encode(), headers), timeout=30) as reply:
            answer = json.load(reply)
    vector: list[float] = answer["data"][0]["embedding"]
    return vector


def balance(port: int, key: str) -> str:
    request = Request(f"http://127.0.0.1:{port}/v1/account", headers={"authorization": f"Bearer {key}"})
    with urlopen(request, timeout=30) as answer:
        return str(json.load(answer)["balance"])


def running(processes: list[psutil.Process]) -> list[psutil.Process]:
    alive = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
    return alive
