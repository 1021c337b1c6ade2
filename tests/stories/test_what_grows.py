"""docs/growth.md has every table, Redis key and file that there is, each with a test that exists."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from store.embedded import Embedded
from tests.harness.fake_upstream import Upstream
from tests.harness.processes import ROOT, Product

PARTITION = re.compile(r"(usage_events|routes|ended_calls|entries|postings|grant_uses)_\d+")
MODEL = "tests/grows"

# Rows whose time is over, of each table that a job prunes, and what must then be left of them.
OVERDUE = {
    "idempotency": """
        INSERT INTO idempotency (account_id, key, operation, body_hash, request_id, state, expires_at, lease_until)
        VALUES (gen_random_uuid(), 'k', 'embeddings', '', gen_random_uuid(), 'running', now() - interval '1 s', now())
    """,
    "kept_outcomes": "INSERT INTO kept_outcomes VALUES (gen_random_uuid(), now() - interval '1 s', true, 1, 1024)",
    "old_secrets": """
        INSERT INTO old_secrets (digest, key_id, works_until)
        SELECT sha256('old'), id, now() - interval '25 hours' FROM keys LIMIT 1
    """,
    "processes": """
        INSERT INTO processes (id, kind, seen_at) VALUES (gen_random_uuid(), 'jobs', now() - interval '2 days')
    """,
    "stripe_events": """
        INSERT INTO stripe_events (id, type, subject, source, received_at)
        VALUES ('evt_1', 'payout.paid', 'payout:po_1', 'list', now() - interval '91 days')
    """,
    "stripe_work": """
        INSERT INTO stripe_work (subject, done, due_at) VALUES ('payout:po_1', 1, now() - interval '91 days')
    """,
    "hot_accounts": "INSERT INTO hot_accounts (generation, account_id) VALUES (-100, gen_random_uuid())",
    "sign_in_codes": """
        INSERT INTO sign_in_codes (id, email, browser_digest, code_digest, link_digest, created_at, expires_at)
        SELECT gen_random_uuid(), 'a@example.com', sha256('b'), sha256('c'), sha256('l'), at - interval '1 s', at
        FROM (SELECT now() - interval '25 hours' AS at) old
    """,
    "sign_in_counts": "INSERT INTO sign_in_counts VALUES (substr(sha256('b'), 1, 16), now() - interval '2 hours', 1)",
    "passkey_challenges": """
        INSERT INTO passkey_challenges VALUES (sha256('c'), sha256('b'), 'sign_in', NULL, now() - interval '2 hours')
    """,
    "sessions": """
        WITH person AS (INSERT INTO people (id, email) VALUES (gen_random_uuid(), 'a@example.com') RETURNING id)
        INSERT INTO sessions (id, digest, person_id, method, device, network, expires_at)
        SELECT gen_random_uuid(), sha256('s'), id, 'code', '', '', now() - interval '91 days' FROM person
    """,
}
LEFT = {
    "idempotency": "SELECT count(*) FROM idempotency WHERE expires_at < now()",
    "kept_outcomes": "SELECT count(*) FROM kept_outcomes WHERE gone_at < now()",
    "old_secrets": "SELECT count(*) FROM old_secrets",
    "processes": "SELECT count(*) FROM processes WHERE seen_at < now() - interval '1 day'",
    "stripe_events": "SELECT count(*) FROM stripe_events WHERE received_at < now() - interval '90 days'",
    "stripe_work": "SELECT count(*) FROM stripe_work WHERE due_at < now() - interval '90 days'",
    "hot_accounts": "SELECT count(*) FROM hot_accounts WHERE generation < 0",
    "sign_in_codes": "SELECT count(*) FROM sign_in_codes",
    "sign_in_counts": "SELECT count(*) FROM sign_in_counts",
    "passkey_challenges": "SELECT count(*) FROM passkey_challenges",
    "sessions": "SELECT count(*) FROM sessions",
}


def rows() -> list[list[str]]:
    lines = (ROOT / "docs" / "growth.md").read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")][1:]


def named(pattern: str = r"`([^`]+)`") -> set[str]:
    """What stands between backticks in the first cells."""
    return {name for row in rows() for name in re.findall(pattern, row[0])}


@pytest.fixture(scope="module")
def product(
    servers: Embedded, module_database_url: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    servers.redis.command("FLUSHALL")
    product = Product(tmp_path_factory.mktemp("grows"), module_database_url, servers.redis_url)
    model = product.database.a_model(MODEL)
    product.database.an_endpoint(model, upstream.base_url, requests_per_minute=1_000, concurrency=10)
    product.database.a_key(product.database.an_account(0))
    for table, statement in OVERDUE.items():
        product.database.rows(statement)
        assert product.database.value(LEFT[table]) == 1
    with product:
        yield product


def test_every_row_has_a_bound_and_a_test_that_exists() -> None:
    for row in rows():
        assert len(row) == 4, row[0]
        assert all(row), row[0]
        (test,) = re.findall(r"`(tests/[^`]+)`", row[3])
        assert (ROOT / test).is_file(), test


def test_every_table_is_in_the_document_and_no_other(product: Product) -> None:
    query = "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public'"
    tables = {row["name"] for row in product.database.rows(query)}
    tables = {name for name in tables if not PARTITION.fullmatch(name)}
    told = {name for name in named() if re.fullmatch(r"[a-z_]+", name)}
    assert tables == told


@pytest.mark.parametrize("table", OVERDUE)
def test_what_has_had_its_time_is_deleted_by_jobs(product: Product, table: str) -> None:
    until = time.monotonic() + 20
    while product.database.value(LEFT[table]):
        assert time.monotonic() < until, table
        time.sleep(0.1)


def test_every_key_of_redis_is_in_the_document(product: Product, servers: Embedded) -> None:
    account = product.database.an_account(10**9)
    key = product.wait_until_known(product.database.a_key(account))
    for n in range(5):
        answer = httpx.post(
            f"{product.url}/embeddings",
            json={"model": MODEL, "input": "a text"},
            headers={"authorization": f"Bearer {key}", "idempotency-key": f"n{n}"},
        )
        assert answer.status_code == 200, answer.text
    hexadecimal = re.compile(r"account|endpoint")
    shapes = [
        re.compile(hexadecimal.sub("[0-9a-f]{32}", re.escape(name))) for name in named() if name.startswith("gr:")
    ]
    # RESP: a line with the length of each key stands before it.
    keys = [line for line in servers.redis.command("KEYS *").decode().split("\r\n")[1:] if line[:1] not in ("$", "")]
    found = {next((shape.pattern for shape in shapes if shape.fullmatch(name)), name) for name in keys}
    assert found <= {shape.pattern for shape in shapes}
    assert len(found) >= 3, keys


def test_up_writes_no_log_but_those_in_the_document() -> None:
    written = {path for path in Path(ROOT / "gigarouter").rglob("*.py") if '.log"' in path.read_text()}
    assert {path.name for path in written} <= {"up.py", "supervise.py"}
    assert "logs/*.log" in named()
