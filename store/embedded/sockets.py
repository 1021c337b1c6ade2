"""Chooses a folder for sockets: the kernel takes 107 bytes of path, which a data folder in a deep home may exceed."""

import hashlib
import os
import tempfile
from pathlib import Path

from store.faults import CannotStart

SOCKET_PATH_BYTES_MAX = 107
LONGEST_NAME = ".s.PGSQL.5432.lock"


def socket_folder(data: Path) -> Path:
    """Make ``data/run``, or a private folder with a short name where that is too long. Only its owner may enter."""
    inside = data.resolve() / "run"
    if len(os.fsencode(inside / LONGEST_NAME)) <= SOCKET_PATH_BYTES_MAX:
        inside.mkdir(exist_ok=True, mode=0o700)
        return inside
    name = hashlib.sha256(os.fsencode(inside)).hexdigest()[:12]
    short = Path(tempfile.gettempdir()) / f"gigarouter-{os.getuid()}-{name}"
    short.mkdir(exist_ok=True, mode=0o700)
    # Anyone may have made a folder of that name in a shared place: ours is a real one, of ours, closed to others.
    state = short.lstat()
    if short.is_symlink() or state.st_uid != os.getuid() or state.st_mode & 0o077:
        raise CannotStart(f"{short} belongs to someone else or is open to others; remove it, or move the data folder.")
    return short
