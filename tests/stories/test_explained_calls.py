"""Every call tells what became of it: to its own account without secrets, to operators in full, to nobody else."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from billing.values import Limits
from catalog.values import Use
from gigarouter.commands.admin import app
from store.embedded import Embedded
from store.ids import AccountId, RequestId, new_id, wire
from tests.builders.database import NON_COMMERCIAL
from tests.harness.fake_upstream import Reply as Scripted
from tests.harness.fake_upstream import Upstream
from tests.harness.processes import Product
from tests.harness.raw_http import Reply, request_bytes, send

PATH = "/v1/embeddings"
MODEL = "tests/explained"
RESTRICTED = "tests/restricted"
BODY = {"model": MODEL, "input": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}
CHARGED_NANO = 10
CANARY = "canary-of-the-provider"
SECRETS = """
    UPDATE endpoints SET upstream_model = 'canary-upstream-name', cost_nano_per_mtok = 987654,
        priority = CASE WHEN provider_id = (SELECT id FROM providers WHERE name = 'second') THEN 200 ELSE 100 END
"""


@pytest.fixture(scope="module")
def first() -> Iterator[Upstream]:
    with Upstream().in_thread() as running:
        yield running


@pytest.fixture(scope="module")
def second() -> Iterator[Upstream]:
    with Upstream().in_thread() as running:
        yield running


@pytest.fixture(scope="module")
def product(
    servers: Embedded,
    module_database_url: str,
    first: Upstream,
    second: Upstream,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Product]:
    servers.redis.command("FLUSHALL")
    product = Product(
        tmp_path_factory.mktemp("explained"), module_database_url, servers.redis_url, serves=2, jobs=False
    )
    model = product.database.a_model(MODEL, vocabulary=100)
    product.database.an_endpoint(model, first.base_url, name="first", priority=1)
    product.database.an_endpoint(model, second.base_url, name="second")
    restricted = product.database.a_model(RESTRICTED, vocabulary=100)
    product.database.an_endpoint(restricted, first.base_url, name="third")
    product.database.a_claim(restricted, NON_COMMERCIAL)
    product.database.rows(SECRETS)
    with product:
        yield product


@pytest.fixture
def account(product: Product) -> AccountId:
    return product.database.an_account(1_000_000)


@pytest.fixture
def key(product: Product, account: AccountId) -> str:
    return product.wait_until_known(product.database.a_key(account))


@pytest.fixture
def honest(first: Upstream, second: Upstream) -> Iterator[None]:
    """Whatever a test made of them, they are honest again after it."""
    yield
    first.always, second.always = Scripted(), Scripted()


def call(product: Product, key: str, body: object = BODY) -> Reply:
    return asyncio.run(send(product.serves[0].port, request_bytes(PATH, key, body)))


def ask(product: Product, key: str, request_id: str, serve: int = 0) -> httpx.Response:
    """What the account is told, once it is recorded."""
    url = f"{product.serves[serve].url}/v1/requests/{request_id}"
    deadline = time.monotonic() + 30
    while True:
        answer = httpx.get(url, headers={"authorization": f"Bearer {key}"}, timeout=30)
        if "retry-after" not in answer.headers or time.monotonic() > deadline:
            return answer
        time.sleep(0.1)


def told(product: Product, key: str, reply: Reply) -> dict[str, Any]:
    answer = ask(product, key, reply.headers["x-request-id"])
    assert answer.status_code == 200, answer.text
    said: dict[str, Any] = answer.json()
    return said


def told_to_ops(product: Product, *arguments: str) -> dict[str, Any]:
    """What ``gigarouter admin requests show …`` or ``routes explain …`` prints."""
    result = CliRunner().invoke(app, arguments, env=product.environment)
    assert result.exit_code == 0, result.output
    said: dict[str, Any] = json.loads(result.stdout)
    return said


def test_an_answered_call_tells_its_owner_at_once_where_it_went_and_what_it_cost(
    product: Product, key: str, account: AccountId
) -> None:
    reply = call(product, key)
    url = f"{product.serves[0].url}/v1/requests/{reply.headers['x-request-id']}"
    answer = httpx.get(url, headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == 200, "the process that answered knows at once"
    said = answer.json()
    assert (said["status"], said["model"], said["inputs"], said["explained"]) == (200, MODEL, 1, True)
    assert [(c["provider"], c["place"], c["chosen"]) for c in said["candidates"]] == [
        ("first", 1, True),
        ("second", 2, False),
    ]
    [attempt] = said["attempts"]
    assert (attempt["provider"], attempt["why"], attempt["outcome"]) == ("first", "first", "answered")
    assert said["charge"]["amount"] == said["cost"] == reply.headers["x-gigarouter-cost"] == "0.00000001"
    assert said["charge"]["tokens"] == reply.json["usage"]["total_tokens"]
    entry = product.database.value("SELECT entry_id FROM usage_events WHERE account_id = $1", account)
    assert said["charge"]["entry"] == f"entry_{entry.hex}"
    assert said["price"]["id"] == reply.headers["x-gigarouter-price-id"]
    assert (said["hold"]["held"], said["hold"]["amount"], said["hold"]["tokens_max"]) == (True, "0.00000001", 10)
    assert (said["license"]["allowed"], said["license"]["license"]) == (True, "Apache-2.0")
    timings = said["timings"]
    assert 0 < timings["admitted_ms"] <= timings["delivered_ms"] <= timings["charged_ms"] <= timings["total_ms"]
    assert said["error"] is None


def test_another_process_tells_the_same_a_moment_later(product: Product, key: str) -> None:
    reply = call(product, key)
    here, there = (ask(product, key, reply.headers["x-request-id"], serve).json() for serve in (0, 1))
    assert here == there


def test_a_failover_is_told_attempt_by_attempt(product: Product, key: str, first: Upstream, honest: None) -> None:
    first.script.append(Scripted(status=500, body=json.dumps({"error": {"message": CANARY}}).encode()))
    reply = call(product, key)
    assert reply.headers["x-gigarouter-provider"] == "second"
    said = told(product, key, reply)
    assert [(a["provider"], a["why"], a["outcome"]) for a in said["attempts"]] == [
        ("first", "first", "failed"),
        ("second", "next", "answered"),
    ]
    assert [c["provider"] for c in said["candidates"] if c["chosen"]] == ["second"]
    assert said["charge"]["amount"] == "0.00000001"
    ops = told_to_ops(product, "requests", "show", said["id"])
    assert [a["outcome"] for a in ops["attempts"]] == ["Broken", "answered"]


def test_where_all_fail_the_call_tells_which_and_how_and_that_nothing_was_charged(
    product: Product, key: str, first: Upstream, second: Upstream, honest: None
) -> None:
    words = json.dumps({"error": {"message": f"{CANARY} sk-live-0123456789abcdef"}}).encode()
    first.always = second.always = Scripted(status=500, body=words)
    reply = call(product, key)
    assert reply.status == 503
    said = told(product, key, reply)
    assert (said["status"], said["error"]["code"]) == (503, reply.json["error"]["code"])
    assert [a["outcome"] for a in said["attempts"]] == ["failed", "failed"]
    assert (said["charge"], said["cost"], said["hold"]["held"]) == (None, None, True)
    ops = told_to_ops(product, "requests", "show", said["id"])
    assert "Broken" in ops["detail"]
    assert "sk-live-0123456789abcdef" not in json.dumps(ops)


@pytest.mark.parametrize("kind", ["out of credit", "limited", "restricted", "unknown model", "invalid"])
def test_a_refused_call_is_told_too(product: Product, kind: str) -> None:
    account = product.database.an_account(0 if kind == "out of credit" else 1_000_000)
    limits = Limits(requests_per_minute=1) if kind == "limited" else Limits()
    refused_key = product.wait_until_known(product.database.a_key(account, limits=limits))
    body: object = BODY
    if kind == "restricted":
        body = BODY | {"model": RESTRICTED}
    elif kind == "unknown model":
        body = BODY | {"model": "tests/nobody-knows"}
    elif kind == "invalid":
        body = {"model": MODEL}
    replies = [call(product, refused_key, body) for _ in range(2)]
    expected = {
        "out of credit": (402, "credit_exhausted"),
        "limited": (429, "rate_limited_requests"),
        "restricted": (403, "license_restricted"),
        "unknown model": (404, "model_not_found"),
        "invalid": (400, "invalid_request"),
    }[kind]
    said = told(product, refused_key, replies[-1])
    assert (said["status"], said["error"]["code"]) == expected
    assert said["error"]["message"] == replies[-1].json["error"]["message"]
    assert (said["attempts"], said["charge"]) == ([], None)
    if kind in ("out of credit", "limited"):
        assert [c["provider"] for c in said["candidates"]] == ["first", "second"]
        assert said["hold"] | {"exact": True} == {
            "amount": "0.00000001",
            "tokens_max": 10,
            "exact": True,
            "held": False,
        }
    if kind == "restricted":
        assert (said["license"]["allowed"], "CC-BY-NC-4.0" in said["license"]["license"]) == (False, True)
        assert said["license"]["reasons"]


def test_nobody_else_learns_that_there_was_a_call(product: Product, key: str) -> None:
    reply = call(product, key)
    told(product, key, reply)
    stranger = product.wait_until_known(product.database.a_key(product.database.an_account(0, "Stranger")))
    headers = {"authorization": f"Bearer {stranger}"}
    url = f"{product.serves[0].url}/v1/requests/"
    its, none = (
        httpx.get(url + request_id, headers=headers)
        for request_id in (reply.headers["x-request-id"], wire(RequestId, new_id()))
    )
    assert its.status_code == none.status_code == 404
    assert its.json()["error"] | {"request_id": ""} == none.json()["error"] | {"request_id": ""}
    assert (its.headers["retry-after"], none.headers["retry-after"]) == ("1", "1")
    old = httpx.get(url + "req_0190a0b0c0d07000800000000000aaaa", headers=headers)
    assert (old.status_code, "retry-after" in old.headers) == (404, False)
    assert httpx.get(url + "nonsense", headers=headers).status_code == 404
    assert httpx.get(url + reply.headers["x-request-id"]).status_code == 401


def test_a_customer_is_shown_nothing_of_ours_nor_of_a_providers_words(
    product: Product, key: str, first: Upstream, second: Upstream, honest: None
) -> None:
    words = json.dumps({"error": {"message": CANARY}}).encode()
    first.script.append(Scripted(status=500, body=words))
    replies = [call(product, key)]
    second.always = first.always = Scripted(status=500, body=words)
    replies.append(call(product, key))
    for reply in replies:
        request_id = reply.headers["x-request-id"]
        shown = ask(product, key, request_id).text
        ops = json.dumps(told_to_ops(product, "requests", "show", request_id))
        for secret in ("canary-upstream-name", "987654", "0.000987654"):
            assert secret not in shown
        assert CANARY not in shown
        assert "canary-upstream-name" in ops
        assert "0.000987654" in ops


def test_operators_see_cost_and_margin(product: Product, key: str) -> None:
    request_id = call(product, key).headers["x-request-id"]
    ask(product, key, request_id, serve=1)
    ops = told_to_ops(product, "requests", "show", request_id)
    assert (ops["cost"], ops["provider_cost"], ops["margin"]) == ("0.00000001", "0.00000001", "0.00")
    assert ops["candidates"][0]["upstream_model"] == "canary-upstream-name"
    assert ops["provider_tokens"] == 10


def test_a_killed_process_loses_no_usage_and_at_most_its_last_explanations(
    product: Product, key: str, account: AccountId
) -> None:
    early = call(product, key)
    ask(product, key, early.headers["x-request-id"], serve=1)
    late = call(product, key)
    product.serves[0].kill()
    product.serves[0].start()
    product.serves[0].wait_until_ready()
    assert product.database.value("SELECT count(*) FROM usage_events WHERE account_id = $1", account) == 2
    assert told(product, key, early)["explained"]
    said = told(product, key, late)
    assert (said["charge"]["amount"], said["model"]) == ("0.00000001", MODEL)


def test_a_call_whose_explanation_was_dropped_still_tells_its_charge(product: Product, key: str) -> None:
    reply = call(product, key)
    request_id = reply.headers["x-request-id"]
    ask(product, key, request_id, serve=1)
    product.database.rows("DELETE FROM routes WHERE request_id = $1", request_id[4:])
    while (answer := ask(product, key, request_id)).status_code == 404:
        time.sleep(0.5)
    said = answer.json()
    gone = ("explained", "candidates", "timings", "lane")
    assert [said[name] for name in gone] == [False, [], None, None]
    assert said["charge"]["amount"] == "0.00000001"
    assert said["price"]["id"] == reply.headers["x-gigarouter-price-id"]


def test_what_if_tells_where_a_call_would_go_and_calls_nobody(
    product: Product, first: Upstream, second: Upstream, key: str
) -> None:
    asked = len(first.calls) + len(second.calls)
    now = told_to_ops(product, "routes", "explain", MODEL, "--tokens", "1000")["now"]
    assert [(c["provider"], c["place"], c["chosen"]) for c in now["candidates"]] == [
        ("first", 1, True),
        ("second", 2, False),
    ]
    assert (now["hold"]["amount"], now["attempts"], now["status"]) == ("0.000001", [], None)
    endpoint = now["candidates"][0]["endpoint"]
    draining = f'{endpoint}={{"state": "draining"}}'
    for change in (["--what-if-exclude", "first"], ["--what-if-endpoints", draining]):
        then = told_to_ops(product, "routes", "explain", MODEL, *change)
        assert then["difference"]["chosen_now"].startswith("first (ep_")
        assert then["difference"]["chosen_then"].startswith("second (ep_")
        assert [name.split()[0] for name in then["difference"]["leaves"]] == ["first"]
    dearly = f'{endpoint}={{"cost_usd_per_mtok": "9.99", "healthy": true}}'
    dearer = told_to_ops(product, "routes", "explain", MODEL, "--what-if-endpoints", dearly)
    assert dearer["difference"]["cost_usd_per_mtok_now"] == "0.000987654"
    restricted = told_to_ops(product, "routes", "explain", RESTRICTED)["now"]
    assert (restricted["error"]["code"], restricted["license"]["allowed"]) == ("license_restricted", False)
    unsold = told_to_ops(product, "routes", "explain", RESTRICTED, "--use", "non_commercial")["now"]
    assert "money" in " ".join(unsold["license"]["reasons"])
    assert len(first.calls) + len(second.calls) == asked


def test_a_replayed_answer_says_so(product: Product, key: str, account: AccountId) -> None:
    headers = {"idempotency-key": wire(RequestId, new_id())}
    request = request_bytes(PATH, key, BODY, headers)
    # A client that hangs up with the last byte has been answered, whatever the server was still about to do.
    replies = [asyncio.run(send(product.serves[0].port, request)) for _ in range(9)]
    assert {reply.status for reply in replies} == {200}, replies
    for reply in replies[1:]:
        said = told(product, key, reply)
        assert (said["status"], said["replayed"], said["charge"], said["attempts"]) == (200, True, None, [])


def test_a_key_for_research_is_told_what_its_license_says(product: Product, account: AccountId) -> None:
    hobby = product.wait_until_known(product.database.a_key(account, use=Use.NON_COMMERCIAL))
    said = told(product, hobby, call(product, hobby, BODY | {"model": RESTRICTED}))
    assert (said["error"]["code"], said["license"]["allowed"]) == ("license_restricted", False)
    assert "money" in " ".join(said["license"]["reasons"])


def test_calls_made_while_postgres_was_away_are_explained_afterwards(
    product: Product, servers: Embedded, key: str
) -> None:
    postgres = servers.postgres.pid
    assert postgres is not None
    os.kill(postgres, signal.SIGQUIT)
    refused = [call(product, key, {"model": MODEL}) for _ in range(3)]
    time.sleep(1.5)
    servers.restart_dead()
    for serve in product.serves:
        serve.wait_until_ready()
    for reply in refused:
        assert told(product, key, reply)["error"]["code"] == "invalid_request"
