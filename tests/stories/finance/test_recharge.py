"""A customer has credit bought by itself, with two jobs processes that race and die; and enters Stripe's portal."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import httpx
import pytest

from store.embedded import Embedded
from store.ids import AccountId, wire
from tests.harness.admin_client import admin_command
from tests.harness.fake_upstream import Upstream
from tests.harness.processes import Process, Product
from tests.harness.stripe_server import KEY, StripeServer
from tests.harness.stripe_webhooks import SECRET, deliver

MODEL = "acme/dear"
RULE = {"threshold_usd": "10.00", "amount_usd": "25.00", "month_max_usd": "100.00", "consented_by": "Ann Lee"}


@pytest.fixture(scope="module")
def stripe() -> Iterator[StripeServer]:
    with StripeServer() as running:
        yield running


@pytest.fixture(scope="module")
def product(
    servers: Embedded, module_database_url: str, stripe: StripeServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    servers.redis.command("FLUSHALL")
    settings = {"stripe_secret_key": KEY, "stripe_webhook_secrets": SECRET, "stripe_base_url": stripe.url}
    folder = tmp_path_factory.mktemp("recharge")
    with (
        Upstream().in_thread() as upstream,
        Product(folder, module_database_url, servers.redis_url, settings=settings) as running,
    ):
        model = running.database.a_model(MODEL, nano_per_mtok=10**12)
        running.database.an_endpoint(model, upstream.base_url)
        yield running


@pytest.fixture(scope="module")
def second_jobs(product: Product) -> Iterator[Process]:
    process = Process("jobs-2", ["gigarouter", "jobs"], product.environment, product.folder)
    process.start()
    yield process
    process.stop()


class Customer:
    """An account with a key that has bought 30.00 with a card that is saved, and consented to :data:`RULE`."""

    def __init__(self, product: Product, stripe: StripeServer, name: str) -> None:
        self.product, self.stripe = product, stripe
        self.account = product.database.an_account(0, name)
        self.key = product.wait_until_known(product.database.a_key(self.account))

    def ask(self, method: str, path: str, body: object = None, once: str | None = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.key}"} | ({"idempotency-key": once} if once else {})
        return httpx.request(method, f"{self.product.url}/account{path}", json=body, headers=headers, timeout=30)

    def buy(self) -> None:
        self.ask("POST", "/topups", {"amount_usd": "30.00", "save_card": True}, "buy")
        assert until(lambda: self.ask("GET", "/topups").json()["data"][0]["url"])
        url = str(self.ask("GET", "/topups").json()["data"][0]["url"])
        first = len(self.stripe.world.events)
        self.stripe.world.pay(url.rpartition("/")[2])
        deliver(self.product.serves[0].url, self.stripe.world.events[first:])
        assert until(lambda: self.balance() == 30)

    def consent(self, once: str = "consent", **changes: str) -> httpx.Response:
        wording = self.ask("GET", "/recharge").json()["wording"]
        return self.ask("POST", "/recharge", {**RULE, "wording": wording} | changes, once)

    def balance(self) -> Decimal:
        return Decimal(self.product.account(self.key)["balance"])

    def call(self) -> Decimal:
        headers = {"authorization": f"Bearer {self.key}"}
        body = {"model": MODEL, "input": "text " * 1_000}
        answer = httpx.post(f"{self.product.url}/embeddings", json=body, headers=headers, timeout=60)
        assert answer.status_code == 200, answer.text
        return Decimal(answer.headers["x-gigarouter-cost"])

    def spend_below(self, left: int) -> Decimal:
        """Call, many at once, until so much is left or less; what all of it cost."""
        cost = self.call()
        count = int((self.balance() - left) / cost) + 1
        with ThreadPoolExecutor(10) as calls:
            return cost + sum(calls.map(lambda _: self.call(), range(count)), Decimal(0))


def until(is_so: Callable[[], object], within_s: float = 40) -> bool:
    end = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def test_it_is_off_until_a_person_consents_and_buys_once_when_calls_cross_the_threshold(
    product: Product, stripe: StripeServer, second_jobs: Process
) -> None:
    customer = Customer(product, stripe, "Low")
    shown = customer.ask("GET", "/recharge").json()
    assert (shown["is_on"], shown["threshold_usd"], shown["under_way"]) == (False, None, None)
    no_card = customer.consent()
    assert (no_card.status_code, "save_card" in no_card.text) == (409, True)
    customer.buy()
    refused: list[tuple[dict[str, str], str]] = [
        ({"amount_usd": "4.99"}, "amount_usd"),
        ({"threshold_usd": "10000.01"}, "threshold_usd"),
        ({"month_max_usd": "24.99"}, "month_max_usd"),
        ({"consented_by": ""}, "consented_by"),
        ({"wording": "1999"}, "wording"),
        *[({"threshold_usd": amount}, "threshold_usd") for amount in ("0", "-1", "5.005", "1e9", "٣", "NaN")],
    ]
    for number, (change, param) in enumerate(refused):
        answer = customer.consent(f"refused {number}", **change)
        assert (answer.status_code, param in answer.json()["error"]["param"]) == (400, True), answer.text
    assert not customer.ask("GET", "/recharge").json()["is_on"]

    on = customer.consent().json()
    assert (on["is_on"], on["consent"]["by"], on["consent"]["words"]) == (True, "Ann Lee", on["words"])
    assert customer.consent().json() == on
    assert customer.consent(amount_usd="26.00").status_code == 422
    spent = customer.spend_below(9)
    assert until(lambda: customer.balance() == 55 - spent), customer.balance()
    topups = [(one["is_recharge"], one["status"]) for one in customer.ask("GET", "/topups").json()["data"]]
    assert topups == [(True, "paid"), (False, "paid")]
    assert customer.ask("GET", "/recharge").json()["month_bought_usd"] == "25.00"

    # It is switched off, and a repeated consent does not switch it on again.
    assert not customer.ask("POST", "/recharge/off").json()["is_on"]
    assert not customer.consent().json()["is_on"]
    account = wire(AccountId, customer.account)
    actions = [
        row["action"] for row in admin_command(product.environment, "audit", "list", "--account", account)["data"]
    ]
    assert actions[:2] == ["recharge.off", "recharge.on"]


def test_processes_that_die_after_stripe_acted_leave_one_payment(
    product: Product, stripe: StripeServer, second_jobs: Process
) -> None:
    assert product.jobs is not None
    customer = Customer(product, stripe, "Unlucky")
    customer.buy()
    customer.consent()
    first = len(stripe.world.all("invoice"))
    stripe.hang_after("/v1/invoices/*/pay")
    spent = customer.spend_below(9)
    assert stripe.hanging.wait(40)
    for jobs in (product.jobs, second_jobs):
        jobs.kill()
    stripe.go_on()
    product.database.rows("UPDATE stripe_work SET lease_until = '-infinity', due_at = now()")
    for jobs in (product.jobs, second_jobs):
        jobs.start()
    assert until(lambda: customer.balance() == 55 - spent), customer.balance()
    deliver(product.serves[0].url, stripe.world.events[-3:])
    assert [one["status"] for one in stripe.world.all("invoice")[first:]][:1] != ["open"]
    assert len([one for one in customer.ask("GET", "/topups").json()["data"] if one["is_recharge"]]) == 1
    assert admin_command(product.environment, "ledger", "trial-balance", "--json")["balanced"]


def test_an_operator_sees_it_and_switches_it_off_and_never_on(product: Product, stripe: StripeServer) -> None:
    customer = Customer(product, stripe, "Watched")
    customer.buy()
    customer.consent()
    account = wire(AccountId, customer.account)
    shown = admin_command(product.environment, "recharges", "show", account, "--json")
    assert (shown["is_on"], shown["consented_by"], "25.00 USD" in shown["words"]) == (True, "Ann Lee", True)
    off = admin_command(product.environment, "recharges", "off", account, "Fraud is suspected.", "--json")
    assert (off["is_on"], off["off_reason"], off["words"]) == (False, "Fraud is suspected.", None)
    admin_command(product.environment, "recharges", "off", account, "Again.", exits=1)
    mine = customer.ask("GET", "/recharge").json()
    assert (mine["is_on"], mine["off_reason"]) == (False, "Fraud is suspected.")
    mails = product.database.rows(
        "SELECT kind FROM mails WHERE account_id = $1 AND kind LIKE 'recharge%'", customer.account
    )
    assert [row["kind"] for row in mails] == ["recharge_off"]


def test_a_link_to_the_portal_is_the_accounts_own(product: Product, stripe: StripeServer) -> None:
    assert product.jobs is not None
    one, other = Customer(product, stripe, "One"), Customer(product, stripe, "Other")
    links: dict[str, Any] = {}
    for customer in (one, other):
        made = customer.ask("POST", "/portal").json()
        path = f"/portal/{made['id']}"
        assert until(lambda customer=customer, path=path: customer.ask("GET", path).json()["status"] == "made")  # type: ignore[misc]
        links[path] = customer.ask("GET", path).json()["url"]
        mine = product.database.value(
            "SELECT customer_id FROM stripe_customers WHERE account_id = $1", customer.account
        )
        assert str(links[path]).endswith(f"/{mine}")
    (first, second) = links
    assert [one.ask("GET", second).status_code, other.ask("GET", first).status_code] == [404, 404]
    assert links[first] != links[second]
    # Whoever has been there may have saved a card.
    assert one.consent().status_code == 200
