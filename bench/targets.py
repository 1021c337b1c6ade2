"""What is measured: a target starts itself on the system core and says how it wants to be called."""

import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from bench.upstream import Upstream


class Unavailable(Exception):
    """This target cannot be measured on this machine; the sentence says what is missing."""


class Running(msgspec.Struct, frozen=True):
    """A started target: ``pids`` are the roots of its trees, ``serving`` the processes that answer requests."""

    name: str
    url: str
    headers: dict[str, str]
    body: dict[str, object]
    pids: list[int]
    serving: list[int]
    cold_start_s: float
    stop: Callable[[], None]


class Target(Protocol):
    """Something that takes an embeddings request and has it answered by the stub."""

    name: str

    def start(self, upstream: Upstream, encoding: str, folder: Path) -> Running:
        """Start it with its files in ``folder``; returns after its first good answer. Raises Unavailable."""
        ...


def request_body(model: str, encoding: str) -> dict[str, object]:
    """The one request of the load: a short input, floats by default as the API says."""
    body: dict[str, object] = {"model": model, "input": "The quick brown fox jumps over it"}
    if encoding != "float":
        body["encoding_format"] = encoding
    return body


def first_answer(url: str, headers: dict[str, str], body: dict[str, object], timeout_s: float = 90) -> float:
    """Ask until the answer is 200; returns how many seconds that took. Raises Unavailable with the last reason."""
    started = time.perf_counter()
    reason = "no answer"
    while time.perf_counter() - started < timeout_s:
        request = urllib.request.Request(
            url, data=msgspec.json.encode(body), headers={"content-type": "application/json"} | headers
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                if answer.status == 200 and b"embedding" in answer.read():
                    return time.perf_counter() - started
        except urllib.error.HTTPError as error:
            reason = f"{error.code} {error.read()[:300]!r}"
        except OSError as error:
            reason = str(error)
        time.sleep(0.02)
    raise Unavailable(f"{url} gave no answer within {timeout_s:g} s: {reason}")
