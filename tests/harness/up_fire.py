"""Hands on a running or starting `gigarouter up`, and a customer who calls it meanwhile."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
from typing_extensions import override

from gigarouter.demo import MODEL
from tests.harness.up_command import Up

OURS = ("serve", "jobs", "providers.worker")
AGAIN_WITHIN_S = 60.0
# What a customer may be told while a part is away.
FAULT_ENDS = frozenset({"200", "503 store_unavailable", "503 model_warming", "no answer"})


@contextmanager
def killing(
    pid: int,
    dice: random.Random,
    kills_each: int,
    only: Collection[str] = (),
    pause_s: tuple[float, float] = (0.05, 0.5),
) -> Iterator[Counter[str]]:
    """Kill one by one what the process has started, processes of its servers and of set-up too, each kind so often.

    Which kind is next depends on the dice and on what kinds there are, not on the order in which they came.
    """
    killed: Counter[str] = Counter()
    over = threading.Event()

    def kill() -> None:
        while not over.wait(dice.uniform(*pause_s)):
            with suppress(psutil.NoSuchProcess):
                family = sorted(
                    ((kind_of(each), each.pid, each) for each in psutil.Process(pid).children(recursive=True)),
                    key=lambda found: found[:2],
                )
                victims = [(kind, each) for kind, _, each in family if killed[kind] < kills_each]
                if kinds := sorted({kind for kind, _ in victims if not only or kind in only}):
                    kind = dice.choice(kinds)
                    victim = next(each for name, each in victims if name == kind)
                    victim.kill()
                    killed[kind] += 1

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def kind_of(process: psutil.Process) -> str:
    """What a process is: a child of ours, else the name of its program."""
    with suppress(psutil.NoSuchProcess):
        words = process.cmdline()
        return next((name for name in OURS if any(word.endswith(name) for word in words)), process.name())
    return "ended"


def parts(up: Up, *names: str) -> list[psutil.Process]:
    """The processes of `up` with such a word in their command, itself left out."""
    found = []
    for process in up.family()[1:]:
        with suppress(psutil.NoSuchProcess):
            if any(name in " ".join(process.cmdline()) for name in names):
                found.append(process)
    return found


def within(seconds: float, attempt: Callable[[], object]) -> float:
    """Until it succeeds; how long that took."""
    began = time.monotonic()
    while True:
        try:
            attempt()
            return time.monotonic() - began
        except Exception:
            if time.monotonic() - began > seconds:
                raise
        time.sleep(0.2)


class Customer(threading.Thread):
    """A customer who calls five times a second and writes down what came back, and what it cost."""

    def __init__(self, port: int, key: str) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()
        self.cost_nano = 0
        self._over = threading.Event()
        body = json.dumps({"model": MODEL, "input": "Hello, world"}).encode()
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        self._request = Request(f"http://127.0.0.1:{port}/v1/embeddings", body, headers)

    @override
    def run(self) -> None:
        while not self._over.wait(0.2):
            try:
                with urlopen(self._request, timeout=30) as answer:
                    answer.read()
                    self.seen["200"] += 1
                    self.cost_nano += round(float(answer.headers["x-gigarouter-cost"]) * 1e9)
            except HTTPError as refused:
                self.seen[f"{refused.code} {json.load(refused)['error']['code']}"] += 1
            except OSError:
                self.seen["no answer"] += 1

    def stop(self) -> None:
        self._over.set()
        self.join()
