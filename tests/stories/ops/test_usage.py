"""Finance asks for usage by any of account, key, model, day and provider; the sums are the ledger's, to the nano."""

import csv
import io
import itertools
import json
import re
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from billing.money import from_usd, to_usd
from gigarouter.commands.admin import app, output
from store.ids import AccountId, KeyId, wire
from tests.harness.admin_client import Operator
from tests.harness.fake_upstream import Upstream
from tests.harness.processes import Product

GROUPS = ("account", "key", "model", "day", "month", "provider")
MODELS = {"acme/usage-a": ("alpha", 1_234_567_891), "acme/usage-b": ("beta", 98_765_433)}
# Credit in nano-USD: the second account's ends within its calls, so that some of them are overdraft or refused.
CREDITS = {"=Acme, Inc.": 1_000_000_000, "Beta": 40_000}

BOOKED = """
SELECT l.account_id, l.kind, -sum(p.amount_nano)::bigint AS amount
FROM postings p JOIN entries e ON e.id = p.entry_id JOIN ledger_accounts l ON l.id = p.ledger_account_id
WHERE e.kind = 'usage' GROUP BY 1, 2
"""


class Books:
    """What was called, and what the ledger says of it."""

    def __init__(self, product: Product, keys: dict[str, tuple[AccountId, list[KeyId]]]) -> None:
        self.product = product
        self.keys = keys

    def booked(self, kind: str, account: AccountId | None = None) -> int:
        rows = self.product.database.rows(BOOKED)
        return sum(row["amount"] for row in rows if row["kind"] == kind and account in (None, row["account_id"]))


