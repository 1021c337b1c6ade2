"""A customer reads what was used and paid: our own report, CSV, and OpenAI's client with its two reports."""

import asyncio
import csv
import io
import itertools
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import openai
import pytest
from jsonschema import Draft202012Validator

from billing.money import from_usd
from billing.rollups.fill import add_before, add_pending
from router.api.fields import rfc3339
from router.statistics.sums import sum_statistics
from store.embedded import Embedded
from store.ids import AccountId, KeyId, wire
from store.postgres import Database
from tests.harness.fake_upstream import Reply, Upstream
from tests.harness.processes import Product

CONTRACT = json.loads((Path(__file__).parents[1] / "contract" / "openai.openapi.json").read_text())
PAID, FREE = "acme/paid", "acme/free"
GROUPS = ("key", "model", "day", "month")
BOOKED = """
SELECT coalesce(-sum(p.amount_nano), 0)::bigint FROM postings p JOIN ledger_accounts l ON l.id = p.ledger_account_id
JOIN entries e ON e.id = p.entry_id WHERE e.kind = 'usage' AND l.kind LIKE 'customer_%' AND l.account_id = $1
"""


class Customer:
    """An account, its keys by name, and what its answers said that they cost."""

    def __init__(self, product: Product, name: str) -> None:
        self.product = product
        self.account = product.database.an_account(10**9, name)
        self.keys: dict[str, str] = {}
        self.ids: dict[str, KeyId] = {}
        for kind in ("live", "other", "test"):
            self.keys[kind], self.ids[kind] = product.database.a_key_and_its_id(self.account, is_test=kind == "test")
            product.wait_until_known(self.keys[kind])
        self.cost = 0
        self.answered = 0

    def call(self, model: str, text: str, by: str = "live", **headers: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.keys[by]}"} | {n.replace("_", "-"): v for n, v in headers.items()}
        body = {"model": model, "input": [text] * 2}
        answer = httpx.post(f"{self.product.url}/embeddings", json=body, headers=headers, timeout=30)
        if answer.status_code == 200:
            self.cost += from_usd(answer.headers["x-gigarouter-cost"])
            self.answered += "idempotency-replayed" not in answer.headers
        return answer

    def get(self, path: str, by: str = "live", **headers: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.keys[by]}"} | headers
        return httpx.get(f"{self.product.url}{path}", headers=headers, timeout=30)

    def usage(self, query: str = "", expects: int = 200) -> Any:
        answer = self.get(f"/usage{query}")
        assert answer.status_code == expects, answer.text
        return answer.json()

    @property
    def booked(self) -> int:
        return int(self.product.database.value(BOOKED, self.account))


