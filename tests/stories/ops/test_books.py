"""Finance reads whether the books are right and what was changed in the ledger; a debtor reads what is owed."""

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from billing.books import Check
from store.embedded import Embedded
from store.ids import AccountId, wire
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
    # What providers bill is compared every night by itself; with Stripe there is nothing to compare.
    (run,) = finance("GET", "/finance/reconciliations")["data"]
    assert (run["kind"], run["state"], run["requested_by"]) == ("providers", "done", "process:jobs")
    refused = finance("POST", "/finance/reconciliations", {"kind": "stripe"}, expects=503)
    assert refused["error"]["code"] == "payments_not_configured"


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
        by_command = admin_command(product.environment, "ledger", "verify", "--json", exits=1)
        assert by_command["wrong_batch"] == 1
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


def test_finance_closes_a_month_by_commands(product: Product, finance: Operator) -> None:
    month = (datetime.now(UTC).replace(day=1) - timedelta(days=1)).strftime("%Y-%m")
    path = f"/finance/close/{month}"

    def command(*words: str) -> Any:
        return admin_command(product.environment, "close", *words, "--json")

    def states() -> set[str]:
        return {item["state"] for item in command("status", month)["checklist"]}

    assert command("status", month)["state"] == "open"
    finance("POST", f"{path}/finish", {}, expects=409)
    finance("POST", f"/finance/close/{datetime.now(UTC):%Y-%m}/start", {}, expects=400)
    finance("POST", "/finance/close/2026-13/start", {}, expects=404)
    assert command("start", month)["state"] == "closing"
    finance("POST", f"{path}/sign-off", {"item": "chain_sealed", "reason": "x"}, expects=409)
    finance("POST", f"{path}/sign-off", {"item": "weather", "reason": "x"}, expects=400)
    command("sign-off", month, "stripe_is_clearing", "--reason", "there is no Stripe")
    assert until(lambda: states() == {"green"}, 60), command("status", month)
    assert finance("GET", f"{path}/papers")["final"] is False
    assert finance("POST", f"{path}/finish", {})["state"] == "closing"
    assert until(lambda: bool(command("status", month)["state"] == "closed"), 60), command("status", month)
    closed = command("list")["data"]
    assert [row["month"] for row in closed] == [month]
    papers = finance("GET", f"{path}/papers")
    assert papers["final"]
    heads = [row["batch"] for row in papers["tables"]["chain_head"]]
    assert heads == [batch for batch in [command("status", month)["head"]["batch"]] if batch]
    csv = finance.ask("GET", f"{path}/papers?table=trial_balance&format=csv").text
    assert csv.startswith("code,ledger_account,detail,opening,movement,closing")
    finance("GET", f"{path}/papers?table=none", expects=400)
    assert command("late", month)["data"] == []
    for verb in ("start", "finish"):
        finance("POST", f"{path}/{verb}", {}, expects=409)


def test_a_write_of_money_over_http_needs_a_key(product: Product, finance: Operator) -> None:
    account = wire(AccountId, product.database.an_account(0))
    url, bearer = f"{finance.url}/admin/v1/accounts/{account}/grants", {"authorization": f"Bearer {finance.key}"}
    body = {"amount_usd": "1.00", "source": "keyless"}
    refused = httpx.post(url, json=body, headers=bearer)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "idempotency_key_invalid"), refused.text
    # A dry run books nothing, and says what would be booked.
    legs = [
        row["ledger_account"] for row in httpx.post(f"{url}?dry_run=1", json=body, headers=bearer).json()["entries"]
    ]
    assert legs == ["customer_credit", "promotional_contra"]
    done = [httpx.post(url, json=body, headers={**bearer, "idempotency-key": "one"}) for _ in range(2)]
    assert [(one.status_code, one.json()["id"]) for one in done] == [(201, done[0].json()["id"])] * 2


def test_a_credit_line_is_lent_and_taken_back_by_commands(product: Product, finance: Operator) -> None:
    account = wire(AccountId, product.database.an_account(0))
    path = f"/finance/lines/{account}"

    def command(*words: str) -> Any:
        return admin_command(product.environment, "lines", *words, "--json")

    finance("GET", path, expects=404)
    assert command("open", account, "500")["available_usd"] == "500.00"
    finance("POST", f"{path}/open", {"limit_usd": "500.00"}, expects=409)
    for wrong in ("0", "-1", "1e9", "5.0000000001"):
        assert finance.ask("POST", f"{path}/open", {"limit_usd": wrong}).status_code == 400
    finance.edit(path, {"limit_usd": "9000001"}, expects=400)
    assert finance.edit(path, {"limit_usd": "700"})["available_usd"] == "700.00"
    finance.edit(path, {"limit_usd": "200", "terms_days": 14})
    assert until(lambda: bool(command("show", account)["available_usd"] == "200.00"), 40)
    assert finance("GET", f"/accounts/{account}")["credit_usd"] == "200.00"
    command("end", account)
    assert until(lambda: bool(command("show", account)["available_usd"] == "0.00"), 40)
    finance("POST", f"{path}/end", {}, expects=200)
    finance("POST", "/finance/receivables/recv_" + "0" * 32 + "/pay", {"source": "wire:1"}, expects=404)
