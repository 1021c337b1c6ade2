"""The list of models is a picker's: each that it names answers a call with that key, and no other does."""

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from catalog.values import Use
from router.changes.transaction import UnitOfWork
from store.embedded import Embedded
from store.ids import ModelId
from tests.builders.database import NON_COMMERCIAL, add_claim, add_model, insert_model, make_live
from tests.harness.fake_upstream import Upstream
from tests.harness.processes import Product

SOLD, SECOND, OLD, RESTRICTED = "tests/sold", "tests/second", "tests/old", "tests/restricted"
UNPRICED, UNSERVED, DRAINING, QUARANTINED = "tests/unpriced", "tests/unserved", "tests/draining", "tests/doubted"
SOON, RETIRED, UNSALABLE = "tests/soon", "tests/retired", "tests/unsalable"
SERVED = (SOLD, SECOND, OLD, RESTRICTED, UNPRICED, DRAINING, QUARANTINED, RETIRED, UNSALABLE)
STATUS = "UPDATE models SET status = $2 WHERE id = $1 RETURNING 1"


@pytest.fixture(scope="module")
def product(
    servers: Embedded, module_database_url: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Product]:
    """A model of every kind: sold, and for every reason for which a call would be refused."""
    servers.redis.command("FLUSHALL")
    product = Product(tmp_path_factory.mktemp("models"), module_database_url, servers.redis_url, jobs=False)
    database = product.database

    async def others(work: UnitOfWork) -> None:
        await insert_model(work.connection, UNPRICED)
        await add_claim(work.connection, ModelId(UNPRICED))
        await make_live(work.connection, ModelId(UNPRICED))
        await add_model(work.connection, SOON)

    database.as_owner(others)
    for model in {*SERVED, UNSERVED} - {UNPRICED}:
        database.a_model(model, nano_per_mtok=0 if model == RESTRICTED else 1_000_000)
    for number, model in enumerate(SERVED):
        database.an_endpoint(ModelId(model), upstream.base_url, name=f"upstream-{number}")
    database.a_claim(RESTRICTED, NON_COMMERCIAL)
    database.a_claim(UNSALABLE, NON_COMMERCIAL)
    database.value("UPDATE endpoints SET state = 'draining' WHERE model_id = $1 RETURNING 1", DRAINING)
    doubt = "UPDATE endpoints SET state = 'quarantined', quarantine_cause = 'operator' WHERE model_id = $1 RETURNING 1"
    database.value(doubt, QUARANTINED)
    for model, status in ((OLD, "deprecated"), (RETIRED, "deprecated"), (RETIRED, "retired")):
        database.value(STATUS, model, status)
    with product:
        yield product


def _get(product: Product, path: str, key: str | None = None) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.get(f"{product.serves[0].url}{path}", headers=headers, timeout=20)


def _ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [model["id"] for model in answer.json()["data"]]


def _a_key(product: Product, *models: str, **fields: Any) -> str:
    key = product.database.a_key(product.database.an_account(1_000_000_000), **fields)
    if models:
        product.database.value("UPDATE keys SET models = $2 WHERE handle = $1 RETURNING 1", key[8:16], list(models))
    return product.wait_until_known(key)


@pytest.mark.parametrize(
    ("fields", "models", "usable"),
    [
        ({}, (), [OLD, SECOND, SOLD]),
        ({"use": Use.RESEARCH}, (), [OLD, RESTRICTED, SECOND, SOLD]),
        ({}, (SECOND, SOON), [SECOND]),
        # A test key is answered by the sandbox, at no price: only status and license count.
        ({"is_test": True}, (), sorted([DRAINING, QUARANTINED, OLD, SECOND, SOLD, UNPRICED, UNSERVED])),
    ],
)
def test_the_list_is_what_a_call_with_the_key_is_answered_by(
    product: Product, fields: dict[str, Any], models: tuple[str, ...], usable: list[str]
) -> None:
    key = _a_key(product, *models, **fields)
    with openai.OpenAI(base_url=product.url, api_key=key, max_retries=0) as client:
        page = client.models.list()
        assert [model.id for model in page] == usable
        assert not page.has_next_page()
        answered = []
        for model in sorted((*SERVED, UNSERVED, SOON)):
            try:
                client.embeddings.create(model=model, input="hello")
                answered.append(model)
            except openai.APIStatusError:
                pass
        assert answered == usable
    everything = _get(product, "/v1/models?status=all", key).json()["data"]
    assert [model["id"] for model in everything if model["usable_by_this_key"]] == usable
    assert {model["id"] for model in everything} >= {*SERVED, UNSERVED, SOON}


def test_anyone_sees_what_is_sold_and_each_model_without_a_key(product: Product) -> None:
    answer = _get(product, "/v1/models")
    # The license of one lets research keys use it, so it is sold, though not to every key.
    assert _ids(answer) == [OLD, RESTRICTED, SECOND, SOLD]
    assert all(model["usable_by_this_key"] is None for model in answer.json()["data"])
    assert "authorization" in answer.headers["vary"].lower()
    assert _get(product, f"/v1/models/{SOON}").json()["status"] == "coming_soon"
    assert _get(product, "/v1/models/tests/solt").json()["error"]["details"]["nearest"][0] == SOLD


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer gr_live_wrong"},
        {"authorization": "Bearer"},
        {"authorization": "Basic eDp5"},
        {"x-api-key": "gr_live_wrong"},
    ],
)
@pytest.mark.parametrize("path", ["/v1/models", f"/v1/models/{SOLD}"])
def test_a_wrong_key_is_not_taken_for_none(product: Product, path: str, headers: dict[str, str]) -> None:
    assert httpx.get(f"{product.serves[0].url}{path}", headers=headers).status_code == 401


def test_others_are_listed_by_status_and_page_by_page(product: Product) -> None:
    assert _ids(_get(product, "/v1/models?status=coming_soon")) == [SOON]
    assert _ids(_get(product, "/v1/models?status=retired&status=coming_soon")) == [RETIRED, SOON]
    assert _ids(_get(product, "/v1/models?status=usable&status=coming_soon")) == [OLD, RESTRICTED, SECOND, SOLD, SOON]
    whole, path, pages = _ids(_get(product, "/v1/models?status=all")), "/v1/models?status=all&limit=4", []
    while path:
        answer = _get(product, path)
        pages.append(_ids(answer))
        assert answer.json()["has_more"] == ("link" in answer.headers) == (answer.json()["next_cursor"] is not None)
        path = answer.headers.get("link", "").partition(">")[0].removeprefix("<")
    assert [model for page in pages for model in page] == whole
    assert [len(page) for page in pages] == [4] * (len(whole) // 4) + ([len(whole) % 4] if len(whole) % 4 else [])


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("stauts=live", "stauts"),
        ("status=lively", "status"),
        ("limit=0", "limit"),
        ("limit=5&limit=6", "limit"),
        ("cursor=%00", "cursor"),
        ("cursor=!", "cursor"),
        ("after=x", "after"),
    ],
)
def test_what_a_query_cannot_mean_is_refused(product: Product, query: str, param: str) -> None:
    answer = _get(product, f"/v1/models?{query}")
    assert answer.status_code == 400, answer.text
    assert param in answer.json()["error"]["param"]


def test_an_unknown_query_field_of_one_model_is_refused_too(product: Product) -> None:
    assert _get(product, f"/v1/models/{SOLD}?status=live").json()["error"]["code"] == "unknown_parameter"
