"""Takes from running processes what every process needs: room on the disk, a writable file system, descriptors, memory.

The file system is a tmpfs in a mount namespace that `up` is started in, so that it goes when its processes go. Each
taking is a context manager; what was taken is given back at its end.
"""

import resource
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

ROOM_MB = 1_700
NAMES = {resource.RLIMIT_NOFILE: "nofile", resource.RLIMIT_AS: "as"}
MOUNTED = 'mount -t tmpfs -o "size=$1" none "$2" && shift 2 && exec "$@"'


def on_a_small_disk(folder: Path) -> Sequence[str]:
    """What stands before a command so that ``folder`` is a file system of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    return ("unshare", "--mount", "sh", "-c", MOUNTED, "sh", f"{ROOM_MB}m", str(folder))


def can_mount() -> bool:
    """Whether this user may make a mount namespace and mount in it."""
    command = ("unshare", "--mount", "sh", "-c", "mount -t tmpfs none /mnt")
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


class Disk:
    """The file system that ``on_a_small_disk`` mounted for a process."""

    def __init__(self, pid: int, folder: Path) -> None:
        self._inside = ("nsenter", "--mount", "--target", str(pid), "sh", "-c")
        self._folder = folder

    @contextmanager
    def full(self) -> Iterator[None]:
        """Not a byte is left: the file system is made as small as what is on it."""
        used = self._run("df --output=used -k . | tail -1").strip()
        self._run(f"mount -o remount,size={used}k .; cat /dev/zero > crumbs 2>/dev/null; true")
        try:
            yield
        finally:
            self._run(f"mount -o remount,size={ROOM_MB}m . && rm -f crumbs")

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Whatever is opened from now on by its path cannot be written; what is open already can."""
        self._run("mount --bind . . && mount -o remount,bind,ro .", self._folder)
        try:
            yield
        finally:
            # What was started meanwhile ends before long, since it cannot write; until then it holds the mount.
            self._run(f"for turn in $(seq 300); do umount {self._folder} && exit; sleep 0.1; done; exit 32", Path("/"))

    def _run(self, command: str, folder: Path | None = None) -> str:
        script = f"cd {folder or self._folder} && {command}"
        return subprocess.run([*self._inside, script], capture_output=True, text=True, check=True).stdout


@contextmanager
def no_descriptors(pid: int) -> Iterator[None]:
    """The process can open nothing more."""
    opened = max(int(each.name) for each in Path(f"/proc/{pid}/fd").iterdir())
    with _limited(pid, resource.RLIMIT_NOFILE, opened + 1):
        yield


@contextmanager
def no_memory(pid: int) -> Iterator[None]:
    """The process, and every child that it starts from now on, gets no more memory than it has."""
    with _limited(pid, resource.RLIMIT_AS, psutil.Process(pid).memory_info().vms):
        yield


@contextmanager
def _limited(pid: int, what: int, limit: int) -> Iterator[None]:
    soft, hard = _limits(pid, what)
    _limits(pid, what, (limit, hard))
    try:
        yield
    finally:
        # What died of it is started again by its parent, without the limit.
        with suppress(ProcessLookupError, subprocess.CalledProcessError):
            _limits(pid, what, (soft, hard))


def _limits(pid: int, what: int, new: tuple[int, int] | None = None) -> tuple[int, int]:
    """Those of a process, set where they are given. For another user's it takes CAP_SYS_RESOURCE, or that user."""
    try:
        return resource.prlimit(pid, what) if new is None else resource.prlimit(pid, what, new)
    except PermissionError:
        option = f"--{NAMES[what]}" + ("" if new is None else f"={new[0]}:")
        show = ("--output=SOFT,HARD", "--noheadings", "--raw") if new is None else ()
        uids, gids = psutil.Process(pid).uids(), psutil.Process(pid).gids()
        said = subprocess.run(
            ["prlimit", f"--pid={pid}", option, *show],
            user=uids.real,
            group=gids.real,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        if new is not None:
            return new
        soft, hard = (resource.RLIM_INFINITY if word == "unlimited" else int(word) for word in said.split())
        return soft, hard