@pytest.fixture(scope="module")
def product(
    servers: Embedded, module_database_url: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    servers.redis.command("FLUSHALL")
    product = Product(tmp_path_factory.mktemp("usage"), module_database_url, servers.redis_url, jobs=False)
    for model, price in ((PAID, 1_234_567_891), (FREE, 0)):
        made = product.database.a_model(model, nano_per_mtok=price)
        product.database.an_endpoint(made, upstream.base_url, name=f"secret-{price}")
    with product:
        yield product


@pytest.fixture(scope="module")
def acme(product: Product, upstream: Upstream) -> Customer:
    """Calls of every kind: paid and free, of a test key, repeated, and failed, which is no usage."""
    acme, other = Customer(product, "Acme"), Customer(product, "Other")
    for n, (model, by) in enumerate(itertools.product((PAID, FREE), acme.keys)):
        assert acme.call(model, f"text {n} " * (n + 1), by).status_code == 200
        assert other.call(model, "theirs", by).status_code == 200
    for _ in range(2):
        assert acme.call(PAID, "once", idempotency_key="once").status_code == 200
    upstream.always = Reply(status=500)
    try:
        assert acme.call(PAID, "fails").status_code == 503
    finally:
        upstream.always = Reply()
    return acme


def nano(rows: list[dict[str, Any]]) -> int:
    return sum(from_usd(row["charged_usd"]) + from_usd(row["overdraft_usd"]) for row in rows)


@pytest.mark.parametrize(
    "group_by", [",".join(groups) for n in (1, 2, 4) for groups in itertools.combinations(GROUPS, n)]
)
def test_however_it_is_grouped_it_is_what_was_charged(acme: Customer, group_by: str) -> None:
    answer = acme.usage(f"?group_by={group_by}")
    for rows in (answer["data"], [answer["totals"]]):
        assert nano(rows) == acme.cost == acme.booked > 0
        assert sum(row["calls"] for row in rows) == acme.answered
    # Two models by the test key, and the free one by the others.
    assert answer["totals"]["free_calls"] == 4
    for row in answer["data"]:
        assert {group for group in GROUPS if row[group] is not None} == set(group_by.split(","))


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "America/St_Johns"])
def test_days_are_those_of_the_zone_and_sums_are_the_same_before_and_after_jobs_have_made_them(
    acme: Customer, zone: str
) -> None:
    query = f"?timezone={zone}&group_by="
    groups = ("day", "month", "hour,model", "lane", "key,model,day")
    before = [acme.usage(query + group) for group in groups]
    local = datetime.now(ZoneInfo(zone))
    assert before[0]["timezone"] == zone
    assert {row["day"] for row in before[0]["data"]} <= {f"{local - timedelta(days=days):%Y-%m-%d}" for days in (0, 1)}
    assert before[0]["from"] == rfc3339(local.replace(day=1, hour=0, minute=0, second=0, microsecond=0))

    async def sum_up() -> None:
        db = Database(acme.product.database.url)
        await add_pending(db)
        await add_before(db, within_s=60)
        await db.close()

    asyncio.run(sum_up())
    assert acme.product.database.value(
        "SELECT sum(calls)::bigint FROM usage_by_key WHERE account_id = $1", acme.account
    )
    assert [acme.usage(query + group) for group in groups] == before
    assert acme.usage(f"?timezone={zone}&from={local:%Y-%m-%d}&group_by=key")["from"] == rfc3339(
        local.replace(hour=0, minute=0, second=0, microsecond=0)
    )


def test_it_is_this_accounts_alone_and_says_nothing_of_providers(acme: Customer) -> None:
    for path in ("/usage?group_by=key,model", "/usage?format=csv", "/organization/costs?start_time=0"):
        text = acme.get(path).text
        assert not re.search(r"provider|secret-|prov_|endpoint|Other", text), text
    for query, status in (
        ("?group_by=provider", 400),
        ("?group_by=account", 400),
        ("?account=Other", 400),
        ("?provider=secret-0", 400),
        (f"?key={wire(KeyId, Customer(acme.product, 'Third').ids['live'])}", 404),
        ("?key=nobody", 404),
        ("?key=tests", 409),  # all three are called so
        ("?model=acme/nothing", 404),
        ("?period=2026-13", 400),
    ):
        acme.usage(query, status)
    one = acme.usage(f"?key={wire(KeyId, acme.ids['other'])}&model={PAID}")
    assert one["totals"]["calls"] == 1
    assert acme.get("/usage", by="test").json()["totals"] == acme.usage()["totals"]
    unknown = httpx.get(f"{acme.product.url}/usage", headers={"authorization": "Bearer gr_live_nobody"})
    assert unknown.status_code == 401
    for secret in (acme.keys["live"], "gr_live_0"):
        assert acme.usage(f"?key={secret}", 400)["error"]["code"] == "key_in_url"


def test_as_csv_it_is_what_the_json_says(acme: Customer) -> None:
    answer = acme.usage("?group_by=key,model")
    by_format = acme.get("/usage?group_by=key,model&format=csv")
    assert by_format.headers["content-type"].startswith("text/csv")
    assert by_format.headers["cache-control"] == "no-store"
    assert acme.get("/usage?group_by=key&group_by=model", accept="text/csv").text == by_format.text
    rows = list(csv.DictReader(io.StringIO(by_format.text)))
    assert list(rows[0])[:5] == ["from", "to", "key", "key_name", "model"]
    for row, same in zip(rows, answer["data"], strict=True):
        assert row | {"from": 0, "to": 0, "currency": 0} == {
            name: 0 if name in ("from", "to", "currency") else str(same[name]) for name in row
        }


def test_an_account_without_calls_has_a_report_of_nothing(product: Product) -> None:
    customer = Customer(product, "New")
    answer = customer.usage("?group_by=month,model")
    assert (answer["data"], answer["totals"]["calls"], answer["totals"]["charged_usd"]) == ([], 0, "0.00")
    assert len(customer.get("/usage?format=csv").text.splitlines()) == 1
    page = customer.get("/organization/usage/embeddings?start_time=0&limit=1").json()
    assert [bucket["results"] for bucket in page["data"]] == [[]]


