"""`gigarouter up` outlives the death of any of its parts from their first second on, and want of what it needs."""

import json
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
import pytest
from typing_extensions import override

from gigarouter.demo import CREDIT, MODEL
from tests.harness.processes import free_port
from tests.harness.scarcity import Disk, can_mount, no_descriptors, no_memory, on_a_small_disk
from tests.harness.up_command import WELCOME, Up, balance, end_what_is_left, vector_of

KILLS_EACH = 2
OURS = ("serve", "jobs", "providers.worker")
AGAIN_WITHIN_S = 60.0


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "data"
    end_what_is_left(tmp_path / "data")


@contextmanager
def killing(pid: int, dice: random.Random) -> Iterator[Counter[str]]:
    """Kill one by one what the process has started, processes of its servers and of set-up too: each kind twice."""
    killed: Counter[str] = Counter()
    over = threading.Event()

    def kill() -> None:
        while not over.wait(dice.uniform(0.05, 0.5)):
            with suppress(psutil.NoSuchProcess):
                family = [(kind_of(each), each) for each in psutil.Process(pid).children(recursive=True)]
                if victims := [(kind, each) for kind, each in family if killed[kind] < KILLS_EACH]:
                    kind, victim = dice.choice(victims)
                    killed[kind] += 1
                    victim.kill()

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


def test_any_part_may_die_at_any_moment_of_the_start(folder: Path) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    up = Up(folder, free_port(), until="gigarouter starts")
    with killing(up.process.pid, random.Random(seed)) as killed:
        up.read(WELCOME)
    assert WELCOME in up.said, f"seed {seed}, killed {killed}: {up.said}"
    assert "Traceback" not in up.said
    assert set(killed) >= {"postgres", "redis-server", *OURS}, f"seed {seed}: the start was over before"
    within(AGAIN_WITHIN_S, lambda: vector_of(up.curl))
    assert "Stopped." in up.end(signal.SIGTERM)


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


class Caller(threading.Thread):
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


def parts(up: Up, *names: str) -> list[psutil.Process]:
    """The processes of `up` with such a word in their command, itself left out."""
    found = []
    for process in up.family()[1:]:
        with suppress(psutil.NoSuchProcess):
            if any(name in " ".join(process.cmdline()) for name in names):
                found.append(process)
    return found


@pytest.mark.skipif(not can_mount(), reason="a file system of its own needs root and mount namespaces")
@pytest.mark.timeout(600)
def test_no_room_no_descriptors_and_no_memory_end_nothing_and_lose_nothing(tmp_path: Path) -> None:
    port = free_port()
    up = Up(tmp_path / "disk" / "data", port, started_by=on_a_small_disk(tmp_path / "disk"))
    assert WELCOME in up.said, up.said
    pid, disk = up.process.pid, Disk(up.process.pid, tmp_path / "disk")
    serve = parts(up, "serve")[0].pid
    caller = Caller(port, up.key)
    caller.start()
    before = balance(port, up.key)
    try:
        takings: list[tuple[str, AbstractContextManager[None], tuple[str, ...]]] = [
            ("a full disk", disk.full(), ()),
            ("a full disk when all ends", disk.full(), ("postgres", "redis", "serve", "jobs")),
            ("a file system that is read-only when all ends", disk.read_only(), ("postgres", "redis", "serve", "jobs")),
            ("no descriptors for a child", no_descriptors(pid), ("serve", "jobs", "redis")),
            ("no memory for a child", no_memory(pid), ("serve", "jobs")),
        ]
        for name, taken, dying in takings:
            with taken:
                for process in parts(up, *dying) if dying else ():
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
                time.sleep(4)
                assert up.process.poll() is None, f"{name}: {up.process.stdout.read() if up.process.stdout else ''}"
            took = within(AGAIN_WITHIN_S, lambda: vector_of(up.curl))
            print(f"{name}: service again after {took:.1f} s; until then {dict(caller.seen)}")
        assert serve not in [process.pid for process in parts(up, "serve")], "it was killed and started again"
    finally:
        caller.stop()
    assert set(caller.seen) <= {"200", "503 store_unavailable", "503 model_warming", "no answer"}, caller.seen
    vectors = len(takings)  # each a call of the printed line
    spent = round((float(before) - float(balance(port, up.key))) * 1e9)
    each = caller.cost_nano // caller.seen["200"]
    assert spent == caller.cost_nano + vectors * each, f"every answer was charged once, and nothing else: {CREDIT}"
    rest = up.end(signal.SIGTERM)
    assert "Traceback" not in rest
    assert "Stopped." in rest
