"""What the embedded servers survive. Each test starts real servers in a folder of its own."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import psutil
import pytest

from store.embedded import CannotStart, Embedded
from store.embedded.postgres_server import EmbeddedPostgres
from store.embedded.sockets import SOCKET_PATH_BYTES_MAX, socket_folder
from store.faults import Killed, Unavailable
from store.processes import processes_in

ROOT = Path(__file__).parents[3]
RUN_UNTIL_KILLED = """
import sys, time
from pathlib import Path
from store.embedded import Embedded
servers = Embedded(Path(sys.argv[1]))
servers.start()
servers.postgres.query("CREATE TABLE IF NOT EXISTS kept (n int)", "gigarouter")
servers.postgres.query("INSERT INTO kept VALUES (1)", "gigarouter")
servers.redis.command("INCR kept")
print("started", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def first_start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which both servers have run once."""
    made = tmp_path_factory.mktemp("made") / "data"
    with Embedded(made):
        pass
    return made


@pytest.fixture
def folder(first_start: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of it."""
    copy = tmp_path / "data"
    subprocess.run(["cp", "-a", first_start, copy], check=True)
    yield copy
    for process in servers_of(copy):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def a_run(folder: Path) -> subprocess.Popen[str]:
    """A process of its own that starts both servers in the folder and stays."""
    run = subprocess.Popen(
        [sys.executable, "-c", RUN_UNTIL_KILLED, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert run.stdout is not None
    with run.stdout as said:
        assert said.readline() == "started\n"
    return run


def servers_of(folder: Path) -> list[psutil.Process]:
    return processes_in(folder / "postgres", ["postgres"]) + processes_in(folder / "redis", ["redis-server"])


async def one_from(url: str) -> int:
    """By the driver, as the product connects."""
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval("SELECT 1"))
    finally:
        await connection.close()


def kept(folder: Path) -> tuple[str, bytes]:
    """What an earlier run wrote, read by a start of our own."""
    with Embedded(folder) as servers:
        return servers.postgres.query("SELECT count(*) FROM kept", "gigarouter"), servers.redis.command("GET kept")


def test_servers_end_with_their_parent_and_the_next_start_has_their_data(folder: Path) -> None:
    run = a_run(folder)
    assert servers_of(folder)
    run.kill()
    run.wait()
    if sys.platform == "linux":
        deadline = time.monotonic() + 30
        while servers_of(folder) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not servers_of(folder), "the kernel tells them that their parent died"
    assert kept(folder) == ("1", b"$1\r\n1\r\n")


def test_a_start_recovers_from_kill_9_of_every_process(folder: Path) -> None:
    run = a_run(folder)
    for process in [*servers_of(folder), psutil.Process(run.pid)]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    run.wait()
    assert (folder / "postgres" / "postmaster.pid").exists(), "nobody had the time to tidy up"
    assert kept(folder)[0] == "1"


def test_a_start_ends_what_a_killed_postmaster_left(folder: Path) -> None:
    run = a_run(folder)
    family = processes_in(folder / "postgres", ["postgres"])
    postmaster = next(process for process in family if "-D" in process.cmdline())
    for process in family:
        process.suspend()  # a backend that is stuck does not notice that its postmaster died
    postmaster.kill()
    run.kill()
    run.wait()
    assert kept(folder)[0] == "1"
    assert not servers_of(folder)


def test_a_stale_pid_that_is_another_process_now_is_left_alone(folder: Path) -> None:
    # Of the cluster's own user: the process that PostgreSQL would take for another postmaster.
    owner = (folder / "postgres").stat().st_uid
    bystander = subprocess.Popen(["sleep", "600"], user=owner if os.geteuid() == 0 else None)
    try:
        (folder / "postgres" / "postmaster.pid").write_text(
            f"{bystander.pid}\n{folder}/postgres\n0\n5432\n\n\n\nready\n"
        )
        with Embedded(folder) as servers:
            assert servers.postgres.query("SELECT 1") == "1"
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_half_made_cluster_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    half = folder / "postgres.making"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    with Embedded(folder) as servers:
        assert servers.postgres.query("SELECT 1") == "1"
    assert not half.exists()


def test_unreadable_redis_data_is_set_aside_and_redis_starts_empty(folder: Path) -> None:
    with Embedded(folder) as servers:
        servers.redis.command("SET balance 1")
    appended = [path for path in (folder / "redis").rglob("*.aof") if path.stat().st_size]
    assert appended, "it was written"
    appended[0].write_bytes(b"*3\r\n$3\r\nSET\r\n$-7\r\nnonsense\r\n" + appended[0].read_bytes())
    with Embedded(folder) as servers:
        assert servers.redis.command("GET balance") == b"$-1\r\n"
    assert list(folder.glob("redis.unreadable-*"))


def test_redis_keeps_its_keys_when_memory_is_short(folder: Path) -> None:
    with Embedded(folder) as servers:
        assert b"noeviction" in servers.redis.command("CONFIG GET maxmemory-policy")


def test_a_dead_server_is_started_again_with_its_data(folder: Path) -> None:
    with Embedded(folder) as servers:
        servers.postgres.query("CREATE TABLE kept (n int)")
        assert servers.postgres.pid is not None
        assert servers.redis.pid is not None
        os.kill(servers.postgres.pid, signal.SIGKILL)
        os.kill(servers.redis.pid, signal.SIGKILL)
        while servers.postgres.pid is not None or servers.redis.pid is not None:
            time.sleep(0.01)
        servers.restart_dead()
        assert servers.postgres.query("SELECT count(*) FROM kept") == "0"
        assert servers.redis.command("PING") == b"+PONG\r\n"


def test_a_program_that_was_killed_is_told_from_one_that_failed(folder: Path) -> None:
    """What keeps failing by itself ends a start; what somebody kills is tried again."""
    with Embedded(folder) as servers:
        refused: list[Unavailable] = []

        def query(sql: str) -> None:
            try:
                servers.postgres.query(sql)
            except Unavailable as fault:
                refused.append(fault)

        thread = threading.Thread(target=query, args=("SELECT pg_sleep(60)",))
        thread.start()
        until = time.monotonic() + 20
        while not (found := [p for p in psutil.Process().children(recursive=True) if p.name() == "psql"]):
            assert time.monotonic() < until
            time.sleep(0.01)
        found[0].kill()
        thread.join(20)
        query("nonsense")
    assert [type(fault) for fault in refused] == [Killed, Unavailable]


def test_a_folder_with_a_long_path_gets_sockets_in_a_short_private_one(first_start: Path, tmp_path: Path) -> None:
    folder = tmp_path / ("a" * 60) / ("b c" * 20)
    folder.parent.mkdir()
    subprocess.run(["cp", "-a", first_start, folder], check=True)
    with Embedded(folder) as servers:
        assert len(os.fsencode(servers.sockets / ".s.PGSQL.5432")) <= SOCKET_PATH_BYTES_MAX
        assert servers.sockets.stat().st_mode & 0o777 == 0o700
        assert asyncio.run(one_from(servers.database_url)) == 1
    shutil.rmtree(servers.sockets)


def test_a_short_socket_folder_that_others_can_open_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = tmp_path / ("a" * 100)
    folder.mkdir()
    socket_folder(folder).chmod(0o777)
    with pytest.raises(CannotStart, match="open to others"):
        socket_folder(folder)


def test_a_cluster_of_another_major_version_is_refused_with_a_sentence(folder: Path) -> None:
    (folder / "postgres" / "PG_VERSION").write_text("42\n")
    with pytest.raises(CannotStart, match="was written by PostgreSQL 42"):
        Embedded(folder).start()
    assert not servers_of(folder), "Redis does not stay behind"


def test_a_platform_without_our_postgres_is_refused_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.embedded.postgres_server.find_spec", lambda _: None)
    with pytest.raises(CannotStart, match="no embedded PostgreSQL for this platform"):
        EmbeddedPostgres(tmp_path / "postgres", tmp_path, tmp_path / "log").launch()


def test_nothing_listens_on_a_network(folder: Path) -> None:
    with Embedded(folder) as servers:
        for process in [psutil.Process(servers.postgres.pid), psutil.Process(servers.redis.pid)]:
            assert not [c for c in process.net_connections() if c.family != socket.AF_UNIX]
