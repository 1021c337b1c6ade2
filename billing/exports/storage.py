"""Keeps the files of exports in a folder, one subfolder for each; bounded, and removed when an export expires."""

import hashlib
import os
import shutil
import zlib
from collections.abc import Collection
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from store.ids import ExportId, wire

MANIFEST = "manifest.json"
GZIP_WBITS = 31
GZIP_LEVEL = 1


class CannotWrite(Exception):
    """A file cannot be written; the message says why."""


class ExportFolder(msgspec.Struct, frozen=True):
    """Where the files are, which ``serve`` and ``jobs`` both reach; how much they may take, and for how long.

    ``own_kept`` is for how long those stay that accounts' owners ordered.
    """

    path: Path
    bytes_max: int
    kept: timedelta
    own_kept: timedelta = timedelta(days=3)

    def of(self, export_id: ExportId) -> Path:
        """The folder of one export."""
        return self.path / wire(ExportId, export_id)

    def make(self, export_id: ExportId) -> Path:
        """The folder of one export, which is there then and closed to other users. Raises :class:`CannotWrite`."""
        folder = self.of(export_id)
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder.mkdir(exist_ok=True, mode=0o700)
        except OSError as fault:
            raise CannotWrite(f"{folder} cannot be made: {fault.strerror}.") from fault
        return folder

    def size(self) -> int:
        """The bytes of all files."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    def remove(self, export_id: ExportId) -> None:
        """Remove the files of one export, if there are any."""
        shutil.rmtree(self.of(export_id), ignore_errors=True)

    def remove_others(self, kept: Collection[ExportId]) -> int:
        """Remove the files of all exports but these; returns of how many. Nothing else in the folder is touched."""
        if not self.path.is_dir():
            return 0
        names = {wire(ExportId, export_id) for export_id in kept}
        gone = [one for one in self.path.glob("export_*") if one.is_dir() and one.name not in names]
        for folder in gone:
            shutil.rmtree(folder, ignore_errors=True)
        return len(gone)


class HashingFile:
    """A file that is written from front to back under another name, and has its own at the end; hashed on the way.

    ``bytes_max`` is how large it may become. Raises :class:`CannotWrite`.
    """

    def __init__(self, path: Path, bytes_max: int) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        try:
            self._file = self._part.open("wb")
        except OSError as fault:
            raise CannotWrite(f"{path} cannot be written: {fault.strerror}.") from fault
        self._hash = hashlib.sha256()
        self._bytes_max = bytes_max
        self.bytes = 0
        self.closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is not None:
            with suppress(OSError):
                self._part.unlink()

    def write(self, data: bytes | bytearray) -> int:
        """Append."""
        self.bytes += len(data)
        if self.bytes > self._bytes_max:
            raise CannotWrite("All exports together would take more than GIGAROUTER_EXPORTS_BYTES_MAX.")
        try:
            self._file.write(data)
        except OSError as fault:
            raise CannotWrite(f"{self._path} cannot be written: {fault.strerror}.") from fault
        self._hash.update(data)
        return len(data)

    def flush(self) -> None:
        """Nothing waits that a reader could miss: the file is not there before :meth:`finish`."""

    def finish(self) -> bytes:
        """Give the file its name, after it is on the disk; returns its SHA-256."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._part.replace(self._path)
        except OSError as fault:
            raise CannotWrite(f"{self._path} cannot be written: {fault.strerror}.") from fault
        return self._hash.digest()


class PlainSink:
    """Writes what comes as it is."""

    def __init__(self, file: HashingFile) -> None:
        self._file = file

    def write(self, block: bytes | bytearray) -> None:
        """Append a block."""
        self._file.write(block)

    def end(self) -> None:
        """Nothing is left to write."""


class GzipSink:
    """Compresses what comes; the same bytes for the same data, since no time is in them."""

    def __init__(self, file: HashingFile) -> None:
        self._file = file
        self._coder = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, GZIP_WBITS)

    def write(self, block: bytes | bytearray) -> None:
        """Append a block."""
        self._file.write(self._coder.compress(block))

    def end(self) -> None:
        """Write what is left."""
        self._file.write(self._coder.flush())
