"""What a key's cap has left is the same sum wherever one looks, to the nano-dollar, right after each call."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import openai
import pytest

from billing.cap_rules import period_end
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


def test_a_key_has_a_cap_of_each_period_and_the_one_cap_of_before_is_the_first_of_them(
    product: Product, ops: Operator, account: str
) -> None:
    day, month, total = ({"amount_usd": f"0.{n}0", "period": p} for n, p in ((1, "day"), (2, "month"), (3, "total")))
    key = ops("POST", "/keys", {"account": account, "caps": [day, total]}, 201)
    path = f"/keys/{key['id']}"

    def caps_of(answer: dict[str, Any]) -> list[dict[str, str]]:
        assert answer["cap"] == next(
            ({"amount_usd": c["amount_usd"], "period": c["period"]} for c in answer["caps"]), None
        )
        return [{"amount_usd": cap["amount_usd"], "period": cap["period"]} for cap in answer["caps"]]

    assert caps_of(key) == [total, day]
    # What is written as one cap takes the first one's place, and none other's unless it is of its period.
    for edit, after in (
        ({"cap": month}, [month, day]),
        ({"cap": day | {"amount_usd": "0.05"}}, [day | {"amount_usd": "0.05"}]),
        ({"caps": [day, month, total]}, [total, month, day]),
        ({"name": "renamed"}, [total, month, day]),
        ({"cap": None}, [month, day]),
        ({"caps": []}, []),
        ({"cap": month}, [month]),
        ({"caps": [month, day]}, [month, day]),
    ):
        before = ops.ask("GET", path).headers["etag"]
        assert caps_of(ops.edit(path, edit)) == after, edit
        assert ops.ask("GET", path).headers["etag"] != before, edit
    product.wait_until_known(key["key"])
    openai.OpenAI(base_url=product.url, api_key=key["key"]).embeddings.create(model=MODEL, input="one of each")
    own = product.account(key["key"])["key"]["caps"]
    assert own == ops("GET", path)["caps"]
    assert [cap["period"] for cap in own] == ["month", "day"]
    assert len({cap["spent_usd"] for cap in own}) == 1 < len({cap["resets_at"] for cap in own})
    for wrong in ({"caps": [day, day]}, {"caps": [day], "cap": month}, {"caps": [day | {"amount_usd": "-1"}]}):
        assert ops.ask("PATCH", path, wrong, if_match="*").status_code == 400, wrong


def test_an_account_has_caps_over_all_of_its_keys_which_a_key_may_only_tighten(
    product: Product, ops: Operator, finance: Operator
) -> None:
    account = str(ops("POST", "/accounts", {"name": "Shared"}, 201)["id"])
    finance("POST", f"/accounts/{account}/grants", {"amount_usd": "1.00", "source": "shared"}, 201)
    keys = [ops("POST", "/keys", {"account": account}, 201)["key"] for _ in range(2)]
    clients = [openai.OpenAI(base_url=product.url, api_key=key, max_retries=0) for key in keys]
    for key, client in zip(keys, clients, strict=True):
        product.wait_until_known(key)
        client.embeddings.create(model=MODEL, input="spent before there was a cap")

    def own(method: str, caps: list[dict[str, str]] | None = None) -> httpx.Response:
        url, headers = f"{product.url}/account/caps", {"Authorization": f"Bearer {keys[0]}"}
        return httpx.request(method, url, headers=headers, json=None if caps is None else {"caps": caps})

    assert own("GET").json() == {"caps": [], "object": "account_caps"}
    made = own("POST", [{"amount_usd": "0.50", "period": "month"}])
    assert made.status_code == 200, made.text
    raised = own("POST", [{"amount_usd": "0.51", "period": "month"}])
    assert (raised.status_code, raised.json()["error"]["code"]) == (403, "not_allowed")
    assert own("POST", []).status_code == 403
    lowered = own("POST", [{"amount_usd": "0.40", "period": "month"}, {"amount_usd": "0.30", "period": "day"}])
    assert [cap["period"] for cap in lowered.json()["caps"]] == ["month", "day"]
    assert own("POST", [{"amount_usd": "1", "period": "week"}]).status_code == 400

    spent = lowered.json()["caps"][1]["spent_usd"]
    assert Decimal(spent) > 0, "what was spent before counts"
    path = f"/accounts/{account}/caps"
    caps = [{"amount_usd": spent, "period": "day"}, {"amount_usd": "0.9", "period": "total"}]
    dry = ops("POST", f"{path}?dry_run=1", {"caps": caps})
    assert dry["caps"][1]["left_usd"] == "0.00"
    assert [cap["period"] for cap in ops("GET", path)["caps"]] == ["month", "day"], "a dry run writes nothing"
    typed = admin_command(product.environment, "caps", "set", account, "--caps", json.dumps(caps))
    assert [cap["left_usd"] for cap in typed["caps"]][1:] == ["0.00"]
    for client in clients:
        error = _refused(client)
        assert error["message"].startswith(f"The account's cap of {spent} USD per day is "), error
        facts = error["details"]
        # A call may have passed before every process knew the cap.
        assert Decimal(facts["spent_usd"]) >= Decimal(spent)
        assert f"{facts['spent_usd']} USD is spent" in error["message"]
        assert (facts["scope"], facts["period"], facts["left_usd"]) == ("account", "day", "0.00")
        assert facts["resets_at"] == typed["caps"][1]["resets_at"]
    # An operator raises it, and the calls pass again.
    ops("POST", path, {"caps": []})
    deadline = time.monotonic() + 20
    while True:
        try:
            clients[1].embeddings.create(model=MODEL, input="again")
            break
        except openai.PermissionDeniedError:
            assert time.monotonic() < deadline


def _refused(client: openai.OpenAI) -> dict[str, Any]:
    """The error of a call, once every process knows the caps."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            client.embeddings.create(model=MODEL, input="beyond")
        except openai.PermissionDeniedError as refused:
            error: dict[str, Any] = refused.response.json()["error"]
            return error
    raise AssertionError("the cap is never reached")
