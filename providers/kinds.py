"""Constructs a provider of each kind: the only list of how we speak to providers."""

from collections.abc import Mapping

from providers.litellm.kind import LiteLLMProvider
from providers.litellm.options import LiteLLMOptions
from providers.openai.kind import OpenAIProvider
from providers.openai.options import OpenAIOptions
from providers.options import read_options
from providers.protocol import Provider, ProviderKind
from providers.sandbox_kind import SandboxProvider
from providers.sandbox_options import SandboxOptions
from providers.wire import Networks, Pool, parse_origin
from providers.worker_client.kind import WorkerProvider
from providers.worker_client.options import WorkerOptions


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

    ``options`` are the kind's own (:mod:`providers.options`); ``allowed_networks`` are the private networks that this
    provider may be in.
    """
    match read_options(ProviderKind(kind), options):
        case OpenAIOptions() as of_openai:
            origin = parse_origin(_require_base_url(base_url, kind), allowed_networks)
            return OpenAIProvider(origin, credential, of_openai, pool)
        case WorkerOptions() as of_worker:
            origin = parse_origin(_require_base_url(base_url, kind), allowed_networks)
            return WorkerProvider(origin, credential, of_worker, pool)
        case LiteLLMOptions() as of_litellm:
            return LiteLLMProvider(base_url, credential, of_litellm, allowed_networks, pool)
        case SandboxOptions() as of_sandbox:
            return SandboxProvider(of_sandbox)


def _require_base_url(base_url: str | None, kind: str) -> str:
    if base_url is None:
        raise ValueError(f"a provider of kind {kind} needs a base URL")
    return base_url