@pytest.fixture(scope="module")
def books(product: Product, upstream: Upstream) -> Books:
    database = product.database
    for model, (provider, price) in MODELS.items():
        database.a_model(model, nano_per_mtok=price, dimensions=384)
        database.an_endpoint(model, upstream.base_url, name=provider, cost_nano_per_mtok=price // 3)  # type: ignore[arg-type]
    keys: dict[str, tuple[AccountId, list[KeyId]]] = {}
    answered = 0
    for name, credit in CREDITS.items():
        account = database.an_account(credit, name)
        database.a_gift(account, 5_000)
        made = [database.a_key_and_its_id(account) for _ in range(2)]
        keys[name] = (account, [key_id for _, key_id in made])
        for (key, _), model, n in itertools.product(made, MODELS, range(3)):
            product.wait_until_known(key)
            body = {"model": model, "input": [f"text {n} " * (n + 1)] * (n + 1)}
            answer = httpx.post(f"{product.url}/embeddings", json=body, headers={"authorization": f"Bearer {key}"})
            assert answer.status_code in (200, 402), answer.text
            answered += answer.status_code == 200
    until = time.monotonic() + 30
    while database.value("SELECT count(*) FROM usage_events") < answered and time.monotonic() < until:
        time.sleep(0.05)
    return Books(product, keys)


def nano(rows: list[dict[str, Any]], field: str) -> int:
    return sum(from_usd(row[field]) for row in rows)


@pytest.mark.parametrize(
    "group_by", [",".join(groups) for n in (1, 2, 6) for groups in itertools.combinations(GROUPS, n)]
)
def test_however_it_is_grouped_the_sums_are_the_ledgers(books: Books, finance: Operator, group_by: str) -> None:
    answer = finance("GET", f"/usage?group_by={group_by}")
    for rows in (answer["data"], [answer["totals"]]):
        assert nano(rows, "charged_usd") == books.booked("customer_credit") > 0
        assert nano(rows, "overdraft_usd") == books.booked("customer_overdraft")
        assert nano(rows, "revenue_usd") == -books.booked("revenue") > 0
        assert nano(rows, "goodwill_usd") == -books.booked("goodwill_expense") > 0
        assert nano(rows, "provider_cost_usd") == books.booked("provider_cost") > 0
        assert sum(row["calls"] for row in rows) == books.product.database.value("SELECT count(*) FROM usage_events")
    for row in answer["data"]:
        assert {group for group in GROUPS if row[group] is not None} == set(group_by.split(","))
    assert (answer["timezone"], answer["group_by"]) == ("UTC", group_by.split(","))


def test_names_stand_beside_ids_that_every_operation_takes(books: Books, finance: Operator) -> None:
    rows = finance("GET", "/usage?group_by=account&group_by=key&group_by=provider")["data"]
    for row in rows:
        assert finance("GET", f"/accounts/{row['account']}")["name"] == row["account_name"]
        assert finance("GET", f"/keys/{row['key']}")["name"] == row["key_name"]
        assert finance("GET", f"/providers/{row['provider']}")["name"] == row["provider_name"]
    assert {row["account_name"] for row in rows} == set(CREDITS)


def test_it_is_filtered_by_names_and_ids(books: Books, finance: Operator) -> None:
    account, keys = books.keys["Beta"]
    booked = books.booked("customer_credit", account)
    for text in ("Beta", wire(AccountId, account)):
        totals = finance("GET", f"/usage?account={text}")["totals"]
        assert from_usd(totals["charged_usd"]) == booked
    by_key = [finance("GET", f"/usage?key={wire(KeyId, key)}")["totals"] for key in keys]
    assert nano(by_key, "charged_usd") == booked
    (row,) = finance("GET", "/usage?group_by=model&provider=alpha")["data"]
    assert row["model"] == "acme/usage-a"
    assert finance("GET", "/usage?model=acme/usage-a")["totals"]["calls"] == row["calls"]
    several = finance("GET", "/usage?key=tests", expects=409)["error"]
    assert "4 keys are called tests" in several["message"]
    for wrong in ("account=nobody", "key=nobody", "provider=nobody", "model=acme/nobody"):
        finance("GET", f"/usage?{wrong}", expects=404)


def test_a_span_is_half_open_and_in_utc(books: Books, finance: Operator) -> None:
    now = datetime.now(UTC)
    calls = finance("GET", "/usage")["totals"]["calls"]
    for period in (f"{now:%Y-%m}", f"{now:%Y}-Q{(now.month + 2) // 3}", f"{now:%Y}"):
        assert finance("GET", f"/usage?period={period}")["totals"]["calls"] == calls
    quarter = finance("GET", "/usage?period=2026-Q4")
    assert (quarter["from"], quarter["to"]) == ("2026-10-01T00:00:00Z", "2027-01-01T00:00:00Z")
    assert finance("GET", "/usage?from=2026-01-01&to=2026-01-01T00:00:01Z")["data"] == []
    first, last = books.product.database.rows("SELECT min(occurred_at), max(occurred_at) FROM usage_events")[0]
    text = [f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}" for at in (first, last)]
    assert finance("GET", f"/usage?from={text[0]}&to={text[1]}")["totals"]["calls"] == calls - 1
    assert finance("GET", f"/usage?from={text[0]}")["totals"]["calls"] == calls


def test_as_csv_it_is_what_the_json_says(books: Books, finance: Operator) -> None:
    answer = finance("GET", "/usage?group_by=account,model")
    texts = {
        finance.ask("GET", "/usage?group_by=account,model&format=csv").text,
        finance.ask("GET", "/usage?group_by=account,model", accept="text/csv").text,
        finance.ask("GET", "/usage?group_by=account,model", accept="application/json;q=0.5, TEXT/csv").text,
    }
    (text,) = texts
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0])[:5] == ["from", "to", "account", "account_name", "model"]
    for row, same in zip(rows, answer["data"], strict=True):
        assert {row["from"], row["to"]} == {answer["from"], answer["to"]}
        name = row["account_name"].removeprefix("'")
        assert (row["account"], name, row["model"]) == (same["account"], same["account_name"], same["model"])
        assert (row["charged_usd"], row["tokens"]) == (same["charged_usd"], str(same["tokens"]))
    # A name is no formula in a spreadsheet.
    assert "'=Acme, Inc." in {row["account_name"] for row in rows}
    assert to_usd(nano(rows, "charged_usd")) == answer["totals"]["charged_usd"]
    as_csv = finance.ask("GET", "/usage?format=csv", accept="application/json")
    assert as_csv.headers["content-type"].startswith("text/csv")
    for accept in ("*/*", "application/json", "text/html", "text/csv;q=0"):
        assert finance.ask("GET", "/usage", accept=accept).headers["content-type"] == "application/json"


