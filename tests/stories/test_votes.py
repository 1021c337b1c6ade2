"""A customer asks for a model that is announced, is told how to vote for it, votes, and may change their mind.

They may also know better what its license is, and read what changed about it.
"""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from store.embedded import Embedded
from tests.harness.admin_client import admin_command
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

    vote = {"model": SOON, "voted": True, "votes": 1, "mail_at_launch": True, "object": "model.vote"}
    assert one.vote().json() == vote
    assert one.vote(json={"note": "1B tokens a month, in the EU"}).json()["votes"] == 1
    assert two.vote().json()["votes"] == 2
    notes = product.database.rows("SELECT note FROM model_votes WHERE account_id = $1", one.account)
    assert [row["note"] for row in notes] == ["1B tokens a month, in the EU"]

    gone = two.ask("DELETE", f"/models/{SOON}/vote")
    assert gone.json() == vote | {"voted": False, "mail_at_launch": False}
    assert two.ask("DELETE", f"/models/{SOON}/vote").json()["votes"] == 1


def test_a_mail_at_launch_is_chosen_apart_from_the_vote(product: Product) -> None:
    one = Customer(product)
    place = f"/models/{SOON}/launch-mail"
    chosen = {"model": SOON, "mail_at_launch": True, "addresses": 0, "object": "model.launch_mail"}
    assert one.ask("POST", place).json() == chosen
    assert one.vote().json()["mail_at_launch"]
    # It was chosen by itself, so the vote takes nothing along; a vote may say otherwise.
    assert one.ask("DELETE", f"/models/{SOON}/vote").json()["mail_at_launch"]
    assert not one.vote(json={"mail_at_launch": False}).json()["mail_at_launch"]
    assert not one.vote(json={"note": "more of it"}).json()["mail_at_launch"]
    assert one.ask("DELETE", place).json() == chosen | {"mail_at_launch": False}
    assert one.ask("POST", "/models/nobody/nothing/launch-mail").status_code == 404
    one.ask("DELETE", f"/models/{SOON}/vote")


@pytest.mark.parametrize(
    ("model", "body", "status", "code"),
    [
        ("nobody/nothing", b"", 404, "model_not_found"),
        (SOON, b'{"note": 1}', 400, "invalid_request"),
        (SOON, b'{"note": "\\u0000"}', 400, "invalid_request"),
        (SOON, b'{"more": 1}', 400, "invalid_request"),
        (SOON, b'{"mail_at_launch": "yes"}', 400, "invalid_request"),
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


EVIDENCE = {"text": "The card's header says so since May.", "link": "https://acme.example/card"}


def test_who_knows_a_license_better_sends_it_to_the_operators_who_close_it_once(product: Product) -> None:
    one = Customer(product)
    before = one.ask("GET", f"/models/{SOON}").json()["license_verdict"]
    sent = one.ask("POST", "/models/F2LLM-v2-4B/evidence", json=EVIDENCE)
    assert (sent.status_code, sent.json()["model"], sent.json()["state"]) == (201, SOON, "open")
    for body in ({**EVIDENCE, "link": "javascript:alert(1)"}, {"link": EVIDENCE["link"]}, {**EVIDENCE, "text": ""}):
        assert one.ask("POST", f"/models/{SOON}/evidence", json=body).status_code == 400, body

    def admin(*arguments: str, exits: int = 0) -> Any:
        return admin_command(product.environment, "evidence", *arguments, exits=exits)

    [found] = [row for row in admin("list", "--model", SOON)["data"] if row["state"] == "open"]
    assert (found["id"], found["body"]) == (sent.json()["id"], EVIDENCE["text"])
    assert admin("resolve", found["id"], "accepted", "--note", "Claimed.")["state"] == "accepted"
    assert admin("resolve", found["id"], "rejected", "--note", "No.", exits=1) is None
    # It decides nothing by itself.
    assert one.ask("GET", f"/models/{SOON}").json()["license_verdict"] == before

    for _ in range(10):
        assert one.ask("POST", f"/models/{SOON}/evidence", json=EVIDENCE).status_code == 201
    full = one.ask("POST", f"/models/{SOON}/evidence", json=EVIDENCE)
    assert (full.status_code, full.json()["error"]["code"]) == (409, "conflict")


def test_what_changed_about_a_model_is_listed_for_anyone_and_says_no_license_by_its_name(product: Product) -> None:
    def changes(**query: Any) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{product.url}/model-changes", params=query).raise_for_status().json()
        return found

    for amount in ("0.010", "0.008"):
        admin_command(product.environment, "prices", "create", SOON, amount)
    admin_command(product.environment, "models", "edit", SOON, "--summary", "Another sentence.")
    whole = changes(model="F2LLM-v2-4B", limit=50)["data"]
    assert [row["sentence"] for row in whole[:3]] == [
        "Changed: summary.",
        "$0.008 per 1M tokens, before $0.01.",
        "$0.01 per 1M tokens.",
    ]
    assert "It was added to the catalogue." in [row["sentence"] for row in whole]
    assert len([row for row in whole if row["kind"] == "license"]) >= 3
    assert not [row for row in whole if "Apache" in row["sentence"] or "CC-BY" in row["sentence"]]
    # Page by page it is the same, and kinds can be chosen.
    page, paged = changes(model=SOON, limit=2), []
    paged += page["data"]
    while page["next_cursor"]:
        page = changes(model=SOON, limit=2, cursor=page["next_cursor"])
        paged += page["data"]
    assert paged == whole
    assert {row["kind"] for row in changes(kind="price")["data"]} == {"price"}
    assert httpx.get(f"{product.url}/model-changes", params={"cursor": "YQ"}).status_code == 400
