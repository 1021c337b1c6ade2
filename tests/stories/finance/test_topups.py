"""A customer adds credit, pays, and is paid back, through real processes; whoever is not Stripe is refused."""

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from store.embedded import Embedded
from store.ids import AccountId, wire
from tests.harness.admin_client import Operator, admin_command, an_operator
from tests.harness.processes import Product
from tests.harness.stripe_server import KEY, StripeServer
from tests.harness.stripe_webhooks import SECRET, classic, deliver, post, sign, thin

OLD_SECRET = "whsec_" + "b" * 32


@pytest.fixture(scope="module")
def stripe() -> Iterator[StripeServer]:
    with StripeServer() as running:
        yield running


@pytest.fixture(scope="module")
def product(
    servers: Embedded, module_database_url: str, stripe: StripeServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    servers.redis.command("FLUSHALL")
    settings = {
        "stripe_secret_key": KEY,
        "stripe_webhook_secrets": f"{OLD_SECRET},{SECRET}",
        "stripe_base_url": stripe.url,
    }
    folder = tmp_path_factory.mktemp("topups")
    with Product(folder, module_database_url, servers.redis_url, serves=2, settings=settings) as running:
        yield running


@pytest.fixture(scope="module")
def finance(product: Product) -> Operator:
    return an_operator(product.environment, product.serves[0].admin_url, "finance_admin")


class Customer:
    """An account with a key, as its program asks."""

    def __init__(self, product: Product, name: str) -> None:
        self.name = name
        self.product = product
        self.account = product.database.an_account(0, name)
        self.key = product.wait_until_known(product.database.a_key(self.account))

    def ask(self, method: str, path: str, body: object = None, once: str | None = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.key}"} | ({"idempotency-key": once} if once else {})
        return httpx.request(method, f"{self.product.url}/account{path}", json=body, headers=headers, timeout=30)

    def order(self, amount: str, once: str) -> dict[str, Any]:
        answer = self.ask("POST", "/topups", {"amount_usd": amount}, once)
        assert answer.status_code in (201, 202), answer.text
        made: dict[str, Any] = answer.json()
        assert until(lambda: self.ask("GET", f"/topups/{made['id']}").json()["url"] is not None)
        made = self.ask("GET", f"/topups/{made['id']}").json()
        return made

    def balances(self) -> set[str]:
        """What each serve says."""
        return {self.product.account(self.key, serve)["balance"] for serve in self.product.serves}


def until(is_so: Callable[[], object], within_s: float = 30) -> bool:
    end = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def session_of(topup: dict[str, Any]) -> str:
    return str(topup["url"]).rpartition("/")[2]


def test_credit_is_ordered_paid_seen_everywhere_and_refunded(
    product: Product, stripe: StripeServer, finance: Operator
) -> None:
    customer = Customer(product, "Payer")
    topup = customer.order("25.00", "first")
    assert (topup["status"], topup["amount_usd"]) == ("open", "25.00")
    stripe.world.pay(session_of(topup))
    deliver(product.serves[1].url, stripe.world.events)
    assert until(lambda: customer.balances() == {"25.00"})
    shown = customer.ask("GET", f"/topups/{topup['id']}").json()
    assert (shown["status"], shown["paid_usd"], shown["url"]) == ("paid", "25.00", None)

    wanted = "SELECT source_ref FROM document_requests WHERE account_id = $1 AND kind = 'topup'"
    assert product.database.value(wanted, customer.account) == f"topup:{topup['id']}"

    refunded = customer.ask("POST", "/refunds", {"amount_usd": "10.00"}, "back")
    assert refunded.status_code == 201, refunded.text
    assert until(lambda: customer.ask("GET", "/refunds").json()["data"][0]["status"] == "succeeded")
    assert until(lambda: customer.balances() == {"15.00"})
    too_much = customer.ask("POST", "/refunds", {"amount_usd": "15.01"}, "more")
    assert too_much.status_code == 400, too_much.text
    assert too_much.json()["error"]["details"] == {"refundable_usd": "15.00"}, too_much.text

    listed = finance("GET", f"/finance/topups?account={wire(AccountId, customer.account)}")["data"]
    assert [(row["id"], row["status"]) for row in listed] == [(topup["id"], "paid")]
    charge = stripe.world.find("charge", listed[0]["charge"])
    stripe.world.dispute(charge["id"])
    deliver(product.serves[0].url, stripe.world.events[-1:])
    assert until(lambda: customer.balances() == {"0.00"})
    assert [row["status"] for row in finance("GET", "/finance/disputes")["data"]] == ["open"]
    (review,) = [row for row in finance("GET", "/finance/reviews")["data"] if row["cause"] == "dispute"]
    finance("POST", f"/finance/reviews/{review['id']}/resolve", {"resolution": "Answered with the invoice."})
    assert review["id"] not in {row["id"] for row in finance("GET", "/finance/reviews")["data"]}


def test_a_double_click_is_one_order_and_two_tabs_are_two(product: Product, stripe: StripeServer) -> None:
    customer = Customer(product, "Clicker")
    before = len(stripe.world.all("checkout.session"))
    with ThreadPoolExecutor(10) as clicks:
        answers = list(clicks.map(lambda _: customer.order("30.00", "click"), range(10)))
    assert len({one["id"] for one in answers}) == len({one["url"] for one in answers}) == 1
    changed = customer.ask("POST", "/topups", {"amount_usd": "31.00"}, "click")
    assert (changed.status_code, changed.json()["error"]["code"]) == (422, "idempotency_mismatch")
    assert customer.order("30.00", "another tab")["id"] != answers[0]["id"]
    assert len(stripe.world.all("checkout.session")) == before + 2


# What is sent as the amount, and the status; one below and above the limits that the settings have.
AMOUNTS: list[tuple[object, int]] = [
    *[(text, 400) for text in ("0", "-1", "5.005", "1e9", "٣", "NaN", "", " 5", "5,00", "4.99", "10000.01")],
    *[(value, 400) for value in (5, 5.0, None, True, ["5.00"])],
    ("5.0000000", 201),
    ("10000.00", 201),
]


def test_amounts_are_strict(product: Product) -> None:
    customer = Customer(product, "Strict")
    for number, (amount, status) in enumerate(AMOUNTS):
        answer = customer.ask("POST", "/topups", {"amount_usd": amount}, f"amount-{number}")
        assert answer.status_code == status or (status == 201 and answer.status_code == 202), (amount, answer.text)
    missing = customer.ask("POST", "/topups", {"amount_usd": "5.00"})
    assert (missing.status_code, missing.json()["error"]["param"]) == (400, "Idempotency-Key")
    other = Customer(product, "Other")
    mine = customer.ask("GET", "/topups").json()["data"][0]["id"]
    assert other.ask("GET", f"/topups/{mine}").status_code == 404
    assert other.ask("GET", "/topups").json()["data"] == []


def test_whoever_is_not_stripe_is_refused_and_nothing_is_stored(product: Product, stripe: StripeServer) -> None:
    customer = Customer(product, "Target")
    topup = customer.order("40.00", "target")
    stripe.world.pay(session_of(topup))
    event = next(one for one in stripe.world.events[::-1] if one["type"] == "checkout.session.completed")
    body, now = classic(event), int(time.time())
    live = classic({**event, "livemode": True})
    refused = {
        "no header": (body, ""),
        "wrong secret": (body, sign(body, "whsec_" + "c" * 32)),
        "v0 only": (body, sign(body, scheme="v0")),
        "changed byte": (body.replace(b"4000", b"9000"), sign(body)),
        "written anew": (body.replace(b"\n", b""), sign(body)),
        "too old": (body, sign(body, at=now - 301)),
        "ten years old": (body, sign(body, at=now - 315_360_000)),
        "ten years ahead": (body, sign(body, at=now + 315_360_000)),
        "live": (live, sign(live)),
        "not UTF-8": (b"\xff" + body, sign(b"\xff" + body)),
        "no event": (b"{}", sign(b"{}")),
        "an id that is none": ((other := classic({**event, "id": "evt_'; --"})), sign(other)),
        "too large": ((large := body + b" " * 600_000), sign(large)),
        "5 MB": ((huge := body + b" " * 5_000_000), sign(huge)),
    }
    before = product.database.value("SELECT count(*) FROM stripe_events")
    answers = {name: post(product.serves[0].url, *sent).status_code for name, sent in refused.items()}
    expected = dict.fromkeys(refused, 400) | {"too large": 413, "5 MB": 413}
    assert answers == expected
    assert product.database.value("SELECT count(*) FROM stripe_events") == before

    # A thin body, a hundred times at once, signed with either secret: one effect.
    slim = thin(event)
    with ThreadPoolExecutor(20) as senders:
        secrets = [SECRET, OLD_SECRET] * 50
        sent = senders.map(lambda secret: post(product.serves[0].url, slim, sign(slim, secret)), secrets)
        statuses = [answer.status_code for answer in sent]
    assert statuses == [200] * 100
    assert until(lambda: customer.balances() == {"40.00"})
    facts = "SELECT count(*) FROM grants WHERE account_id = $1"
    assert product.database.value(facts, customer.account) == 1


def test_jobs_that_die_between_stripes_act_and_ours_leave_one_effect(product: Product, stripe: StripeServer) -> None:
    assert product.jobs is not None
    customer = Customer(product, "Unlucky")
    for path, number in (("/v1/checkout/sessions", 1), ("/v1/refunds", 2)):
        stripe.hang_after(path)
        if number == 1:
            customer.ask("POST", "/topups", {"amount_usd": "50.00"}, "unlucky")
        else:
            customer.ask("POST", "/refunds", {}, "unlucky")
        assert stripe.hanging.wait(30)
        product.jobs.kill()
        stripe.go_on()
        product.database.rows("UPDATE stripe_work SET lease_until = '-infinity', due_at = now()")
        product.jobs.start()
        if number == 1:
            assert until(lambda: customer.ask("GET", "/topups").json()["data"][0]["url"] is not None)
            stripe.world.pay(session_of(customer.ask("GET", "/topups").json()["data"][0]))
            deliver(product.serves[0].url, stripe.world.events)
            assert until(lambda: customer.balances() == {"50.00"})
    assert until(lambda: customer.ask("GET", "/refunds").json()["data"][0]["status"] == "succeeded")
    assert until(lambda: customer.balances() == {"0.00"})
    charge = [one for one in stripe.world.all("charge") if one["amount"] == 5_000]
    assert [one["amount_refunded"] for one in charge] == [5_000]
    assert admin_command(product.environment, "ledger", "trial-balance", "--json")["balanced"]


def test_jobs_killed_at_any_moment_credit_and_refund_each_payment_once(product: Product, stripe: StripeServer) -> None:
    """SIGKILL while webhooks come and refunds are ordered, at moments that the order's seed repeats."""
    assert product.jobs is not None
    customers = [Customer(product, f"Of many {number}") for number in range(5)]
    first = len(stripe.world.events)
    for customer in customers:
        stripe.world.pay(session_of(customer.order("70.00", "many")))
    with ThreadPoolExecutor(1) as sender:
        sent = sender.submit(deliver, product.serves[0].url, stripe.world.events[first:])
        for _ in range(3):
            time.sleep(random.random() / 2)
            kill_jobs(product)
        sent.result()
    assert until(lambda: all(customer.balances() == {"70.00"} for customer in customers), 90)
    for customer in customers:
        assert customer.ask("POST", "/refunds", {"amount_usd": "20.00"}, "many").status_code == 201
    time.sleep(random.random() / 4)
    kill_jobs(product)
    # A hold of the killed process is overdue after half a minute at most; then its credit is taken.
    assert until(lambda: all(customer.balances() == {"50.00"} for customer in customers), 120)
    assert until(lambda: refunded(customers) == {"succeeded"})
    facts = "SELECT count(*) FROM grants WHERE account_id = $1 AND source_ref LIKE 'stripe:%'"
    assert {product.database.value(facts, customer.account) for customer in customers} == {1}
    charges = [one["amount_refunded"] for one in stripe.world.all("charge") if one["amount"] == 7_000]
    assert charges == [2_000] * len(customers)
    assert admin_command(product.environment, "ledger", "trial-balance", "--json")["balanced"]


def kill_jobs(product: Product) -> None:
    """Kill jobs, end its leases, as two minutes would, and start it again."""
    assert product.jobs is not None
    product.jobs.kill()
    product.database.rows("UPDATE stripe_work SET lease_until = '-infinity', due_at = now() WHERE requested > done")
    product.jobs.start()


def refunded(customers: list[Customer]) -> set[str]:
    return {customer.ask("GET", "/refunds").json()["data"][0]["status"] for customer in customers}


def test_an_operator_orders_and_refunds_by_command(product: Product, stripe: StripeServer) -> None:
    customer = Customer(product, "By command")
    order = ("topups", "create", customer.name, "60.00", "--json")
    made = admin_command(product.environment, *order)
    show = ("topups", "show", made["id"], "--json")
    assert until(lambda: admin_command(product.environment, *show)["url"] is not None)
    stripe.world.pay(session_of(admin_command(product.environment, *show)))
    deliver(product.serves[0].url, stripe.world.events[-3:])
    assert until(lambda: customer.balances() == {"60.00"})
    refund = ("refunds", "create", customer.name, "asked by mail", "--json")
    assert admin_command(product.environment, *refund)["data"][0]["wanted_usd"] == "60.00"
    assert until(lambda: customer.balances() == {"0.00"})


def test_without_jobs_the_answer_is_202_and_the_page_comes_later(product: Product) -> None:
    assert product.jobs is not None
    customer = Customer(product, "Patient")
    product.jobs.kill()
    answer = customer.ask("POST", "/topups", {"amount_usd": "70.00"}, "patient")
    assert (answer.status_code, answer.json()["status"]) == (202, "new")
    product.jobs.start()
    assert until(lambda: customer.ask("GET", answer.headers["location"].removeprefix("/v1/account")).json()["url"])


def test_finance_reconciles_with_stripe_by_commands(product: Product, stripe: StripeServer, finance: Operator) -> None:
    """A movement that no rule books is found once, however often it is looked for, and goes by a reason."""
    unknown = stripe.world.transaction_of_unknown_kind(-750)["id"]

    def reconcile() -> dict[str, Any]:
        made = admin_command(product.environment, "reconciliations", "run", "stripe", "--json")
        path = f"/finance/reconciliations/{made['id']}"
        assert until(lambda: finance("GET", path)["state"] != "queued", 60)
        ended: dict[str, Any] = finance("GET", path)
        assert (ended["state"], ended["failure"]) == ("done", ""), ended
        return ended

    def queue(*words: str) -> list[dict[str, Any]]:
        rows = admin_command(product.environment, "differences", "list", *words, "--json")["data"]
        return [row for row in rows if row["object"] == unknown]

    assert all(reconcile()["found"] for _ in range(2))
    (row,) = queue()
    assert (row["kind"], row["amount_usd"], row["age_days"], row["state"]) == ("unknown_kind", "-7.50", 0, "open")
    admin_command(product.environment, "differences", "resolve", row["id"], exits=2)
    resolved = admin_command(product.environment, "differences", "resolve", row["id"], "--reason", "a test", "--json")
    assert resolved["state"] == "resolved"
    reconcile()
    assert queue() == []
    assert [one["state"] for one in queue("--all")] == ["resolved"]
