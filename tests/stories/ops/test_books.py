"""Finance reads whether the books are right and what was changed in the ledger; a debtor reads what is owed."""

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import httpx
import pytest

from billing.books import Check
from store.embedded import Embedded
from store.postgres import Database
from tests.builders.billing import charge_as_older_release
from tests.harness.admin_client import Operator, admin_command, an_operator
from tests.harness.fake_upstream import Upstream
from tests.harness.processes import Product

MODEL = "acme/books"


@pytest.fixture(scope="module")
def product(servers: Embedded, module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    servers.redis.command("FLUSHALL")
    with (
        Upstream().in_thread() as upstream,
        Product(tmp_path_factory.mktemp("books"), module_database_url, servers.redis_url) as running,
    ):
        model = running.database.a_model(MODEL)
        running.database.an_endpoint(model, upstream.base_url)
        yield running


@pytest.fixture(scope="module")
def finance(product: Product) -> Operator:
    return an_operator(product.environment, product.serves[0].admin_url, "finance_admin")


def until(is_so: Callable[[], bool], within_s: float) -> bool:
    end = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.5)
    return True


def test_the_books_are_checked_and_sealed_by_themselves(product: Product, finance: Operator) -> None:
    key = product.wait_until_known(product.database.a_key(product.database.an_account(1_000_000)))
    call = {"model": MODEL, "input": "text"}
    answer = httpx.post(f"{product.url}/embeddings", json=call, headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == 200, answer.text
    booked = product.database.value("SELECT count(*) FROM entries")

    assert until(lambda: finance("GET", "/ledger:verify")["entries"] >= booked, 30), "a job seals every ten seconds"
    assert until(lambda: all(row["wrong"] is not None for row in finance("GET", "/books")["data"]), 30)
    books = finance("GET", "/books")
    assert books["ok"], books
    assert [row["check"] for row in books["data"]] == [check.value for check in Check]
    assert books["head"] == finance("GET", "/ledger:verify")["head"]
    assert admin_command(product.environment, "books", "show", "--json")["ok"]

    def metrics() -> dict[str, float]:
        exposed = httpx.get(f"{product.serves[0].admin_url}/metrics").text
        return {
            check: float(value)
            for check, value in re.findall(r'^gigarouter_books_wrong{check="(\w+)"} (\S+)', exposed, re.M)
        }

    assert until(lambda: metrics() == dict.fromkeys((check.value for check in Check), 0.0), 40)


def test_the_first_wrong_batch_is_named_over_http_and_by_the_command(product: Product, finance: Operator) -> None:
    product.database.an_account(1_000)
    booked = product.database.value("SELECT count(*) FROM entries")
    assert until(lambda: finance("GET", "/ledger:verify")["entries"] >= booked, 30)
    entry = product.database.value("SELECT id FROM entries ORDER BY xact, id LIMIT 1")
    product.database.rows("ALTER TABLE entries DISABLE TRIGGER USER")
    product.database.rows("UPDATE entries SET note = 'it never was' WHERE id = $1", entry)
    try:
        found = finance("GET", "/ledger:verify")
        assert (found["ok"], found["wrong_batch"]) == (False, 1)
        assert "not those that were sealed" in found["message"]
        assert admin_command(product.environment, "ledger", "verify", "--json")["wrong_batch"] == 1
    finally:
        product.database.rows("UPDATE entries SET note = '' WHERE id = $1", entry)
        product.database.rows("ALTER TABLE entries ENABLE TRIGGER USER")
    assert finance("GET", "/ledger:verify")["ok"]


def test_an_account_in_debt_is_told_what_it_owes_until_credit_has_paid_it(product: Product) -> None:
    account = product.database.an_account(1_000)
    key = product.wait_until_known(product.database.a_key(account))
    headers = {"authorization": f"Bearer {key}"}

    async def serve_beyond_credit(work: object) -> None:
        await charge_as_older_release(Database(product.database.url), account, [(1_250, datetime.now(UTC))])

    product.database.as_owner(serve_beyond_credit)

    def call() -> httpx.Response:
        return httpx.post(f"{product.url}/embeddings", json={"model": MODEL, "input": "text"}, headers=headers)

    assert until(lambda: call().status_code == 402, 10)
    refused = call().json()["error"]
    assert "owes 0.00000025 USD" in refused["message"]
    assert refused["details"]["debt_usd"] == "0.00000025"
    shown = httpx.get(f"{product.url}/account", headers=headers).json()
    assert (shown["balance"], shown["debt"]) == ("0.00", "0.00000025")

    product.database.a_gift(account, 1_000_000)
    assert until(lambda: call().status_code == 200, 10)
    assert httpx.get(f"{product.url}/account", headers=headers).json()["debt"] == "0.00"
