"""A provider is built from what an operator typed, or refused with a sentence that says what to change."""

import asyncio

import pytest

from providers.protocol import Provider, ProviderKind
from tests.builders.providers import build_provider

HTTPS = "https://api.example.com/v1"


def built(kind: str, base_url: str | None = HTTPS, credential: str | None = "secret", **options: object) -> Provider:
    return build_provider(kind, base_url, credential=credential, options=options)


def test_every_kind_can_be_built_and_closed_without_connecting_anywhere() -> None:
    options: dict[ProviderKind, dict[str, object]] = {
        ProviderKind.LITELLM: {"vendor": "cohere"},
        ProviderKind.SANDBOX: {"dimensions": 8},
    }
    for kind in ProviderKind:
        provider = build_provider(kind, HTTPS, allowed=(), options=options.get(kind))
        asyncio.run(provider.close())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"kind": "grpc"}, "grpc"),
        ({"kind": "openai", "base_url": None}, "needs a base URL"),
        ({"kind": "worker", "base_url": None}, "needs a base URL"),
        ({"kind": "openai", "base_url": "https://10.0.0.1/v1"}, "must not be reached"),
        ({"kind": "litellm", "base_url": "https://169.254.169.254/", "vendor": "cohere"}, "must not be reached"),
        ({"kind": "litellm"}, "vendor"),
        ({"kind": "litellm", "vendor": "bedrock", "credential": '{"aws_secret": "x"}'}, "aws_secret"),
        ({"kind": "litellm", "vendor": "bedrock", "credential": '{"api_key": 1}'}, "object of texts"),
        ({"kind": "openai", "pth": "/embeddings"}, "pth"),
        ({"kind": "openai", "path": 7}, "options: The option path is text"),
        ({"kind": "openai", "credential": "x\r\nEvil: 1"}, "Authorization"),
        ({"kind": "sandbox", "dimensions": 0}, "from 1 to 65536"),
    ],
)
def test_what_is_wrong_with_it_is_said(arguments: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        built(**arguments)  # type: ignore[arg-type]
    assert "secret" not in str(caught.value).replace("aws_secret", "")


def test_a_credential_is_in_no_representation_of_a_provider() -> None:
    for kind, options in (("openai", {}), ("worker", {}), ("litellm", {"vendor": "cohere"})):
        assert "secret" not in repr(built(kind, **options))
