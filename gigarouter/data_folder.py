"""The folder in which `up` keeps everything: its format, its one owner, its secrets, and what a killed run left.

``version`` (format of the folder), ``up.lock``, ``secret-key``, ``demo-key``, ``connection.toml`` (for commands typed
beside it), ``children.json`` (processes to end if the run is killed), ``postgres/``, ``redis/``, ``logs/``, ``run/``,
``mails/`` (what would have been mailed).
"""

import fcntl
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from signal import SIGTERM
from typing import IO

import psutil
from cryptography.fernet import Fernet

from gigarouter.settings import CONNECTION_FILE
from store.faults import CannotStart
from store.processes import end_orphans

FORMAT = 1
# A fresh cluster takes 40 MB and its log grows to 1 GB before PostgreSQL recycles it; below this it would stop mid-way.
FREE_BYTES_MIN = 1_500_000_000
ORPHAN_ENDS_WITHIN_S = 2.0


class DataFolder:
    """A data folder that this process owns until :meth:`release`. Raises :class:`CannotStart` where it cannot be."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().resolve()
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock: IO[str] = (self.path / "up.lock").open("a+")
        except OSError as error:
            raise CannotStart(f"The data folder {self.path} cannot be used: {error.strerror}.") from error
        try:
            self._require_owner()
            self._require_format()
            self._require_free_space()
        except CannotStart:
            self.release()
            raise
        except OSError as error:
            self.release()
            raise CannotStart(f"The data folder {self.path} cannot be used: {error.strerror}.") from error

    def release(self) -> None:
        """Let another run own the folder."""
        self._lock.close()

    def secret_key(self) -> str:
        """The key that encrypts provider credentials; made once."""
        return self.read("secret-key") or self.write("secret-key", Fernet.generate_key().decode())

    def read(self, name: str) -> str | None:
        """Read what :meth:`write` wrote; None where it wrote nothing."""
        try:
            return (self.path / name).read_text().strip() or None
        except FileNotFoundError:
            return None
        except PermissionError:
            raise CannotStart(f"{self.path / name} belongs to another user: run as that user, or remove it.") from None

    def write(self, name: str, text: str) -> str:
        """Write a small file atomically, readable by its owner alone. Returns ``text``."""
        target = self.path / name
        part = self.path / f"{name}.part"
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
        return text

    def write_connection(self, **values: str | int) -> None:
        """Write how to reach the servers, for commands typed beside `up`."""
        # JSON strings and integers are TOML strings and integers.
        self.write(CONNECTION_FILE, "\n".join(f"{field} = {json.dumps(value)}" for field, value in values.items()))

    def record_children(self, pids: list[int]) -> None:
        """Record the processes to end if this run is killed before it can end them."""
        children = []
        for pid in pids:
            with suppress(psutil.NoSuchProcess):
                children.append({"pid": pid, "created": psutil.Process(pid).create_time()})
        self.write("children.json", json.dumps(children))

    def end_children_of_killed_run(self) -> None:
        """End the processes that an earlier run recorded, unless a pid belongs to another process now."""
        orphans = []
        for child in json.loads(self.read("children.json") or "[]"):
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(child["pid"])
                if abs(process.create_time() - child["created"]) < 0.1:
                    orphans.append(process)
        end_orphans(orphans, soft=SIGTERM, within_s=ORPHAN_ENDS_WITHIN_S)

    def _require_owner(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart(
                f"gigarouter already runs on {self.path}: stop it, or set GIGAROUTER_DATA_DIR and GIGAROUTER_PORT."
            ) from None

    def _require_format(self) -> None:
        written = self.read("version")
        if written is None:
            self.write("version", str(FORMAT))
        elif not written.isdigit() or int(written) > FORMAT:
            raise CannotStart(
                f"The data folder {self.path} was written by a newer gigarouter (format {written}, this one knows "
                f"{FORMAT}): install the newer one, or name another folder in GIGAROUTER_DATA_DIR."
            )

    def _require_free_space(self) -> None:
        free = shutil.disk_usage(self.path).free
        if free < FREE_BYTES_MIN:
            raise CannotStart(
                f"The disk of {self.path} has {free / 1e9:.1f} GB free and {FREE_BYTES_MIN / 1e9:.1f} GB are needed: "
                "make room, or set GIGAROUTER_DATA_DIR to a folder on another disk."
            )
