"""A folder for the temporary files of a run, in memory where the machine has room for that.

A test's PostgreSQL database is some seven hundred small files. On a disk they take three to twenty times as long to
make and to delete as in memory, and that was a third of all that a run waited for. The servers are the same and do the
same.
"""

import os
import shutil
import tempfile
from pathlib import Path

import psutil

MEMORY = Path("/dev/shm")
GIB = 1 << 30
FREE_THERE, FREE_AT_ALL = 8 * GIB, 10 * GIB


def make() -> Path | None:
    """Make it, and let all temporary files of this process and its children go there.

    None for a user who has set ``TMPDIR``, and where there is not room enough.
    """
    if "TMPDIR" in os.environ or not MEMORY.is_dir():
        return None
    _delete_orphans()
    if shutil.disk_usage(MEMORY).free < FREE_THERE or psutil.virtual_memory().available < FREE_AT_ALL:
        return None
    folder = Path(tempfile.mkdtemp(prefix=f"gr-{os.getpid()}-", dir=MEMORY))
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = None
    return folder


def _delete_orphans() -> None:
    """Give back the memory of runs that were killed before they could."""
    for folder in MEMORY.glob("gr-*-*"):
        pid = folder.name.split("-")[1]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)
