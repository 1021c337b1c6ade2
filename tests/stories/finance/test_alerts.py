"""Customers hear of what they spend: each alert once, by signed webhook and by mail, whichever ``jobs`` dies of it."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from store.embedded import Embedded
from store.ids import AccountId, wire
from tests.harness.fake_upstream import Upstream
from tests.harness.processes import Process, Product
from tests.harness.webhook_receiver import Receiver, webhook_receiver

MODEL = "tests/alerting"
WITHIN_S = 60.0

MAILS = "SELECT kind FROM mails WHERE account_id = $1 AND kind LIKE 'spending%'"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream(384).in_thread() as running:
        yield running


@pytest.fixture(scope="module")
def product(
    servers: Embedded, module_database_url: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    servers.redis.command("FLUSHALL")
    settings = {"webhook_private_networks": "127.0.0.0/8"}
    folder = tmp_path_factory.mktemp("alerting")
    product = Product(folder, module_database_url, servers.redis_url, settings=settings)
    model = product.database.a_model(MODEL, dimensions=384, nano_per_mtok=1_000_000_000)
    product.database.an_endpoint(model, upstream.base_url)
    with product:
        yield product


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with webhook_receiver() as running:
        yield running


class Customer:
    """An account with one key, as its owner uses it."""

    def __init__(self, product: Product) -> None:
        self.product = product
        self.account = product.database.an_account(10**9)
        self.key = product.wait_until_known(product.database.a_key(self.account))

    def ask(self, method: str, path: str, body: object = None, expects: int = 200) -> Any:
        headers = {"Authorization": f"Bearer {self.key}"}
        answer = httpx.request(method, f"{self.product.url}/account{path}", headers=headers, json=body, timeout=30)
        assert answer.status_code == expects, answer.text
        return answer.json()

    def call(self, text: str) -> None:
        openai.OpenAI(base_url=self.product.url, api_key=self.key).embeddings.create(model=MODEL, input=text)

    def deliver_now(self) -> None:
        """What waits for its next attempt is due."""
        self.product.database.rows("UPDATE webhook_deliveries SET run_after = now() WHERE state = 'waiting'")


def until(holds: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_each_alert_comes_once_though_both_jobs_are_killed_while_they_send(
    product: Product, receiver: Receiver
) -> None:
    customer = Customer(product)
    assert product.jobs is not None
    jobs = [product.jobs, Process("jobs-2", ["gigarouter", "jobs"], product.environment, product.folder)]
    jobs[1].start()
    try:
        hook = customer.ask("POST", "/webhooks", {"url": receiver.url}, 201)
        secret = hook["secret"]
        assert customer.ask("GET", f"/webhooks/{hook['id']}")["secret"] is None
        receiver.hold.clear()
        # Amounts that one call is beyond of, and one that it does not reach half of.
        names = {}
        for name, amount in (("small", "0.000000001"), ("large", "900.00")):
            budget = {"name": name, "amount_usd": amount, "period": "total"}
            names[customer.ask("POST", "/budgets", budget, 201)["id"]] = name
        customer.call("spends all of the small budget")
        until(lambda: receiver.received, "an alert is on its way")
        for process in jobs:
            process.kill()
        receiver.hold.set()
        for process in jobs:
            process.start()
        customer.deliver_now()

        def states() -> Counter[str]:
            rows = customer.ask("GET", f"/webhooks/{hook['id']}/deliveries")["data"]
            return Counter(row["state"] for row in rows)

        until(lambda: states() == {"delivered": 3}, "all three are delivered")
        events = {one.id: one.read(secret) for one in receiver.received}
        assert len(events) == 3, "what was sent twice has the same id"
        assert sorted(event["data"]["threshold_percent"] for event in events.values()) == [50, 80, 100]
        for event in events.values():
            assert event["type"] == "spend.threshold"
            data = event["data"]
            assert (names[data["budget"]], data["kind"], data["scope"]) == ("small", "budget", "account")
            assert data["account"] == wire(AccountId, customer.account)
        # Each of the two looks again, alone: its alert of a new budget says that it has, and nothing else is new.
        customer.call("spends more")
        for number, process in enumerate(jobs):
            for other in jobs:
                other.kill()
            process.start()
            watched = customer.ask(
                "POST", "/budgets", {"amount_usd": f"0.00000000{number + 2}", "period": "total"}, 201
            )
            until(lambda: states() == {"delivered": 6 + 3 * number}, "the new budget's alerts are delivered")  # noqa: B023
            customer.ask("DELETE", f"/budgets/{watched['id']}")
        small = next(budget for budget, name in names.items() if name == "small")
        read = [one.read(secret)["data"] for one in {one.id: one for one in receiver.received}.values()]
        assert sorted(one["threshold_percent"] for one in read if one["budget"] == small) == [50, 80, 100]
        assert not [one for one in read if names.get(one["budget"]) == "large"], "it is not half spent"
        mails = product.database.rows(MAILS, customer.account)
        assert [row["kind"] for row in mails] == ["spending_reached"] * 9
    finally:
        jobs[1].stop()
        jobs[0].start()


def test_a_cap_alerts_in_its_period_and_again_once_it_is_another_amount(product: Product, receiver: Receiver) -> None:
    customer = Customer(product)
    hook = customer.ask("POST", "/webhooks", {"url": receiver.url}, 201)
    customer.ask("POST", "/caps", {"caps": [{"amount_usd": "0.90", "period": "day"}]})
    customer.call("spends of the day")
    spent = customer.ask("GET", "/caps")["caps"][0]["spent_usd"]
    customer.ask("POST", "/caps", {"caps": [{"amount_usd": spent, "period": "day"}]})
    until(lambda: len(receiver.of("spend.threshold", hook["secret"])) == 3, "the lowered cap is reached")
    data = [one.read(hook["secret"])["data"] for one in receiver.of("spend.threshold", hook["secret"])]
    assert {(one["kind"], one["scope"], one["period"], one["spent_usd"]) for one in data} == {
        ("cap", "account", "day", spent)
    }
    resets = customer.ask("GET", "/caps")["caps"][0]["resets_at"]
    assert {one["resets_at"] for one in data} == {resets}


def test_failed_deliveries_are_tried_again_and_redirects_lead_nowhere(product: Product, receiver: Receiver) -> None:
    customer = Customer(product)
    hook = customer.ask("POST", "/webhooks", {"url": receiver.url}, 201)
    path = f"/webhooks/{hook['id']}"

    def latest() -> Any:
        return customer.ask("GET", f"{path}/deliveries")["data"][0]

    receiver.answers += [307, 500]
    delivery = customer.ask("POST", f"{path}/test", expects=202)
    assert (delivery["type"], delivery["state"]) == ("webhook.test", "waiting")
    until(lambda: latest()["status"] == 307, "the redirect is seen")
    assert latest()["fault"] == "it answered 307, and redirects are not followed"
    customer.deliver_now()
    until(lambda: latest()["status"] == 500, "the server's fault is seen")
    assert latest()["state"] == "waiting"
    rotated = customer.ask("POST", f"{path}/rotate")
    assert rotated["secret"] != hook["secret"]
    customer.deliver_now()
    until(lambda: latest()["state"] == "delivered", "the third attempt is taken")
    assert [one.path for one in receiver.received] == ["/hooks/"] * 3
    assert len({one.id for one in receiver.received}) == 1 == len({one.body for one in receiver.received})
    # Both secrets verify while one replaces the other; what came before was signed by the one that there was.
    last = receiver.received[-1]
    assert last.read(rotated["secret"]) == last.read(hook["secret"])
    with pytest.raises(WebhookVerificationError):
        receiver.received[0].read(rotated["secret"])
    receiver.answers += [500, 500]
    customer.ask("POST", f"{path}/test", expects=202)
    until(lambda: latest()["attempts"] == 1 and latest()["status"] == 500, "the first attempt fails")
    product.database.rows("UPDATE webhook_deliveries SET created_at = now() - interval '1 day' WHERE state = 'waiting'")
    customer.deliver_now()
    until(lambda: latest()["state"] == "failed", "after a day it is given up")
    receiver.answers.append(410)
    customer.ask("POST", f"{path}/test", expects=202)
    until(lambda: latest()["state"] == "failed", "what is gone is not tried again")
    page = customer.ask("GET", f"{path}/deliveries?limit=2")
    rest = customer.ask("GET", f"{path}/deliveries?cursor={page['next_cursor']}")
    assert [row["state"] for row in page["data"] + rest["data"]] == ["failed", "failed", "delivered"]
    other = Customer(product)
    for method, below in (("GET", ""), ("GET", "/deliveries"), ("POST", "/rotate"), ("POST", "/test"), ("DELETE", "")):
        other.ask(method, f"{path}{below}", expects=404)
    assert customer.ask("DELETE", path)["deleted"]
    customer.ask("GET", path, expects=404)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/hook",
        "https://10.0.0.7/hook",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:10.0.0.7]/hook",
        "https://0x0a000007/hook",
        "https://user:password@example.com/hook",
        "ftp://example.com/hook",
        "https://example.com/hook?to=10.0.0.7",
        "https://",
        "https://example.com/" + "a" * 2_000,
    ],
)
def test_a_url_that_nothing_may_be_sent_to_is_refused(product: Product, url: str) -> None:
    error = Customer(product).ask("POST", "/webhooks", {"url": url}, 400)["error"]
    assert error["param"] == "url", error


def test_budgets_are_listed_bounded_and_the_accounts_own(product: Product) -> None:
    customer, other = Customer(product), Customer(product)
    made = [customer.ask("POST", "/budgets", {"amount_usd": f"{n}.00"}, 201) for n in range(1, 21)]
    assert customer.ask("POST", "/budgets", {"amount_usd": "1"}, 409)["error"]["code"] == "conflict"
    page = customer.ask("GET", "/budgets?limit=7")
    assert [budget["id"] for budget in page["data"]] == [budget["id"] for budget in made[:7]]
    assert other.ask("GET", "/budgets")["data"] == []
    other.ask("GET", f"/budgets/{made[0]['id']}", expects=404)
    other.ask("DELETE", f"/budgets/{made[0]['id']}", expects=404)
    assert customer.ask("DELETE", f"/budgets/{made[0]['id']}")["deleted"]
    customer.ask("POST", "/budgets", {"amount_usd": "0"}, 400)
    own_key = product.account(other.key)["key"]["id"]
    customer.ask("POST", "/budgets", {"amount_usd": "1", "key": own_key}, 404)
    mine = customer.ask("POST", "/budgets", {"amount_usd": "1", "key": product.account(customer.key)["key"]["id"]}, 201)
    assert (mine["period"], mine["spent_usd"], mine["left_usd"]) == ("month", "0.00", "1.00")
