"""An operator agrees on prices with an account: previewed, made, quoted, charged, explained, ended."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from store.embedded import Embedded
from store.ids import AccountId, wire
from tests.harness.admin_client import Operator, admin_command, an_operator
from tests.harness.fake_upstream import Reply, Upstream
from tests.harness.processes import Product

MODEL, OTHER = "tests/contracted", "tests/other"
USE = """
INSERT INTO usage_events (request_id, occurred_at, account_id, key_id, model_id, provider_id, endpoint_id, space,
    inputs, tokens, price_id, nano_per_mtok, cost_nano, charged_nano, overdraft_nano, provider_cost_nano, latency_ms,
    attempts)
SELECT gen_random_uuid(), date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - interval '9 days', $1,
    gen_random_uuid(), $2, gen_random_uuid(), gen_random_uuid(), 's', 1, t, p.id, p.nano_per_mtok,
    div(t::numeric * p.nano_per_mtok + 999999, 1000000), div(t::numeric * p.nano_per_mtok + 999999, 1000000), 0, 0, 1, 1
FROM prices p, unnest(ARRAY[1, 333333, 2000000]) AS t WHERE p.model_id = $2
"""


@pytest.fixture(scope="module")
def product(
    servers: Embedded, module_database_url: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    servers.redis.command("FLUSHALL")
    product = Product(
        tmp_path_factory.mktemp("contracts"), module_database_url, servers.redis_url, serves=2, jobs=False
    )
    database = product.database
    for number, name in enumerate((MODEL, OTHER)):
        model = database.a_model(name, vocabulary=100, nano_per_mtok=2_000_000_001, batch_nano_per_mtok=10**9)
        database.an_endpoint(model, upstream.base_url, name=f"upstream-{number}")
    database.rows("SELECT make_usage_months((now() - interval '40 days')::date, 2)")
    with product:
        yield product


@pytest.fixture(scope="module")
def finance(product: Product) -> Operator:
    return an_operator(product.environment, product.serves[0].admin_url, "finance_admin")


class Customer:
    """An account with a key, as its program asks each serve in turn."""

    def __init__(self, product: Product, credit: int = 10**12) -> None:
        self.product = product
        self.account: AccountId = product.database.an_account(credit, f"contract-{time.monotonic_ns()}")
        self.id = wire(AccountId, self.account)
        self.key = product.wait_until_known(product.database.a_key(self.account))

    def ask(self, method: str, path: str, body: object = None, serve: int = 0, **headers: str) -> httpx.Response:
        given = {"authorization": f"Bearer {self.key}"} | {n.replace("_", "-"): v for n, v in headers.items()}
        url = f"{self.product.serves[serve].url}/v1{path}"
        answer = httpx.request(method, url, json=body, headers=given, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer

    def price(self, serve: int = 0, model: str = MODEL) -> str:
        found: str = self.ask("GET", f"/models/{model}", serve=serve).json()["pricing"]["per_million_tokens"]
        return found

    def sees(self, price: str) -> bool:
        return until(lambda: all(self.price(serve) == price for serve in (0, 1)))

    def call(self, tokens: int, tier: str = "interactive") -> tuple[dict[str, Any], httpx.Response]:
        """A quote, and the same call."""
        body = {"model": MODEL, "input": [1] * tokens}
        quote, call = (self.ask("POST", path, body, x_tier=tier) for path in ("/quote", "/embeddings"))
        return quote.json(), call

    def explained(self, call: httpx.Response) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            url = f"{self.product.url}/requests/{call.headers['x-request-id']}"
            answer = httpx.get(url, headers={"authorization": f"Bearer {self.key}"}, timeout=30)
            said: dict[str, Any] | None = answer.json() if answer.status_code == 200 else None
            return said if said and said["charge"] else None

        assert until(found)
        said = found()
        assert said is not None
        return said


def until(is_so: Callable[[], object], within_s: float = 30) -> bool:
    end = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def agree(finance: Operator, customer: Customer, **fields: object) -> dict[str, Any]:
    body = {"account": customer.id, "reason": "signed by Ann", **fields}
    made: dict[str, Any] = finance("POST", "/finance/contracts", body, 201)
    return made


def test_a_contract_from_its_preview_to_its_end(product: Product, finance: Operator) -> None:
    customer, neighbour = Customer(product), Customer(product)
    product.database.rows(USE, customer.account, MODEL)
    terms = {"percent_off": "12.5", "prices": [{"model": MODEL, "usd_per_mtok": "1.5", "batch_usd_per_mtok": "0.7"}]}
    body = {"account": customer.id, "reason": "signed by Ann", "note": "C-17", "minimum_usd": "9", **terms}

    # What it means for last month: 1, 333,333 and 2,000,000 tokens at 2.000000001 and at 1.50, each rounded up.
    preview = finance("POST", "/finance/contracts?dry_run=1", body)
    month = preview["last_month"]
    assert (month["calls"], month["cost_usd"], month["would_cost_usd"]) == (3, "4.666668004", "3.500001")
    assert (month["difference_usd"], month["minimum_shortfall_usd"]) == ("-1.166667004", "5.499999")
    assert finance("GET", f"/finance/contracts?account={customer.id}")["data"] == []
    assert customer.price() == "2.000000001"

    made = finance("POST", "/finance/contracts", body, 201, idempotency_key="c-17")
    again = finance("POST", "/finance/contracts", body, 201, idempotency_key="c-17")
    assert again["id"] == made["id"]
    refused = finance.ask("POST", "/finance/contracts", body | {"minimum_usd": "8"}, idempotency_key="c-17")
    assert refused.status_code == 422
    assert customer.sees("1.50")
    assert customer.price(model=OTHER) == "1.750000001", "the percentage is for all others"

    quote, call = customer.call(777)
    assert quote["exact"]
    assert quote["amount"] == call.headers["x-gigarouter-cost"] == "0.0011655"
    assert quote["price"]["id"] == call.headers["x-gigarouter-price-id"]
    assert quote["price"]["contract"] == made["id"]
    batch, batch_call = customer.call(777, "batch")
    assert batch["amount"] == batch_call.headers["x-gigarouter-cost"] == "0.0005439"
    said = customer.explained(call)
    assert said["price"] == quote["price"]
    assert said["price"]["list_per_million_tokens"] is None, "it was agreed, whatever the list price is"

    price = finance("GET", f"/prices/{quote['price']['id']}")
    assert (price["account"], price["contract"], price["usd_per_mtok"]) == (customer.id, made["id"], "1.50")
    assert price["in_force"]

    # Another account pays the list price, and learns of no contract.
    assert neighbour.price() == "2.000000001"
    assert neighbour.call(10)[0]["price"]["contract"] is None
    assert neighbour.ask("GET", "/account/contracts").json()["data"] == []
    assert made["id"] not in neighbour.ask("GET", "/models?status=all").text
    assert made["id"] not in httpx.get(f"{product.url}/models?status=all").text
    [own] = customer.ask("GET", "/account/contracts").json()["data"]
    assert (own["id"], own["note"], own["state"], own["minimum_usd"]) == (made["id"], "C-17", "in_force", "9.00")
    assert "signed by Ann" not in str(own)

    shown = finance.ask("GET", f"/finance/contracts/{made['id']}")
    stale = finance.ask("POST", f"/finance/contracts/{made['id']}/end", {"reason": "over"}, if_match='"x"')
    assert (stale.status_code, stale.json()["error"]["code"]) == (409, "version_conflict")
    tag = shown.headers["etag"]
    ended = finance("POST", f"/finance/contracts/{made['id']}/end", {"reason": "over"}, if_match=tag)
    assert (ended["state"], ended["end_reason"]) == ("ended", "over")
    assert ended["last_month"]["would_cost_usd"] == "4.666668004", "without it the list price holds again"
    assert customer.sees("2.000000001")
    assert customer.explained(call)["price"]["per_million_tokens"] == "1.50", "what was charged stays"
    audit = finance("GET", f"/audit?subject={made['id']}")["data"]
    assert [row["action"] for row in audit] == ["contract.end", "contract.make"]


def test_a_call_in_flight_is_charged_the_price_that_it_was_admitted_at(
    product: Product, finance: Operator, upstream: Upstream
) -> None:
    customer = Customer(product)
    arrived = len(upstream.calls)
    upstream.script.append(Reply(delay_s=1.5))
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(customer.ask, "POST", "/embeddings", {"model": MODEL, "input": [1] * 100})
        assert until(lambda: len(upstream.calls) > arrived)
        agree(finance, customer, prices=[{"model": MODEL, "percent_off": "50"}])
        assert customer.sees("1.00"), "1.0000000005, half-even"
        call = slow.result()
    assert call.headers["x-gigarouter-cost"] == "0.000200001"
    assert customer.explained(call)["price"]["contract"] is None
    quote, now = customer.call(100)
    assert (now.headers["x-gigarouter-cost"], quote["price"]["percent_off"]) == ("0.0001", "50")
    assert quote["price"]["list_per_million_tokens"] == "2.000000001"
    assert customer.explained(now)["price"] == quote["price"]


def test_credit_for_the_accounts_own_price_is_enough_and_a_nano_less_is_not(
    product: Product, finance: Operator
) -> None:
    cheap, dear = Customer(product, 100_000), Customer(product, 399_999)
    agree(finance, cheap, prices=[{"model": MODEL, "usd_per_mtok": "1"}])
    agree(finance, dear, prices=[{"model": MODEL, "usd_per_mtok": "4"}])
    assert cheap.sees("1.00")
    assert dear.sees("4.00")
    body = {"model": MODEL, "input": [1] * 100}
    assert cheap.ask("POST", "/embeddings", body).headers["x-gigarouter-cost"] == "0.0001"
    refused = httpx.post(
        f"{product.url}/embeddings", json=body, headers={"authorization": f"Bearer {dear.key}"}, timeout=30
    )
    assert (refused.status_code, refused.json()["error"]["code"]) == (402, "credit_exhausted")
    assert product.account(dear.key)["balance"] == "0.000399999"


def in_days(days: int) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


# What is wrong, and what the refusal names.
REFUSED: list[tuple[dict[str, object], int, str]] = [
    ({}, 400, "prices, a percentage, a minimum or a commitment"),
    ({"percent_off": "10", "effective_at": in_days(-1)}, 400, "starts now or later"),
    ({"percent_off": "10", "until": in_days(-1)}, 400, "ends after it starts"),
    ({"percent_off": "100.01"}, 400, "percent"),
    ({"percent_off": "12.345"}, 400, "percent"),
    ({"percent_off": 10}, 400, "percent"),
    ({"percent_off": "-1"}, 400, "percent"),
    ({"prices": [{"model": MODEL}]}, 400, "price of its own or a percentage"),
    ({"prices": [{"model": MODEL, "usd_per_mtok": "1", "percent_off": "1"}]}, 400, "price of its own or a percentage"),
    ({"prices": [{"model": MODEL, "usd_per_mtok": "1", "batch_usd_per_mtok": "2"}]}, 400, "batch price"),
    ({"prices": [{"model": MODEL, "usd_per_mtok": "9000.01"}]}, 400, "9000.00"),
    ({"prices": [{"model": MODEL, "percent_off": "1"}, {"model": MODEL, "usd_per_mtok": "1"}]}, 400, "one thing"),
    ({"prices": [{"model": "tests/none", "usd_per_mtok": "1"}]}, 404, "tests/none"),
    ({"minimum_usd": "0"}, 400, "minimum_usd"),
    ({"minimum_usd": "9000000.01"}, 400, "9000000.00"),
    ({"commitment_usd": "100"}, 400, "until"),
    ({"percent_off": "10", "unused": "vanishes"}, 400, "unused"),
    ({"percent_off": "10", "reason": " "}, 400, "reason"),
]


def test_what_cannot_be_agreed_is_refused_with_its_field(product: Product, finance: Operator) -> None:
    customer = Customer(product)
    for fields, status, words in REFUSED:
        answer = finance.ask("POST", "/finance/contracts", {"account": customer.id, "reason": "x", **fields})
        assert answer.status_code == status, (fields, answer.text)
        assert words in answer.text, (fields, answer.text)
    agree(finance, customer, percent_off="10", minimum_usd="5", until=in_days(30))
    for more in ({"percent_off": "20"}, {"minimum_usd": "1"}, {"percent_off": "20", "effective_at": in_days(29)}):
        body = {"account": customer.id, "reason": "x", **more}
        assert finance.ask("POST", "/finance/contracts", body).status_code == 409, more
    agree(finance, customer, percent_off="20", effective_at=in_days(31))
    agree(finance, customer, prices=[{"model": MODEL, "percent_off": "30"}])
    ops = an_operator(product.environment, product.serves[0].admin_url, "ops")
    assert ops.ask("POST", "/finance/contracts", {"account": customer.id, "reason": "x"}).status_code == 403
    unknown = finance.ask("POST", f"/finance/contracts/contract_{'0' * 32}/end", {"reason": "x"})
    assert unknown.status_code == 404


def test_a_commitment_is_credit_once_its_payment_is_recorded(product: Product, finance: Operator) -> None:
    customer = Customer(product, 0)
    end = in_days(60)
    made = agree(finance, customer, commitment_usd="100", until=end, percent_off="25")
    assert (made["commitment_usd"], made["commitment_left_usd"]) == ("100.00", None)
    preview = admin_command(product.environment, "contracts", "fund", made["id"], "wire-1", "--dry-run")
    assert preview["commitment_left_usd"] == "100.00"
    assert finance("GET", f"/finance/contracts/{made['id']}")["commitment_left_usd"] is None
    funded = admin_command(product.environment, "contracts", "fund", made["id"], "wire-1")
    assert funded["commitment_left_usd"] == "100.00"
    assert until(lambda: product.account(customer.key)["balance"] == "100.00")
    twice = finance.ask("POST", f"/finance/contracts/{made['id']}/fund", {"reference": "wire-2"})
    assert (twice.status_code, "paid before" in twice.text) == (409, True)
    assert customer.sees("1.500000001")
    customer.call(1000)
    [own] = customer.ask("GET", "/account/contracts").json()["data"]
    assert Decimal(own["commitment_left_usd"]) == Decimal(100) - Decimal("0.001500001")
    [grant] = finance("GET", f"/accounts/{customer.id}/grants")["data"]
    assert (grant["kind"], grant["amount_usd"]) == ("purchased", "100.00")
    assert datetime.fromisoformat(grant["expires_at"]) == datetime.fromisoformat(end)
    legs = product.database.rows(
        "SELECT l.kind FROM entries e JOIN postings p ON p.entry_id = e.id JOIN ledger_accounts l"
        " ON l.id = p.ledger_account_id WHERE e.source_ref LIKE 'grant:contract:%' AND e.account_id = $1 ORDER BY 1",
        customer.account,
    )
    assert [leg["kind"] for leg in legs] == ["bank", "customer_credit"]
    no_commitment = agree(finance, customer, minimum_usd="5")
    answer = finance.ask("POST", f"/finance/contracts/{no_commitment['id']}/fund", {"reference": "wire-3"})
    assert answer.status_code == 409


def test_a_commitment_has_a_tax_invoice_where_a_seller_is_named(product: Product, finance: Operator) -> None:
    customer = Customer(product, 0)
    party = {"legal_name": "Acme", "address": {"line1": "1", "city": "Berlin", "postcode": "10119", "country": "DE"}}
    finance("POST", "/sellers", {"id": "acme", "prefix": "ACME", "vat_id": "DE136695976", **party})
    made = agree(finance, customer, commitment_usd="100", unused="stays")
    path, paid = f"/finance/contracts/{made['id']}/fund", {"reference": "wire-9", "seller": "acme", "tax_usd": "19"}
    assert "no billing profile" in finance("POST", path, paid, 409)["error"]["message"]
    finance("POST", f"/accounts/{customer.id}/billing-profile", party)
    for wrong in ({"tax_usd": "18.99"}, {"tax_usd": "0"}):
        assert "19.00" in finance("POST", path, paid | wrong, 400)["error"]["message"]
    assert "seller" in finance("POST", path, {"reference": "wire-9", "tax_usd": "19"}, 400)["error"]["message"]
    assert "zeta" in finance("POST", path, paid | {"seller": "zeta"}, 400)["error"]["message"]
    assert product.account(customer.key)["balance"] == "0.00", "what was refused gave nothing"
    assert finance("POST", path, paid)["commitment_left_usd"] == "100.00"
    [request] = finance("GET", f"/document-requests?account={customer.id}")["data"]
    assert (request["kind"], request["state"]) == ("topup", "waiting")
    tax = [row for row in _trial_balance(finance) if row["ledger_account"] == "tax_payable"]
    assert [row["balance_usd"] for row in tax] == ["19.00"]


def _trial_balance(finance: Operator) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = finance("GET", "/ledger:trial-balance")["data"]
    return found


def test_the_command_makes_and_lists_what_the_api_does(product: Product) -> None:
    customer = Customer(product)
    terms = json.dumps([{"model": MODEL, "usd_per_mtok": "1.25"}])
    typed = ("contracts", "create", customer.id, "signed", "--prices", terms, "--percent-off", "5")
    made = admin_command(product.environment, *typed)
    assert [(term["model"], term["usd_per_mtok"], term["percent_off"]) for term in made["prices"]] == [
        (MODEL, "1.25", None),
        (None, None, "5"),
    ]
    listed = admin_command(product.environment, "contracts", "list", "--account", customer.id)
    assert [row["id"] for row in listed["data"]] == [made["id"]]
    assert customer.sees("1.25")
    ended = admin_command(product.environment, "contracts", "end", made["id"], "over")
    assert ended["state"] == "ended"
    assert customer.sees("2.000000001")