def check_schema(page: dict[str, Any]) -> None:
    schema = {"$ref": "#/components/schemas/UsageResponse", "components": CONTRACT["components"]}
    Draft202012Validator(schema).validate(page)


def test_openais_client_reads_both_reports(acme: Customer) -> None:
    client = openai.OpenAI(base_url=acme.product.url, admin_api_key=acme.keys["live"], api_key="unused")
    usage: Any = client.admin.organization.usage
    midnight = int(datetime.now(UTC).timestamp()) // 86_400 * 86_400
    totals = acme.usage(f"?from={datetime.fromtimestamp(midnight - 86_400, UTC):%Y-%m-%d}")["totals"]

    pages = usage.embeddings(start_time=midnight - 86_400, bucket_width="1d", group_by=["model", "api_key_id"])
    results = [result for bucket in pages.data for result in bucket.results]
    assert sum(result.input_tokens for result in results) == totals["tokens"]
    assert sum(result.num_model_requests for result in results) == totals["calls"]
    assert {result.model for result in results} == {PAID, FREE}
    assert {result.api_key_id for result in results} == {wire(KeyId, key) for key in acme.ids.values()}
    assert {(result.project_id, result.user_id) for result in results} == {(None, None)}

    costs = usage.costs(start_time=midnight - 86_400, group_by=["line_item", "project_id"])
    items = [result for bucket in costs.data for result in bucket.results]
    assert {item.line_item for item in items} == {PAID, FREE}
    assert {item.project_id for item in items} == {wire(AccountId, acme.account)}
    assert sum(item.quantity for item in items) == totals["tokens"]
    assert round(sum(item.amount.value for item in items) * 10**9) == acme.cost

    some = usage.embeddings(
        start_time=midnight - 86_400, models=[PAID], api_key_ids=[wire(KeyId, acme.ids["other"])], project_ids=[]
    )
    assert sum(result.num_model_requests for bucket in some.data for result in bucket.results) == 1


