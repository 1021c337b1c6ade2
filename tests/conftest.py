"""Real PostgreSQL and Redis for the tests: one pair per run, in a folder of the run's own, never the user's.

The migrations run once, into a template; each test that asks gets a fresh copy of it (some 30 ms:
its files are copied, for half of what it costs to write their pages to the log) and an empty Redis.
"""

import gc
import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from typer import main, testing
from typer.main import get_command

from gigarouter.schema import migrate
from store.embedded import Embedded
from tests.harness import loopback_only, memory_folder
from tests.harness.longest import longest_first

# Before torch is imported, here or in a process of ours: on a machine that is busy, two threads of it wait for each
# other more than they compute (a worker is ready after 20 s instead of 7, and uses twice the time of the cores).
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The world's authorities take each client and each process 18 ms to load, and nothing here leaves this machine. Of this
# one nobody has the key.
os.environ["SSL_CERT_FILE"] = str(Path(__file__).parent / "harness" / "authority.pem")

# Until all tests are collected, see below.
gc.disable()

# An application and its runner make all of its commands anew for each run (60 ms: `admin` has two hundred).
vars(main)["get_command"] = vars(testing)["_get_command"] = cache(get_command)

# At once, for the processes beside this one inherit it.
_in_memory = memory_folder.make()

TEMPLATE = "migrated"
_numbers = itertools.count(1)


def pytest_configure() -> None:
    # `make test &` starts with SIGINT ignored; it can be ended, and what it starts inherits nothing strange.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    loopback_only.install()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin with the longest, after pytest-randomly has ordered, and before the processes tell their order."""
    session.items[:] = longest_first(session.items)
    _leave_out_of_collection()


def _leave_out_of_collection() -> None:
    """Take what was imported and collected out of garbage collection, since it lives until the end.

    Walking it again and again, and once more at the exit, was half of what collecting cost each process (9 s of 17 s).
    """
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    if _in_memory is not None:
        shutil.rmtree(_in_memory, ignore_errors=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The order's seed; ``-q`` leaves out the header where pytest-randomly says it."""
    seed = terminalreporter.config.getoption("randomly_seed", None)
    terminalreporter.write_line(f"The order was random; --randomly-seed={seed} repeats it.")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The product runs on asyncio alone."""
    return "asyncio"


@pytest.fixture(scope="session")
def servers() -> Iterator[Embedded]:
    """This run's own PostgreSQL and Redis, gone with their data at its end."""
    folder = Path(tempfile.mkdtemp(prefix="gr-test-"))
    try:
        with Embedded(folder) as running:
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def template(servers: Embedded) -> str:
    """The name of a database with the newest schema and no rows."""
    servers.postgres.ensure_database(TEMPLATE)
    migrate(servers.postgres.url(TEMPLATE))
    return TEMPLATE


def _fresh_database(servers: Embedded, template: str) -> Iterator[str]:
    name = f"test_{next(_numbers)}"
    servers.postgres.query(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
    yield servers.postgres.url(name)
    servers.postgres.query(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def database_url(servers: Embedded, template: str) -> Iterator[str]:
    """A migrated, empty database for this test alone."""
    yield from _fresh_database(servers, template)


@pytest.fixture(scope="module")
def module_database_url(servers: Embedded, template: str) -> Iterator[str]:
    """A migrated, empty database that the tests of one module share."""
    yield from _fresh_database(servers, template)


@pytest.fixture
def redis_url(servers: Embedded) -> str:
    """The run's Redis, emptied (data, scripts) before this test."""
    servers.redis.command("FLUSHALL")
    servers.redis.command("SCRIPT FLUSH")
    return servers.redis_url
