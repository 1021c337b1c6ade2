"""A customer asks for a model that is announced, is told how to vote for it, votes, and may change their mind."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from store.embedded import Embedded
from tests.harness.processes import Product

SOON = "codefuse-ai/F2LLM-v2-4B"


@pytest.fixture(scope="module")
def product(servers: Embedded, module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    servers.redis.command("FLUSHALL")
    product = Product(tmp_path_factory.mktemp("votes"), module_database_url, servers.redis_url)
    product.database.import_seed()
    with product:
        yield product


class Customer:
    """One account, by one of its keys."""

    def __init__(self, product: Product) -> None:
        self.account = product.database.an_account(1_000_000)
        self._url = product.url
        self._key = product.wait_until_known(product.database.a_key(self.account))

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        return httpx.request(method, self._url + path, headers={"authorization": f"Bearer {self._key}"}, **more)

    def vote(self, model: str = SOON, **more: Any) -> httpx.Response:
        return self.ask("POST", f"/models/{model}/vote", **more)


def test_an_announced_model_says_how_to_vote_and_counts_each_account_once(product: Product) -> None:
    one, two = Customer(product), Customer(product)
    refused = one.ask("POST", "/embeddings", json={"model": SOON, "input": "hello"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_available")
    assert f"POST /v1/models/{SOON}/vote" in refused.json()["error"]["message"]

    assert one.vote().json() == {"model": SOON, "voted": True, "votes": 1, "object": "model.vote"}
    assert one.vote(json={"note": "1B tokens a month, in the EU"}).json()["votes"] == 1
    assert two.vote().json()["votes"] == 2
    notes = product.database.rows("SELECT note FROM model_votes WHERE account_id = $1", one.account)
    assert [row["note"] for row in notes] == ["1B tokens a month, in the EU"]

    gone = two.ask("DELETE", f"/models/{SOON}/vote")
    assert gone.json() == {"model": SOON, "voted": False, "votes": 1, "object": "model.vote"}
    assert two.ask("DELETE", f"/models/{SOON}/vote").json()["votes"] == 1


@pytest.mark.parametrize(
    ("model", "body", "status", "code"),
    [
        ("nobody/nothing", b"", 404, "model_not_found"),
        (SOON, b'{"note": 1}', 400, "invalid_request"),
        (SOON, b'{"note": "\\u0000"}', 400, "invalid_request"),
        (SOON, b'{"more": 1}', 400, "invalid_request"),
        (SOON, b"[" * 100_000, 400, "invalid_request"),
    ],
)
def test_what_is_no_vote_is_refused(product: Product, model: str, body: bytes, status: int, code: str) -> None:
    answer = Customer(product).vote(model, content=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_model_that_is_served_takes_no_votes(product: Product) -> None:
    live = product.database.a_model("tests/live")
    customer = Customer(product)
    answer = customer.vote(live)
    assert answer.status_code == 400
    assert "coming soon" in answer.json()["error"]["message"]
