"""Token ids are taken only where they are the model's own for sure: other ids are the vector of another text."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from alembic import command
from alembic.config import Config
from langchain_openai import OpenAIEmbeddings
from pydantic import SecretStr

from gigarouter.schema import migrate, migrations_folder
from store.embedded import Embedded
from tests.harness.admin_client import Operator, admin_command, an_operator
from tests.harness.fake_upstream import Upstream, unit_vector
from tests.harness.processes import Product

# One has the tokenizer that OpenAI's clients encode with; one has its own, in which every id of theirs exists, too.
OPENAIS, OWN = "tests/openais", "tests/own"
TEXT = "Plain English, in two\nlines."
BEFORE = "0010"
OLD_KEY = """
INSERT INTO accounts (id, name) VALUES (gen_random_uuid(), 'old');
INSERT INTO keys (
    id, account_id, name, handle, last4, digest, use, requests_per_minute, tokens_per_minute, concurrency
) SELECT gen_random_uuid(), id, '{name}', '{handle}', 'last', sha256('{handle}'), 'commercial', 1, 1, 1
FROM accounts LIMIT 1
"""


@pytest.fixture(scope="module")
def product(
    servers: Embedded, module_database_url: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    servers.redis.command("FLUSHALL")
    product = Product(tmp_path_factory.mktemp("ids"), module_database_url, servers.redis_url, jobs=False)
    database = product.database
    cl100k = database.a_model(OPENAIS, tokenizer="cl100k_base", vocabulary_size=100_277)
    own = database.a_model(OWN, tokenizer="acme/tokenizer", vocabulary_size=151_669)
    database.an_endpoint(cl100k, upstream.base_url, name="one")
    database.an_endpoint(own, upstream.base_url, name="two")
    with product:
        yield product


@pytest.fixture(scope="module")
def ops(product: Product) -> Operator:
    return an_operator(product.environment, product.serves[0].admin_url)


@pytest.fixture(autouse=True)
def _vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    """The vocabulary's file, which LangChain would download, comes with litellm."""
    found = importlib.util.find_spec("litellm")
    assert found is not None
    assert found.origin is not None
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(Path(found.origin).parent / "litellm_core_utils" / "tokenizers"))


@pytest.fixture
def account(ops: Operator, product: Product) -> str:
    return str(ops("GET", f"/accounts/acct_{product.database.an_account(10**10).hex}")["id"])


def _a_key(product: Product, ops: Operator, account: str, **fields: Any) -> tuple[str, str]:
    """A key as an operator makes it, and its id."""
    made = ops("POST", "/keys", {"account": account, **fields}, 201)
    return product.wait_until_known(made["key"]), made["id"]


def _langchain(product: Product, key: str, model: str, **fields: Any) -> list[float]:
    embeddings = OpenAIEmbeddings(base_url=product.url, api_key=SecretStr(key), model=model, max_retries=0, **fields)
    try:
        return embeddings.embed_query(TEXT)
    finally:
        embeddings.client._client.close()


def _ids(product: Product, key: str, model: str, **headers: str) -> httpx.Response:
    named = {"authorization": f"Bearer {key}"} | {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps({"model": model, "input": [[1, 2, 3]]}).encode()
    return httpx.post(f"{product.url}/embeddings", content=body, headers=named, timeout=30)


def test_langchain_as_it_comes_never_gets_the_vector_of_another_text(
    product: Product, ops: Operator, account: str
) -> None:
    key, _ = _a_key(product, ops, account)
    # Of OpenAI's models its ids are right.
    assert len(_langchain(product, key, OPENAIS)) == 8
    with pytest.raises(openai.BadRequestError) as refused:
        _langchain(product, key, OWN)
    assert refused.value.code == "token_array_unsupported"
    for words in ("check_embedding_ctx_length=False", "allow_token_ids", "acme/tokenizer"):
        assert words in refused.value.message
    vector = _langchain(product, key, OWN, check_embedding_ctx_length=False)
    assert vector == pytest.approx(unit_vector(TEXT, 8), abs=1e-6)


def test_a_key_that_says_so_sends_ids_and_the_answer_names_whose_they_were_taken_for(
    product: Product, ops: Operator, account: str
) -> None:
    key, key_id = _a_key(product, ops, account, allow_token_ids=True)
    answer = _ids(product, key, OWN, idempotency_key="ids-1")
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-gigarouter-tokenizer"] == "acme/tokenizer"
    again = _ids(product, key, OWN, idempotency_key="ids-1")
    assert (again.headers["idempotency-replayed"], again.headers["x-gigarouter-tokenizer"]) == (
        "true",
        "acme/tokenizer",
    )
    assert _ids(product, key, OPENAIS).headers["x-gigarouter-tokenizer"] == "cl100k_base"
    text = httpx.post(
        f"{product.url}/embeddings", json={"model": OWN, "input": "x"}, headers={"authorization": f"Bearer {key}"}
    )
    assert "x-gigarouter-tokenizer" not in text.headers
    ops.edit(f"/keys/{key_id}", {"allow_token_ids": False})
    for _ in range(100):
        if _ids(product, key, OWN).status_code == 400:
            break
    assert _ids(product, key, OWN).json()["error"]["code"] == "token_array_unsupported"


@pytest.mark.parametrize("is_test", [False, True])
def test_models_account_and_quote_say_what_the_call_does(
    product: Product, ops: Operator, account: str, is_test: bool
) -> None:
    for allowed in (False, True):
        key, _ = _a_key(product, ops, account, allow_token_ids=allowed, is_test=is_test)
        with httpx.Client(base_url=product.url, headers={"authorization": f"Bearer {key}"}, timeout=30) as client:
            takes = {one["id"]: one["takes_token_ids"] for one in client.get("/models").json()["data"]}
            assert takes == {OPENAIS: True, OWN: allowed}
            assert client.get("/account").json()["key"]["allow_token_ids"] is allowed
            for model, taken in takes.items():
                body = {"model": model, "input": [[1, 2, 3]]}
                statuses = {client.post(path, json=body).status_code for path in ("/embeddings", "/quote")}
                assert statuses == {200 if taken else 400}


def test_the_command_line_makes_and_changes_such_keys(product: Product, account: str) -> None:
    made = admin_command(product.environment, "keys", "create", account, "--allow-token-ids")
    assert made["allow_token_ids"] is True
    edited = admin_command(product.environment, "keys", "edit", made["id"], "--no-allow-token-ids")
    assert edited["allow_token_ids"] is False


def test_keys_from_before_go_on_as_they_did_and_an_older_releases_new_ones_do_not(servers: Embedded) -> None:
    name = "before_token_id_keys"
    servers.postgres.query(f'CREATE DATABASE "{name}"')
    try:
        config = Config()
        config.set_main_option("script_location", str(migrations_folder()))
        config.attributes["database_url"] = servers.postgres.url(name)
        command.upgrade(config, BEFORE)
        servers.postgres.query(OLD_KEY.format(name="old", handle="aaaaaaaa"), name)
        migrate(servers.postgres.url(name))
        servers.postgres.query(OLD_KEY.format(name="new", handle="bbbbbbbb"), name)
        found = servers.postgres.query("SELECT name, allow_token_ids FROM keys ORDER BY name", name)
        assert found.split() == ["new|f", "old|t"]
    finally:
        servers.postgres.query(f'DROP DATABASE "{name}" WITH (FORCE)')
