"""A worker as people run it: a process of its own, reached over HTTP."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec

from providers.worker import frames

ROOT = Path(__file__).parents[2]


class Worker:
    """The process, its address and what it has written."""

    def __init__(self, process: subprocess.Popen[str], url: str, log: list[str]) -> None:
        self.process = process
        self.log = log
        self.http = httpx.Client(base_url=url, timeout=60)
        self.url = url

    def embed(self, **fields: object) -> httpx.Response:
        return self.http.post("/embed", content=msgspec.msgpack.encode(fields))

    def vectors(self, **fields: object) -> tuple[frames.AnswerHeader, frames.FloatMatrix]:
        answer = self.embed(**fields)
        assert answer.status_code == 200, answer.text
        return frames.decode_answer(answer.content)


def start(arguments: list[str], environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "providers.worker", "--device", "cpu", "--threads", "1", "--port", "0", *arguments],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | (environment or {}),
    )


@contextmanager
def a_worker(*arguments: str, environment: dict[str, str] | None = None) -> Iterator[Worker]:
    """Started and ready; killed at the end if it still runs."""
    process = start(list(arguments), environment)
    assert process.stderr is not None
    log: list[str] = []
    url = None
    for line in process.stderr:
        log.append(line)
        if found := re.search(r"serving on (http://\S+)", line):
            url = found.group(1)
            break
    assert url is not None, "".join(log)
    reader = threading.Thread(target=lambda: log.extend(process.stderr or ()), daemon=True)
    reader.start()
    worker = Worker(process, url, log)
    try:
        yield worker
    finally:
        worker.http.close()
        if process.poll() is None:
            process.kill()
        process.wait(10)
        reader.join(10)
        process.stderr.close()
