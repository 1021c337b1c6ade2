"""A provider's list of models is read as the servers in use write it, and never guessed from."""

import json
from contextlib import AbstractAsyncContextManager
from decimal import Decimal

import pytest

from providers.model_list import MODELS_MAX, ListedModel, read_model_list
from providers.outcomes import Broken, CredentialRefused
from providers.protocol import Provider
from tests.builders.providers import a_provider
from tests.harness.event_loops import Run
from tests.harness.fake_upstream import Reply, Upstream

AS_SERVERS_WRITE_IT: tuple[tuple[object, ListedModel], ...] = (
    ({"data": [{"id": "m", "object": "model", "created": 1, "owned_by": "openai"}]}, ListedModel("m")),
    ({"data": [{"id": "m", "max_model_len": 8192, "root": "m"}]}, ListedModel("m", max_input_tokens=8192)),
    ([{"id": "m", "type": "embedding", "context_length": 512, "pricing": {"input": 0.01}}],
     ListedModel("m", True, max_input_tokens=512)),
    ({"data": [{"id": "m", "architecture": {"output_modalities": ["embeddings"]}, "pricing": {"prompt": "2e-8"}}]},
     ListedModel("m", True, usd_per_token=Decimal("2e-8"))),
    ({"data": [{"id": "m", "metadata": {"context_length": 32768, "pricing": {"input_tokens": 0.01}}}]},
     ListedModel("m", max_input_tokens=32768)),
    ({"models": [{"name": "m", "endpoints": ["embed"], "context_length": 512}]},
     ListedModel("m", True, max_input_tokens=512)),
    ({"data": [{"id": "m", "type": "chat"}]}, ListedModel("m", False)),
    ({"data": [{"id": "m", "dimensions": "wide", "max_model_len": -1, "type": 7, "pricing": {"prompt": "-1"}}]},
     ListedModel("m")),
    ({"data": [{"id": "m", "pricing": {"prompt": "0"}, "dimensions": 10**30}]}, ListedModel("m")),
)  # fmt: skip


@pytest.mark.parametrize(("answer", "expected"), AS_SERVERS_WRITE_IT)
def test_a_list_is_read_as_servers_write_it(answer: object, expected: ListedModel) -> None:
    assert read_model_list(json.dumps(answer).encode()) == (expected,)


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"error": {}}', b'{"data": 1}', b"[1]", b"\xff", b"[" * 100_000])
def test_what_is_no_list_is_broken(body: bytes) -> None:
    with pytest.raises(Broken):
        read_model_list(body)


def test_each_name_stands_once_and_there_is_an_end() -> None:
    names = [{"id": f"m{i % (MODELS_MAX + 9)}"} for i in range(2 * MODELS_MAX + 20)]
    assert len({one.id for one in read_model_list(json.dumps(names).encode())}) == MODELS_MAX
    assert read_model_list(b'[{"id": ""}, {"object": "model"}, {"id": null}]') == ()


def a_keyed(upstream: Upstream, options: dict[str, object]) -> AbstractAsyncContextManager[Provider]:
    return a_provider("openai", upstream.base_url, credential="sk-1", options=options)


def test_it_is_asked_for_with_the_credential_where_the_options_say(run: Run) -> None:
    async def scenario() -> None:
        options: dict[str, object] = {"models_path": "/other/models?api-version=1", "credential_header": "api-key"}
        async with Upstream() as upstream, a_keyed(upstream, options) as provider:
            upstream.script += [Reply(body=b'{"data": [{"id": "m"}]}'), Reply(status=401)]
            assert await provider.list_models(5.0) == (ListedModel("m"),)
            [call] = upstream.calls
            assert (call.method, call.path) == ("GET", "/v1/other/models?api-version=1")
            assert call.headers["api-key"] == "sk-1"
            with pytest.raises(CredentialRefused):
                await provider.list_models(5.0)

    run(scenario())
