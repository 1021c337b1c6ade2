"""`gigarouter up` outlives the death of any of its parts from their first second on, and want of what it needs."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import psutil
import pytest

from gigarouter.demo import CREDIT
from tests.harness.processes import free_port
from tests.harness.scarcity import Disk, can_mount, no_descriptors, no_memory, on_a_small_disk
from tests.harness.up_command import WELCOME, Up, balance, end_what_is_left, vector_of
from tests.harness.up_fire import AGAIN_WITHIN_S, FAULT_ENDS, OURS, Customer, killing, parts, within

KILLS_EACH = 2


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "data"
    end_what_is_left(tmp_path / "data")


def test_any_part_may_die_at_any_moment_of_the_start(folder: Path) -> None:
    seed = int(os.environ.get("SEED") or random.randrange(10**6))
    print(f"SEED={seed}")
    up = Up(folder, free_port(), until="gigarouter starts")
    with killing(up.process.pid, random.Random(seed), KILLS_EACH) as killed:
        up.read(WELCOME)
    assert WELCOME in up.said, f"seed {seed}, killed {killed}: {up.said}"
    assert "Traceback" not in up.said
    assert set(killed) >= {"postgres", "redis-server", *OURS}, f"seed {seed}: the start was over before"
    within(AGAIN_WITHIN_S, lambda: vector_of(up.curl))
    assert "Stopped." in up.end(signal.SIGTERM)


@pytest.mark.skipif(not can_mount(), reason="a file system of its own needs root and mount namespaces")
@pytest.mark.timeout(600)
def test_no_room_no_descriptors_and_no_memory_end_nothing_and_lose_nothing(tmp_path: Path) -> None:
    port = free_port()
    up = Up(tmp_path / "disk" / "data", port, started_by=on_a_small_disk(tmp_path / "disk"))
    assert WELCOME in up.said, up.said
    pid, disk = up.process.pid, Disk(up.process.pid, tmp_path / "disk")
    serve = parts(up, "serve")[0].pid
    caller = Customer(port, up.key)
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
    assert set(caller.seen) <= FAULT_ENDS, caller.seen
    vectors = len(takings)  # each a call of the printed line
    spent = round((float(before) - float(balance(port, up.key))) * 1e9)
    each = caller.cost_nano // caller.seen["200"]
    assert spent == caller.cost_nano + vectors * each, f"every answer was charged once, and nothing else: {CREDIT}"
    rest = up.end(signal.SIGTERM)
    assert "Traceback" not in rest
    assert "Stopped." in rest
