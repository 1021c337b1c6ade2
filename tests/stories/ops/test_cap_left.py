"""What a key's cap has left is the same sum wherever one looks, to the nano-dollar, right after each call."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import openai
import pytest

from billing.caps import period_end
from billing.values import CapPeriod
from store.embedded import Embedded
from tests.harness.admin_client import Operator, admin_command, an_operator
from tests.harness.fake_upstream import Upstream
from tests.harness.processes import Product

MODEL = "tests/capped"
FIELDS = ("cap_spent_usd", "cap_left_usd", "cap_resets_at")


@pytest.fixture(scope="module")
def product(
    servers: Embedded, module_database_url: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    servers.redis.command("FLUSHALL")
    product = Product(tmp_path_factory.mktemp("capped"), module_database_url, servers.redis_url, serves=2, jobs=False)
    model = product.database.a_model(MODEL, dimensions=384, nano_per_mtok=7_777_777)
    product.database.an_endpoint(model, upstream.base_url)
    with product:
        yield product


@pytest.fixture(scope="module")
def ops(product: Product) -> Operator:
    return an_operator(product.environment, product.serves[0].admin_url, "ops")


@pytest.fixture(scope="module")
def account(product: Product, ops: Operator, finance: Operator) -> str:
    account = str(ops("POST", "/accounts", {"name": "Capped"}, 201)["id"])
    finance("POST", f"/accounts/{account}/grants", {"amount_usd": "1.00", "source": "capped"}, 201)
    return account


@pytest.mark.parametrize("period", list(CapPeriod))
def test_every_place_says_what_is_left_right_after_each_call(
    product: Product, ops: Operator, account: str, period: CapPeriod
) -> None:
    cap = {"amount_usd": "0.01", "period": period.value}
    made = ops("POST", "/keys", {"account": account, "name": period.value, "cap": cap}, 201)
    resets_at = period_end(period, datetime.now(UTC))
    text = None if resets_at is None else f"{resets_at:%Y-%m-%dT%H:%M:%SZ}"
    assert [made[name] for name in FIELDS] == ["0.00", "0.01", text]
    tag = ops.ask("GET", f"/keys/{made['id']}").headers["etag"]
    product.wait_until_known(made["key"])
    spent = Decimal(0)
    for number in range(1, 5):
        serve = product.serves[number % 2]
        client = openai.OpenAI(base_url=f"{serve.url}/v1", api_key=made["key"])
        reply = client.embeddings.with_raw_response.create(model=MODEL, input="What is left? " * number)
        spent += Decimal(reply.headers["x-gigarouter-cost"])
        seen = said_of(product, ops, account, made)
        amounts = [(Decimal(one["spent"]), Decimal(one["left"]), one["resets_at"]) for one in seen]
        assert amounts == [(spent, Decimal("0.01") - spent, text)] * 4
    assert spent > 0
    assert ops.ask("GET", f"/keys/{made['id']}").headers["etag"] == tag, (
        "a call changes nothing that an edit could lose"
    )
    # Lowered below what is spent, nothing is left, and the next call says so.
    lowered = ops.edit(f"/keys/{made['id']}", {"cap": cap | {"amount_usd": "0.000000001"}})
    assert (Decimal(lowered["cap_spent_usd"]), lowered["cap_left_usd"]) == (spent, "0.00")
    unlimited = ops.edit(f"/keys/{made['id']}", {"cap": None})
    assert [unlimited[name] for name in FIELDS] == [None] * 3


def said_of(product: Product, ops: Operator, account: str, key: dict[str, Any]) -> list[dict[str, str]]:
    """What is said of the cap to the key itself, and to an operator of the one key, in a list and on the machine."""
    listed = ops("GET", f"/keys?account={account}")["data"]
    typed = admin_command(product.environment, "keys", "list", "--account", account)["data"]
    keys = [ops("GET", f"/keys/{key['id']}"), *(one for one in [*listed, *typed] if one["id"] == key["id"])]
    of_operators = [{name.removeprefix("cap_").removesuffix("_usd"): one[name] for name in FIELDS} for one in keys]
    return [product.account(key["key"])["key"]["cap"], *of_operators]


def test_a_spent_cap_is_refused_with_the_same_numbers(product: Product, ops: Operator, account: str) -> None:
    cap = {"amount_usd": "0.000001", "period": "total"}
    key = ops("POST", "/keys", {"account": account, "cap": cap}, 201)["key"]
    product.wait_until_known(key)
    client = openai.OpenAI(base_url=product.url, api_key=key)
    with pytest.raises(openai.PermissionDeniedError) as refused:
        client.embeddings.create(model=MODEL, input="far more than this cap allows " * 30)
    error = refused.value.response.json()["error"]
    assert "in total is less than one such call: 0.00 USD is spent" in error["message"]
    assert "period" not in error["message"]
    assert (error["details"]["left_usd"], error["details"]["resets_at"]) == ("0.000001", None)
    assert product.account(key)["key"]["cap"]["left"] == "0.000001"


PERIODS = """
    2026-01-31T23:59:59.999999+00:00  day    2026-02-01T00:00:00+00:00
    2026-02-01T00:00:00+00:00         day    2026-02-02T00:00:00+00:00
    2028-02-29T12:00:00+00:00         month  2028-03-01T00:00:00+00:00
    2026-12-31T23:00:00+00:00         month  2027-01-01T00:00:00+00:00
    2026-12-31T23:00:00-05:00         month  2027-02-01T00:00:00+00:00
    2026-12-31T23:00:00-05:00         day    2027-01-02T00:00:00+00:00
"""


@pytest.mark.parametrize("line", PERIODS.split("\n")[1:-1], ids=str.strip)
def test_a_period_ends_where_the_next_begins_in_utc(line: str) -> None:
    at, period, ends = line.split()
    assert period_end(CapPeriod(period), datetime.fromisoformat(at)) == datetime.fromisoformat(ends)


def test_a_new_period_begins_with_all_of_the_cap(product: Product, ops: Operator, account: str) -> None:
    cap = {"amount_usd": "0.01", "period": "day"}
    key = ops("POST", "/keys", {"account": account, "cap": cap}, 201)
    product.wait_until_known(key["key"])
    openai.OpenAI(base_url=product.url, api_key=key["key"]).embeddings.create(model=MODEL, input="yesterday")
    day = datetime.now(UTC) - timedelta(days=1)
    query = "UPDATE key_spend SET period = $1 WHERE key_id = $2 AND period = $3"
    key_id = key["id"].removeprefix("key_")
    product.database.rows("ALTER TABLE key_spend DISABLE TRIGGER USER")
    product.database.rows(query, f"{day:%Y-%m-%d}", key_id, f"{day + timedelta(days=1):%Y-%m-%d}")
    assert ops("GET", f"/keys/{key['id']}")["cap_left_usd"] == "0.01"
