"""Constructs a provider of each kind: the only list of how we speak to providers."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from providers.litellm.kind import LiteLLMProvider
from providers.litellm.options import LiteLLMOptions
from providers.openai.kind import OpenAIOptions, OpenAIProvider
from providers.protocol import Provider, ProviderKind
from providers.sandbox_kind import SandboxOptions, SandboxProvider
from providers.wire import Networks, Pool, parse_origin
from providers.worker_client.kind import WorkerOptions, WorkerProvider

Options = TypeVar("Options", bound=msgspec.Struct)


def build(
    kind: str,
    *,
    base_url: str | None,
    credential: str | None,
    options: Mapping[str, object],
    allowed_networks: Networks,
    pool: Pool,
) -> Provider:
    """Construct a provider of a kind. Connects to nothing. Raises ``ValueError`` that tells an operator what is wrong.

    ``options`` are the kind's own (:class:`OpenAIOptions` and so on); ``allowed_networks`` are the private networks
    that this provider may be in.
    """
    match ProviderKind(kind):
        case ProviderKind.OPENAI:
            origin = parse_origin(_require_base_url(base_url, kind), allowed_networks)
            return OpenAIProvider(origin, credential, _options(options, OpenAIOptions), pool)
        case ProviderKind.WORKER:
            origin = parse_origin(_require_base_url(base_url, kind), allowed_networks)
            return WorkerProvider(origin, credential, _options(options, WorkerOptions), pool)
        case ProviderKind.LITELLM:
            return LiteLLMProvider(base_url, credential, _options(options, LiteLLMOptions), allowed_networks, pool)
        case ProviderKind.SANDBOX:
            return SandboxProvider(_options(options, SandboxOptions))


def _require_base_url(base_url: str | None, kind: str) -> str:
    if base_url is None:
        raise ValueError(f"a provider of kind {kind} needs a base URL")
    return base_url


def _options(options: Mapping[str, object], kind: type[Options]) -> Options:
    try:
        return msgspec.convert(dict(options), kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"options: {error}") from error
