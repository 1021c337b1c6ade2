"""Kind ``litellm``: calls the vendors that have no OpenAI-compatible server, through litellm.

This is the only file that imports litellm, at the first use of such a provider: that takes seconds and some 160 MB.
litellm's retries, callbacks, caches, logs and prices stay off, and its traffic goes over our own wire. It runs in a
thread with an event loop of its own, because the smallest call takes it milliseconds of CPU: a vendor with a compatible
server belongs to kind ``openai``.
"""

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from types import MappingProxyType
from typing import Any, Final, Protocol, cast

import msgspec

from providers.json_vectors import Piece, Rows, restore_array
from providers.litellm.egress import (
    CURRENT,
    Channels,
    Egress,
    Transport,
    forbid_other_connections,
    google_token,
    google_token_async,
)
from providers.litellm.google_tokens import GoogleTokens, service_account
from providers.litellm.options import LiteLLMOptions, secrets
from providers.litellm.placeholders import Placeholders, refuse_references
from providers.model_list import ListedModel
from providers.openai.answer import max_answer_bytes, rows_of
from providers.outcomes import BadAnswer, Broken, CallerFault, CredentialRefused, Failure, ModelMissing, TimedOut
from providers.protocol import Attempt, Vectors
from providers.wire import Networks, Pool, parse_origin

# What litellm reads from the process environment while it is imported. The composition root exports it before
# anything runs: without the first, the import fetches a price list from the internet; without the second, it reads a
# ``.env`` file that lies about.
ENVIRONMENT: Final = MappingProxyType({"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION"})

# litellm keeps a client per timeout that it has seen, so it always sees the same; ours is the deadline.
_TIMEOUT_S = 600.0

_ENCODER = msgspec.json.Encoder()


class Loaded(msgspec.Struct, frozen=True):
    """What we use of litellm: its thread's event loop, one function, and every exception that it raises."""

    loop: asyncio.AbstractEventLoop
    aembedding: Callable[..., Awaitable["LiteLLMAnswer"]]
    errors: tuple[type[Exception], ...]


class LiteLLMAnswer(Protocol):
    """What we use of litellm's EmbeddingResponse; its items are dicts or objects, depending on the vendor."""

    data: list[object] | None


# Vendors' bridges raise what Python raises, and not all of it comes out wrapped.
_PLAIN_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)

_loading = threading.Lock()
_loaded: Loaded | None = None


class LiteLLMProvider:
    """One vendor with one credential."""

    def __init__(
        self, base_url: str | None, credential: str | None, options: LiteLLMOptions, allowed: Networks, pool: Pool
    ) -> None:
        """``base_url`` None means the vendor's own. Raises ``ValueError`` for an operator to read."""
        account = service_account(credential) if options.vendor == "vertex_ai" else None
        if account is not None and options.vertex_location is None:
            raise ValueError("Vertex AI needs the option vertex_location, such as europe-west1")
        self._tokens = None if account is None else GoogleTokens(account, allowed, pool)
        credentials = secrets(credential if account is None else None)
        self._fixed: dict[str, Any] = {
            **options.fixed(),
            "api_base": base_url,
            "timeout": _TIMEOUT_S,
            "max_retries": 0,
            "num_retries": 0,
            "caching": False,
            "no-log": True,
            **credentials,
        }
        if account is not None:
            self._fixed.setdefault("vertex_project", account.project_id)
        self._options = options
        # AWS' signature is over the body: no text can be put into it afterwards.
        self._signs = "aws_access_key_id" in credentials
        urls = () if base_url is None else (base_url, *options.token_urls)
        self._channels = Channels(pool, allowed, tuple(parse_origin(url, allowed) for url in urls))

    async def embed(self, attempt: Attempt, deadline_s: float) -> Vectors:
        """See :class:`providers.protocol.Provider`."""
        deadline_at = asyncio.get_running_loop().time() + deadline_s
        inputs = attempt.inputs_with_prompt()
        placeholders = self._placeholders(attempt, inputs)
        arguments = self._arguments(attempt, inputs if placeholders is None else placeholders.names)
        most_bytes = max_answer_bytes(attempt.inputs, attempt.dimensions)
        egress = Egress(self._channels, deadline_at, most_bytes, placeholders, self._options.headers)
        try:
            async with asyncio.timeout_at(deadline_at):
                litellm = await load()
                if self._tokens is not None:
                    egress.bearer = await self._tokens.token(deadline_at - asyncio.get_running_loop().time())
                call = asyncio.run_coroutine_threadsafe(_call(litellm, egress, arguments), litellm.loop)
                vectors = await asyncio.wrap_future(call)
        except CredentialRefused:
            if self._tokens is not None:
                self._tokens.forget()
            raise
        except TimeoutError as error:
            raise egress.failure or TimedOut(detail="litellm did not answer in time") from error
        if placeholders is not None:
            placeholders.check_all_sent()
        return vectors.with_tokens_by_size(attempt, self._options.bytes_per_token)

    async def count(self, attempt: Attempt, deadline_s: float) -> int | None:
        """Return None: litellm's counts are guesses."""
        return None

    async def list_models(self, deadline_s: float) -> tuple[ListedModel, ...] | None:
        """Return None: litellm cannot ask; its price map lists a vendor's models."""
        return None

    async def close(self) -> None:
        """Close pooled connections."""
        self._channels.close()
        if self._tokens is not None:
            self._tokens.close()

    def _placeholders(self, attempt: Attempt, inputs: list[str] | list[list[int]]) -> Placeholders | None:
        if attempt.texts is None:
            return None
        texts = cast("list[str]", inputs)
        if self._signs:
            refuse_references(texts)
            return None
        return Placeholders(texts)

    def _model(self, upstream_model: str) -> str:
        """The model's name in the form in which litellm stays with the vendor, who alone may get our credential.

        litellm sends some names that begin with ``azure/`` or ``cohere/`` to OpenAI and Cohere, unless the vendor
        stands before them; its bridge to Hugging Face takes a URL for the host.
        """
        if "://" in upstream_model:
            raise ModelMissing(detail="the upstream name is an address")
        prefix = f"{self._options.vendor}/"
        return upstream_model if upstream_model.startswith(prefix) else f"{prefix}{upstream_model}"

    def _arguments(self, attempt: Attempt, inputs: list[str] | list[list[int]]) -> dict[str, Any]:
        """All arguments for litellm; it drops none silently, so an option that a vendor lacks is an error."""
        arguments = {**self._fixed, "model": self._model(attempt.upstream_model), "input": inputs}
        if attempt.input_type is not None:
            field, word = self._options.input_type(attempt.input_type)
            arguments[field] = word
        return arguments


