"""Azure's own clients work with an endpoint, a key and a model's id as the deployment: the same operation and bill."""

import json
from collections.abc import AsyncIterator

import openai
import pytest
from langchain_openai import AzureOpenAIEmbeddings
from pydantic import SecretStr

from router.api.azure import with_model
from router.errors import InvalidRequest
from router.request.body import parse
from tests.harness.fake_upstream import unit_vector
from tests.harness.served_api import ServedApi

pytestmark = pytest.mark.anyio

VERSION = "2024-10-21"
DIMENSIONS = 8


@pytest.fixture
async def azure(api: ServedApi) -> AsyncIterator[openai.AsyncAzureOpenAI]:
    async with openai.AsyncAzureOpenAI(
        azure_endpoint=_address(api), api_key=api.key, api_version=VERSION, max_retries=0
    ) as client:
        yield client


async def test_azures_client_embeds_by_a_models_id(api: ServedApi, azure: openai.AsyncAzureOpenAI) -> None:
    """Its id has a slash, and the client puts it into the path as it is."""
    assert "/" in api.model
    answer = await azure.embeddings.with_raw_response.create(model=api.model, input=["b", "a"])
    assert f"/openai/deployments/{api.model}/embeddings?api-version={VERSION}" in str(answer.http_request.url)
    assert [item.embedding for item in answer.parse().data] == [pytest.approx(unit_vector(t, DIMENSIONS)) for t in "ba"]
    assert answer.headers["openai-model"] == api.model


async def test_azures_client_embeds_by_a_deployment_whatever_model_it_names_beside(api: ServedApi) -> None:
    async with openai.AsyncAzureOpenAI(
        azure_endpoint=_address(api), azure_deployment=api.model, api_key=api.key, api_version=VERSION, max_retries=0
    ) as client:
        answer = await client.embeddings.create(model="text-embedding-ada-002", input="hello")
    assert answer.model == api.model
    assert answer.data[0].embedding == pytest.approx(unit_vector("hello", DIMENSIONS))


async def test_azures_client_takes_a_token_instead_of_a_key(api: ServedApi) -> None:
    async with openai.AsyncAzureOpenAI(
        azure_endpoint=_address(api), azure_ad_token=api.key, api_version=VERSION, max_retries=0
    ) as client:
        assert (await client.embeddings.create(model=api.model, input="hello")).model == api.model


async def test_azures_client_lists_models(api: ServedApi, azure: openai.AsyncAzureOpenAI) -> None:
    assert api.model in [model.id async for model in azure.models.list()]
    assert (await azure.models.retrieve(api.model)).id == api.model


async def test_azures_client_meets_our_errors(api: ServedApi, azure: openai.AsyncAzureOpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="nobody/nothing") as unknown:
        await azure.embeddings.create(model="nobody/nothing", input="hello")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.AuthenticationError):
        await azure.with_options(api_key="wrong").embeddings.create(model=api.model, input="hello")
    async with openai.AsyncAzureOpenAI(
        base_url=f"{_address(api)}/v1/openai", api_key=api.key, api_version=VERSION, max_retries=0
    ) as misled:
        with pytest.raises(openai.NotFoundError, match=r"endpoint http://127\.0\.0\.1"):
            await misled.embeddings.create(model=api.model, input="hello")


async def test_langchains_azure_class_embeds(api: ServedApi) -> None:
    embeddings = AzureOpenAIEmbeddings(
        azure_endpoint=_address(api),
        azure_deployment=api.model,
        api_key=SecretStr(api.key),
        api_version=VERSION,
        max_retries=0,
        check_embedding_ctx_length=False,
    )
    assert await embeddings.aembed_query("hello") == pytest.approx(unit_vector("hello", DIMENSIONS))
    await embeddings.async_client._client.close()
    embeddings.client._client.close()


@pytest.mark.parametrize("quoted", ["tests/served-api", "tests%2Fserved-api", "tests%2fserved%2Dapi"])
@pytest.mark.parametrize("query", ["?api-version=2023-05-15", "?api-version=2025-04-01-preview", "", "?API-Version=x"])
async def test_a_deployment_may_be_quoted_and_any_version_named(api: ServedApi, quoted: str, query: str) -> None:
    path = f"/openai/deployments/{quoted}/embeddings{query}"
    answer = await api.raw("POST", path, b"api-key: " + api.key.encode(), body={"input": "hello"})
    assert answer.status == 200, answer.body
    assert json.loads(answer.body)["model"] == api.model


async def test_a_call_is_one_whichever_path_it_takes(api: ServedApi) -> None:
    """So its Idempotency-Key is kept, and what it cost is explained."""
    headers = [b"api-key: " + api.key.encode(), b"idempotency-key: azure-1"]
    path = f"/openai/deployments/{api.model}/embeddings?api-version={VERSION}"
    first, again = [await api.raw("POST", path, *headers, body={"input": "hello"}) for _ in range(2)]
    assert (again.headers["idempotency-replayed"], again.body) == ("true", first.body)
    explained = await api.raw("GET", f"/v1/requests/{first.headers['x-request-id']}", headers[0])
    assert explained.status == 200


@pytest.mark.parametrize(
    "body",
    [
        b'{"input":"x"}',
        b' {"input" : "x" } \r\n',
        b'{"model":"other","input":"x"}',
        b'{"model":null,"input":"x"}',
        b'{"input":["x"],"provider":{}}',
    ],
)
def test_the_deployment_is_the_bodys_model(body: bytes) -> None:
    assert parse(with_model(body, 'org/"näme"')).model == 'org/"näme"'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"{ }",
        b"[]",
        b"}",
        b"{",
        b'{"input":"x"',
        b'{"input":"x",}',
        b'"{}',
        b'{"input":"}',
        b'{"input":"x"}}',
        b"null",
    ],
)
def test_what_is_no_call_stays_none(body: bytes) -> None:
    for each in (body, with_model(body, "org/name")):
        with pytest.raises(InvalidRequest):
            parse(each)


def _address(api: ServedApi) -> str:
    return f"http://127.0.0.1:{api.server.port}"
