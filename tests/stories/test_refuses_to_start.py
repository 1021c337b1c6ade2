"""`serve` and `jobs` would rather not start than lose money: one sentence on the terminal that says what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from gigarouter.schema import migrate
from store.embedded import Embedded

ROOT = Path(__file__).parents[2]


def start(process: str, **environment: str) -> str:
    """What the process says, after it has ended with code 1 and without a traceback."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("GIGAROUTER_", "DATABASE_"))}
    done = subprocess.run(
        [sys.executable, "-m", "gigarouter", process],
        cwd=ROOT,
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture
def complete(database_url: str, redis_url: str) -> dict[str, str]:
    """Settings with which it would start."""
    key = Fernet.generate_key().decode()
    return {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "GIGAROUTER_SECRET_KEYS": key}


@pytest.mark.parametrize(
    ("process", "missing"),
    [("serve", "DATABASE_URL"), ("serve", "REDIS_URL"), ("serve", "GIGAROUTER_SECRET_KEYS"), ("jobs", "DATABASE_URL")],
)
def test_a_setting_that_is_missing_is_named(complete: dict[str, str], process: str, missing: str) -> None:
    said = start(process, **{name: value for name, value in complete.items() if name != missing})
    assert f"gigarouter: {missing} is not set" in said


def test_a_misspelled_setting_is_named(complete: dict[str, str]) -> None:
    assert "GIGAROUTER_DURABLITY is set, but there is no such setting." in start("serve", GIGAROUTER_DURABLITY="memory")


def test_a_redis_that_evicts_is_refused(complete: dict[str, str], servers: Embedded) -> None:
    servers.redis.command("CONFIG SET maxmemory-policy allkeys-lru")
    try:
        said = start("serve", **complete)
    finally:
        servers.redis.command("CONFIG SET maxmemory-policy noeviction")
    assert "Redis runs with maxmemory-policy allkeys-lru, which deletes balances" in said


def test_a_schema_that_is_not_migrated_is_refused(
    complete: dict[str, str], servers: Embedded, request: pytest.FixtureRequest
) -> None:
    servers.postgres.query('CREATE DATABASE "empty"')
    request.addfinalizer(lambda: servers.postgres.query('DROP DATABASE "empty"'))
    said = start("serve", **complete | {"DATABASE_URL": servers.postgres.url("empty")})
    assert "The schema of empty is at nothing" in said
    assert "run `gigarouter migrate`" in said


@pytest.mark.parametrize("process", ["serve", "migrate"])
def test_a_schema_of_a_newer_release_is_refused(complete: dict[str, str], servers: Embedded, process: str) -> None:
    name = complete["DATABASE_URL"].split("?")[0].rsplit("/", 1)[1]
    servers.postgres.query("UPDATE alembic_version SET version_num = '9999'", name)
    assert "was migrated to 9999 by a newer release" in start(process, **complete)


def test_servers_that_cannot_be_reached_are_named(complete: dict[str, str], tmp_path: Path) -> None:
    said = start("serve", **complete | {"DATABASE_URL": f"postgresql://u:hunter2@/x?host={tmp_path}"})
    assert "PostgreSQL (DATABASE_URL) cannot be reached" in said
    assert "hunter2" not in said


def test_migrating_twice_changes_nothing_and_two_at_once_wait_for_each_other(
    servers: Embedded, request: pytest.FixtureRequest
) -> None:
    servers.postgres.query('CREATE DATABASE "twice"')
    request.addfinalizer(lambda: servers.postgres.query('DROP DATABASE "twice" WITH (FORCE)'))
    url = servers.postgres.url("twice")
    migrating = [
        subprocess.Popen(
            [sys.executable, "-m", "gigarouter", "migrate"], cwd=ROOT, env=os.environ | {"DATABASE_URL": url}
        )
        for _ in range(2)
    ]
    assert [process.wait(120) for process in migrating] == [0, 0]
    migrate(url)
