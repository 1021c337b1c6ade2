"""Finance exports a month while everything runs, and a killed `jobs` goes on where it was."""

import hashlib
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from store.embedded import Embedded
from tests.harness.admin_client import Operator, admin_command, an_operator
from tests.harness.fake_upstream import Upstream
from tests.harness.processes import Product

MODEL = "acme/exports"


@pytest.fixture(scope="module")
def product(servers: Embedded, module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    servers.redis.command("FLUSHALL")
    with (
        Upstream().in_thread() as upstream,
        Product(tmp_path_factory.mktemp("exports"), module_database_url, servers.redis_url) as running,
    ):
        running.database.an_endpoint(running.database.a_model(MODEL), upstream.base_url)
        yield running


@pytest.fixture(scope="module")
def finance(product: Product) -> Operator:
    return an_operator(product.environment, product.serves[0].admin_url, "finance_admin")


def done(finance: Operator, export: Any, within_s: float = 60) -> Any:
    deadline = time.monotonic() + within_s
    while (shown := finance("GET", f"/finance/exports/{export['id']}"))["state"] in ("queued", "running"):
        assert time.monotonic() < deadline, shown
        time.sleep(0.1)
    assert shown["state"] == "done", shown
    return shown


def test_an_export_is_written_by_jobs_and_taken_up_by_those_that_come_after_a_kill(
    product: Product, finance: Operator
) -> None:
    key = product.wait_until_known(product.database.a_key(product.database.an_account(1_000_000)))
    call = {"model": MODEL, "input": "text"}
    for _ in range(3):
        answer = httpx.post(f"{product.url}/embeddings", json=call, headers={"authorization": f"Bearer {key}"})
        assert answer.status_code == 200, answer.text
    body = {"kind": "usage", "format": "parquet", "from": "2026-01-01"}
    shown = done(finance, finance("POST", "/finance/exports", body, 201))
    [file] = shown["files"]
    assert (file["rows"], file["sums"]["tokens"]) == (3, str(sum_of(finance)))
    answer = finance.ask("GET", f"/finance/exports/{shown['id']}/files/{file['name']}")
    assert hashlib.sha256(answer.content).hexdigest() == file["sha256"]

    assert product.jobs is not None
    product.jobs.kill()
    journal = admin_command(product.environment, "exports", "create", "journal", "hledger", "--period", "2026-11")
    # As the killed process left it, in the middle of its first run.
    product.database.rows(
        "UPDATE exports SET state = 'running', runs = 1, started_at = now(), lease_until = now() + interval '2 s'"
        f" WHERE id = '{journal['id'].removeprefix('export_')}'"
    )
    product.jobs.start()
    shown = done(finance, journal)
    assert {file["name"].partition("-")[0] for file in shown["files"]} == {"opening", "journal", "closing", "main"}
    assert shown["manifest"]["chain_head"] is None or shown["manifest"]["chain_head"]["batch"] >= 1


def sum_of(finance: Operator) -> int:
    return int(finance("GET", "/usage?group_by=model")["totals"]["tokens"])