async def load() -> Loaded:
    """Import litellm, once, into a thread of its own, which takes seconds. Needs :data:`ENVIRONMENT` exported."""
    return await asyncio.to_thread(_load) if _loaded is None else _loaded


def _load() -> Loaded:
    global _loaded  # noqa: PLW0603 - as sys.modules is
    with _loading:
        if _loaded is None:
            loop = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="litellm", daemon=True).start()
            _loaded = asyncio.run_coroutine_threadsafe(_import(), loop).result()
    return _loaded


async def _import() -> Loaded:
    """Import litellm and turn off what we do ourselves."""
    import httpx
    import litellm
    import openai
    from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler
    from litellm.llms.vertex_ai.vertex_llm_base import VertexBase

    module: Any = litellm
    litellm.callbacks = []
    litellm.input_callback = []
    litellm.success_callback = []
    litellm.failure_callback = []
    litellm._async_success_callback = []
    litellm._async_failure_callback = []
    litellm.cache = None
    litellm.telemetry = False
    litellm.num_retries = 0
    # It takes the 0 that we pass for no value.
    module.DEFAULT_MAX_RETRIES = 0
    litellm.drop_params = False
    litellm.modify_params = False
    litellm.suppress_debug_info = True
    litellm.turn_off_message_logging = True
    # To guess a count it would fetch tokenizers from a hub, in a library that no wall of ours sees.
    litellm.disable_hf_tokenizer_download = True
    # Its log lines quote requests and credentials; what matters comes out as a failure.
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(name).disabled = True
    transport: Any = Transport(httpx.Response, time.time)
    handler: Any = AsyncHTTPHandler
    handler.create_async_transport = staticmethod(lambda **_: transport)
    litellm.sync_transport = transport
    # Clients that were made while it was imported, Vertex AI's among them, have a transport of their own.
    module.in_memory_llm_clients_cache.flush_cache()
    litellm.aclient_session = httpx.AsyncClient(transport=transport, trust_env=False)
    litellm.client_session = httpx.Client(transport=transport, trust_env=False)
    google: Any = VertexBase
    google._ensure_access_token, google._ensure_access_token_async = google_token, google_token_async
    sys.addaudithook(forbid_other_connections)
    errors = (openai.OpenAIError, httpx.HTTPError, Failure, *_PLAIN_ERRORS)
    return Loaded(asyncio.get_running_loop(), litellm.aembedding, errors)


async def _call(litellm: Loaded, egress: Egress, arguments: dict[str, Any]) -> Vectors:
    """Call litellm, on its own loop; only bytes pass between that loop and the caller's."""
    CURRENT.set(egress)
    try:
        answer = await litellm.aembedding(**arguments)
    except litellm.errors as error:
        raise egress.failure or egress.forbidden or _failure(error) from error
    return await _read(answer, egress, len(arguments["input"]))


async def _read(response: LiteLLMAnswer, egress: Egress, inputs: int) -> Vectors:
    items = [item if isinstance(item, dict) else getattr(item, "__dict__", {}) for item in response.data or []]
    if len(items) != inputs:
        raise BadAnswer(detail=f"{len(items)} vectors for {inputs} inputs")
    # litellm fills in null for an index that was left out.
    found = (item.get("index") for item in items)
    indices = rows_of(msgspec.UNSET if index is None else index for index in found)
    try:
        pieces: list[Piece] = [restore_array(_ENCODER.encode(item.get("embedding")), egress.arrays) for item in items]
    except (TypeError, msgspec.MsgspecError) as error:
        raise BadAnswer(detail="an embedding that is not an array of numbers") from error
    rows = Rows(pieces, indices)
    for _ in rows.steps():
        await asyncio.sleep(0)
    return Vectors(matrix=rows.matrix, tokens=egress.tokens)


def _failure(error: Exception) -> Failure:
    """The failure for an exception that no answer explains. Its text quotes requests, so the detail is its class."""
    kind = type(error).__name__
    if kind == "UnsupportedParamsError":
        return CallerFault("The provider cannot do what the request asks for.", detail=kind)
    if kind in ("LiteLLMUnknownProvider", "NotFoundError"):
        return ModelMissing(detail=kind)
    return Broken(detail=f"litellm: {kind}")