def test_this_months_usage_per_account_as_csv_is_one_command_and_one_get(books: Books, finance: Operator) -> None:
    got = finance.ask("GET", "/usage?group_by=account&format=csv").text
    rows = list(csv.DictReader(io.StringIO(got)))
    assert {row["account_name"].removeprefix("'") for row in rows} == set(CREDITS)
    assert nano(rows, "charged_usd") == books.booked("customer_credit")
    assert all(row["from"] == f"{datetime.now(UTC):%Y-%m-01T00:00:00Z}" for row in rows)
    environment = {"GIGAROUTER_OPERATOR_KEY": finance.key}
    # A noun with one verb needs none.
    for words in (("usage", "--csv", "--group-by", "account"), ("usage", "list", "--group-by", "account", "--csv")):
        typed = CliRunner().invoke(app, ("--url", finance.url, *words), env=environment)
        assert typed.exit_code == 0, typed.output
        assert typed.stdout_bytes == got.encode()
    assert "--csv" in CliRunner().invoke(app, ("usage", "--help")).stdout
    as_json = CliRunner().invoke(app, ("--url", finance.url, "usage"), env=environment)
    assert json.loads(as_json.stdout)["group_by"] == ["day"]


def test_a_table_has_the_columns_of_its_grouping_alone(
    books: Books, finance: Operator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "prints_json", lambda wanted: wanted)
    monkeypatch.setenv("COLUMNS", "300")
    for grouping, first in (("account", ["account", "account name"]), ("day,model", ["day", "model"])):
        output.show(finance("GET", f"/usage?group_by={grouping}"), as_json=False)
        lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
        header = lines[lines.index("Data") + 1]
        assert not [line for line in lines if line.split()[:1] == ["object"]], "what kind it is only programs ask"
        columns = re.split(r"  +", header.strip())
        assert columns[: len(first)] == first
        assert not {*GROUPS, "account name", "provider name", "key name"}.intersection(columns[len(first) :])


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("group_by=customer", "group_by"),
        ("group_by=", "group_by"),
        ("period=2026-13", "period"),
        ("period=2026-11&from=2026-11-01", "period"),
        ("to=2026-11-01", "from"),
        ("from=2026-11-02&to=2026-11-02", "from"),
        ("from=yesterday", "from"),
        ("account=key_1", "account"),
        ("format=xlsx", "format"),
        ("by=day", "by"),
        ("account=a&account=b", "account"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(finance: Operator, query: str, param: str) -> None:
    assert finance("GET", f"/usage?{query}", expects=400)["error"]["param"] == param


def test_a_secret_in_the_query_is_still_refused(finance: Operator) -> None:
    for query in ("key=gr_live_abc", "api_key=x", "account=gr_ops_abc"):
        assert finance("GET", f"/usage?{query}", expects=400)["error"]["code"] == "key_in_url"


def test_the_trial_balance_balances_after_all_of_it(books: Books, ops: Operator) -> None:
    answer = ops("GET", "/ledger:trial-balance")
    assert (answer["balanced"], answer["total_usd"]) == (True, "0.00")
    assert (answer["unbalanced_entries"], answer["drifted_credits"]) == (0, [])
    by_kind = {row["ledger_account"]: from_usd(row["balance_usd"]) for row in answer["data"]}
    assert by_kind["provider_cost"] == -books.booked("provider_cost")
    assert sum(by_kind.values()) == 0
    assert sum(row["postings"] for row in answer["data"]) == answer["postings"]
