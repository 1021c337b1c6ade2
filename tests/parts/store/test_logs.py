"""A log of a child that writes on is emptied in place before it fills the disk."""

import sys
import time
from pathlib import Path

import pytest

from store import processes

WRITES_ON = "import sys, time\nwhile True: print('x' * 999, flush=True); time.sleep(0.001)"


def test_a_log_is_emptied_while_its_process_writes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LOG_BYTES_MAX", 50_000)
    log, old = tmp_path / "serve.log", tmp_path / "serve.old.log"
    child = processes.spawn([sys.executable, "-c", WRITES_ON], log=log)
    try:
        worst, until = 0, time.monotonic() + 30
        for round in range(4):
            while log.stat().st_size <= 50_000:
                assert time.monotonic() < until
                time.sleep(0.01)
            worst = max(worst, log.stat().st_size)
            for path in tmp_path.glob("*.log"):
                processes.limit_log(path)
            assert log.stat().st_size < 50_000, f"round {round}"
            assert old.stat().st_size > 50_000
        assert {path.name for path in tmp_path.iterdir()} == {"serve.log", "serve.old.log"}
        # Appended behind the new end, not behind a hole where the old one was.
        assert b"\0" not in log.read_bytes()
    finally:
        child.kill()
        child.wait()
