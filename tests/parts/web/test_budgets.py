"""Pages of 200 models stay light, and send Postgres as many statements as a page of one."""

import gzip
from urllib.parse import quote

import pytest

from tests.builders.database import DatabaseBuilder
from tests.harness.pages import Pages

pytestmark = pytest.mark.anyio

MODELS = 200
HTML_BYTES_MAX, GZIP_BYTES_MAX = 150_000, 20_000
STATEMENTS_MAX = 6


@pytest.fixture(scope="module")
def many_models(build: DatabaseBuilder) -> list[str]:
    """200 models; their ids."""
    known = [str(row["id"]) for row in build.rows("SELECT id FROM models ORDER BY id")]
    build.rows(
        "INSERT INTO models (id, owned_by, summary, dimensions, max_input_tokens, normalized, status, space, pooling, "
        "numerics) SELECT 'many/embedding-model-of-the-tests-' || n, 'many', 'A model of the tests', 1024, 8192, true, "
        "'coming_soon', 'tests:' || n, 'mean', 'float32' FROM generate_series(1, $1) n",
        MODELS - len(known),
    )
    return known


async def test_a_list_of_two_hundred_is_light_and_asks_no_more_than_a_list_of_one(
    many_models: list[str], pages: Pages
) -> None:
    client = pages.reader()
    # A process reads the statistics every quarter of a minute, whatever the page.
    await client.get("/models?q=nothing")
    with pages.counted() as of_many:
        answer = await client.get("/models", headers={"accept-encoding": "identity"})
    assert answer.text.count("<tr>") > MODELS
    assert len(answer.content) <= HTML_BYTES_MAX
    assert len(gzip.compress(answer.content, 4)) <= GZIP_BYTES_MAX
    with pages.counted() as of_one:
        await client.get(f"/models?q={quote(many_models[0])}")
    # What was read a moment ago may be in memory.
    assert len(of_one) <= len(of_many) <= STATEMENTS_MAX