@pytest.mark.parametrize(("width", "limit"), [("1d", 1), ("1h", 7), ("1m", 300)])
def test_pages_have_every_second_once_and_sum_to_the_ledger(acme: Customer, width: str, limit: int) -> None:
    now = int(datetime.now(UTC).timestamp())
    start, end = now - 100_000 - 17, now + 1_000
    query = f"/organization/usage/embeddings?start_time={start}&end_time={end}&bucket_width={width}&limit={limit}"
    buckets, page = [], ""
    while True:
        answer = acme.get(query + page).json()
        check_schema(answer)
        assert len(answer["data"]) <= limit
        buckets += answer["data"]
        if not answer["has_more"]:
            break
        page = f"&page={answer['next_page']}"
    assert answer["next_page"] is None
    assert [buckets[0]["start_time"], buckets[-1]["end_time"]] == [start, end]
    assert all(one["end_time"] == two["start_time"] for one, two in itertools.pairwise(buckets))
    assert sum(result["num_model_requests"] for bucket in buckets for result in bucket["results"]) == acme.answered
    raw = acme.get(f"/organization/costs?start_time={start}&end_time={end}").text
    check_schema(json.loads(raw))
    # The number in the JSON has every nano-dollar.
    amounts = re.findall(r'"value":([0-9.]+)', raw)
    assert sum(from_usd(amount) for amount in amounts) == acme.booked


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("usage/embeddings", "start_time"),
        ("usage/embeddings?start_time=yesterday", "start_time"),
        ("usage/embeddings?start_time=1732838400000", "start_time"),
        ("usage/embeddings?start_time=5&end_time=5", "start_time"),
        ("usage/embeddings?start_time=0&limit=32", "limit"),
        ("usage/embeddings?start_time=0&bucket_width=1w", "bucket_width"),
        ("usage/embeddings?start_time=0&user_ids[]=u", "user_ids"),
        ("usage/embeddings?start_time=0&group_by[]=batch", "group_by"),
        ("usage/embeddings?start_time=0&page=nonsense", "page"),
        ("usage/embeddings?start_time=0&api_key_ids=nobody", "api_key_ids"),
        ("costs?start_time=0&limit=181", "limit"),
        ("costs?start_time=0&bucket_width=1h", "bucket_width"),
    ],
)
def test_what_openais_reports_do_not_take_is_refused_by_name(acme: Customer, query: str, param: str) -> None:
    answer = acme.get(f"/organization/{query}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text


def logged(acme: Customer, query: str = "") -> list[dict[str, Any]]:
    """All pages of the log of calls, five calls each."""
    rows: list[dict[str, Any]] = []
    path = f"/requests?limit=5{query}"
    while True:
        answer = acme.get(path)
        assert answer.status_code == 200, answer.text
        rows += answer.json()["data"]
        if "next" not in answer.links:
            return rows
        path = answer.links["next"]["url"].removeprefix("/v1")


def test_the_log_of_calls_has_refusals_and_failures_and_finds_them(acme: Customer) -> None:
    assert acme.call("acme/none", "no such model").status_code == 404
    deadline = time.monotonic() + 30
    while not logged(acme, "&code=model_not_found") and time.monotonic() < deadline:
        time.sleep(0.1)
    rows = logged(acme)
    assert [row["id"] for row in rows] == sorted((row["id"] for row in rows), reverse=True)
    outcomes = Counter(row["outcome"] for row in rows)
    assert outcomes == {"answered": acme.answered, "replayed": 1, "failed": 1, "refused": 1}
    assert sum(from_usd(row["cost_usd"]) for row in rows if row["cost_usd"]) == acme.cost
    [refused] = logged(acme, "&outcome=refused&slower_than_ms=0") or logged(acme, "&outcome=refused")
    assert (refused["code"], refused["model"], refused["tokens"]) == ("model_not_found", None, None)
    [failed] = logged(acme, f"&model={PAID}&outcome=failed")
    assert acme.get(f"/requests/{failed['id']}").json()["error"]["code"] == failed["code"] == "provider_unavailable"
    other = wire(KeyId, acme.ids["other"])
    assert {row["key"] for row in logged(acme, f"&key_id={other}")} == {other}
    assert logged(acme, "&slower_than_ms=100000") == []
    assert logged(acme, "&from=2020-01-01&to=2020-01-02") == []
    text = acme.get("/requests?format=csv").text
    assert [row["id"] for row in csv.DictReader(io.StringIO(text))] == [row["id"] for row in rows]


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("key_id=prov_1", "key_id"),
        ("cursor=nonsense", "cursor"),
        ("slower_than_ms=-1", "slower_than_ms"),
        ("slower_than_ms=٣", "slower_than_ms"),
        ("outcome=lost", "outcome"),
        ("code=No%20code", "code"),
        ("from=2026-02-01&to=2026-01-01", "from"),
        ("limit=0", "limit"),
        ("format=xml", "format"),
        ("colour=red", "colour"),
    ],
)
def test_what_the_log_of_calls_does_not_take_is_refused_by_name(acme: Customer, query: str, param: str) -> None:
    answer = acme.get(f"/requests?{query}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text


def test_anybody_sees_who_serves_a_model_and_what_is_not_known_is_null(acme: Customer) -> None:
    async def sum_up() -> None:
        db = Database(acme.product.database.url)
        await sum_statistics(db, datetime.now(UTC))
        await db.close()

    deadline = time.monotonic() + 30
    counted = "SELECT coalesce(sum(answered), 0) FROM endpoint_statistics"
    # Two customers' calls of two models, but for those with keys for tests.
    while acme.product.database.value(counted) < 8 and time.monotonic() < deadline:
        time.sleep(0.1)
    asyncio.run(sum_up())
    answer = httpx.get(f"{acme.product.url}/models/{PAID}/endpoints").json()
    [endpoint] = answer["data"]
    assert endpoint["provider"] == "secret-1234567891"
    assert answer["pricing"]["per_million_tokens"] == "1.234567891"
    assert endpoint["availability"]["attempts_24h"] > 3
    assert endpoint["availability"]["last_24h"] is None, "too few calls"
    assert {latency["p95_ms"] for latency in endpoint["latency"]} == {None}
    assert answer["as_of"] is not None
    assert not answer["late"]
    missing = httpx.get(f"{acme.product.url}/models/acme/none/endpoints")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
    # The first use of a minute is noted.
    uses = acme.product.database.rows("SELECT DISTINCT network::text, client FROM key_uses")
    assert {tuple(use) for use in uses} <= {("127.0.0.0/24", "Python-urllib"), ("127.0.0.0/24", "python-httpx")}
