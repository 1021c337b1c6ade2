"""`gigarouter doctor` finds what is wrong, says what to do, and changes nothing."""

import json
from urllib.parse import urlsplit

import pytest
import typer
from cryptography.fernet import Fernet
from typer.testing import CliRunner

from gigarouter.commands import doctor
from store.embedded import Embedded
from tests.builders.database import DatabaseBuilder
from tests.harness.fake_upstream import Upstream
from tests.harness.processes import Product

app = typer.Typer()
app.command()(doctor.command)


def see(environment: dict[str, str], exits: int) -> dict[str, dict[str, str]]:
    """What the doctor says, by check."""
    result = CliRunner().invoke(app, [], env=environment)
    assert result.exit_code == exits, f"{result.output}\n{result.exception!r}"
    return {finding["check"]: finding for finding in json.loads(result.stdout)["data"]}


@pytest.fixture
def environment(database_url: str, redis_url: str) -> dict[str, str]:
    environment = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "GIGAROUTER_PORT": "1"}
    return environment | {"GIGAROUTER_SECRET_KEYS": Fernet.generate_key().decode()}


def failing(findings: dict[str, dict[str, str]]) -> set[str]:
    return {check for check, finding in findings.items() if not finding["ok"]}


def test_a_running_product_is_well(
    servers: Embedded, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    servers.redis.command("FLUSHALL")
    with Upstream(8).in_thread() as upstream:
        product = Product(tmp_path_factory.mktemp("doctor"), database_url, servers.redis_url)
        product.database.an_endpoint(product.database.a_model("tests/one"), upstream.base_url)
        product.database.an_account(1_000_000)
        with product:
            serve = product.serves[0]
            ports = {"GIGAROUTER_PORT": str(serve.port), "GIGAROUTER_ADMIN_PORT": str(serve.admin_port)}
            findings = see(product.environment | ports, exits=0)
            inside = see(product.environment | {"GIGAROUTER_PORT": str(serve.admin_port)}, exits=1)["admin and metrics"]
    assert findings["provider upstream"]["says"] == "1 live endpoint, reachable"
    assert findings["processes"]["says"] == "1 jobs, 1 serve"
    assert findings["admin and metrics"]["says"].startswith(f"{serve.admin_url}/admin/v1 and /metrics")
    assert "/metrics answers there" in inside["says"], "a port for customers that is none"


def test_what_does_not_run_is_named_with_the_command_that_starts_it(environment: dict[str, str]) -> None:
    findings = see(environment, exits=1)
    assert failing(findings) == {"API", "admin and metrics", "processes", "endpoints"}
    assert "gigarouter serve" in findings["processes"]["do"]


def test_servers_that_are_away_are_told_apart(environment: dict[str, str]) -> None:
    findings = see(environment | {"REDIS_URL": "redis://127.0.0.1:1"}, exits=1)
    assert "cannot be reached" in findings["Redis"]["says"]
    assert findings["PostgreSQL"]["ok"]
    assert "balances" not in findings
    findings = see(environment | {"DATABASE_URL": "postgresql://127.0.0.1:1/x"}, exits=1)
    assert failing(findings) == {"API", "admin and metrics", "PostgreSQL"}
    assert "ledger" not in findings


def test_a_redis_that_evicts_and_a_schema_that_is_not_there_are_found(
    environment: dict[str, str], servers: Embedded
) -> None:
    servers.redis.command("CONFIG SET maxmemory-policy allkeys-lru")
    try:
        assert "noeviction" in see(environment, exits=1)["Redis"]["says"]
    finally:
        servers.redis.command("CONFIG SET maxmemory-policy noeviction")
    empty = see(environment | {"DATABASE_URL": servers.postgres.url("postgres")}, exits=1)
    assert "gigarouter migrate" in empty["schema"]["says"]


def test_a_ledger_that_was_changed_by_hand_is_found(environment: dict[str, str], servers: Embedded) -> None:
    DatabaseBuilder(environment["DATABASE_URL"], environment["GIGAROUTER_SECRET_KEYS"]).an_account(25_000_000_000)
    name = urlsplit(environment["DATABASE_URL"]).path.lstrip("/")
    servers.postgres.query("SET session_replication_role = replica; DELETE FROM postings WHERE amount_nano > 0", name)
    ledger = see(environment, exits=1)["ledger"]
    assert ledger["says"] == "it sums to -25.00 USD and 1 entries do not sum to zero"
    assert "stop `serve`" in ledger["do"]


def test_a_balance_in_redis_that_is_not_postgres_is_found(environment: dict[str, str], servers: Embedded) -> None:
    database = DatabaseBuilder(environment["DATABASE_URL"], environment["GIGAROUTER_SECRET_KEYS"])
    account = database.an_account(25_000_000_000)
    servers.redis.command(f"HSET gr:{{{account.hex}}} loaded 1 ver 1 bal 99000000000 gen 1")
    balances = see(environment, exits=1)["balances"]
    assert f"acct_{account.hex}: 99.00 and 25.00 USD" in balances["says"]


def test_credentials_under_a_lost_secret_key_are_named(environment: dict[str, str]) -> None:
    database = DatabaseBuilder(environment["DATABASE_URL"], environment["GIGAROUTER_SECRET_KEYS"])
    database.an_endpoint(database.a_model("tests/one"), "http://127.0.0.1:1", name="alpha")
    assert see(environment, exits=1)["credentials"]["ok"]
    lost = see(environment | {"GIGAROUTER_SECRET_KEYS": Fernet.generate_key().decode()}, exits=1)
    assert "alpha" in lost["credentials"]["says"]
    assert "cannot be reached" in lost["provider alpha"]["says"]
