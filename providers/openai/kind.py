"""Kind ``openai``: calls any OpenAI-compatible embeddings server, directly over the pooled wire."""

import time
from typing import Literal

import msgspec

from providers.openai.answer import max_answer_bytes, read_answer
from providers.protocol import Attempt, BytesPerToken, Vectors
from providers.statuses import failure
from providers.wire import Origin, Pool, request

_ENCODER = msgspec.json.Encoder()


class OpenAIOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a server differs from OpenAI's own.

    ``input_types`` translates ``query`` and ``document`` to the server's words, for endpoints with a native input type.
    Jina: ``input_type_field`` = ``task``, ``input_types`` = ``retrieval.query`` and ``retrieval.passage``. ``always``
    is sent with every request, as Voyage's ``truncation`` = false, without which Voyage cuts long inputs silently.
    ``bytes_per_token``: tokens are the bytes of each text by this number, and the server's own usage is not read.
    """

    path: str = "/embeddings"
    credential_header: Literal["authorization", "api-key"] = "authorization"
    input_type_field: str = "input_type"
    input_types: dict[str, str] = {}
    always: dict[str, bool | int | str] = {}
    bytes_per_token: BytesPerToken | None = None


class OpenAIProvider:
    """One OpenAI-compatible server with one credential."""

    def __init__(self, origin: Origin, credential: str | None, options: OpenAIOptions, pool: Pool) -> None:
        """Raises ``ValueError`` for a credential that cannot stand in a header."""
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if credential is not None:
            bearer = options.credential_header == "authorization"
            headers["Authorization" if bearer else "api-key"] = f"Bearer {credential}" if bearer else credential
        self._head = origin.head(options.path, headers)
        self._options = options
        self._channel = pool.channel(origin)

    async def embed(self, attempt: Attempt, deadline_s: float) -> Vectors:
        """See :class:`providers.protocol.Provider`."""
        answer = await self._channel.exchange(
            request(self._head, self._body(attempt)),
            deadline_s,
            max_answer_bytes(attempt.inputs, attempt.dimensions),
        )
        if answer.status != 200:
            raise failure(answer.status, answer.headers, answer.body, time.time())
        vectors = await read_answer(answer.body, attempt.inputs)
        return vectors.with_tokens_by_size(attempt, self._options.bytes_per_token)

    async def count(self, attempt: Attempt, deadline_s: float) -> int | None:
        """Return None: OpenAI's API cannot count."""
        return None

    async def close(self) -> None:
        """Close pooled connections."""
        self._channel.close()

    def _body(self, attempt: Attempt) -> bytes:
        """The request body; nothing of a customer's request goes upstream unless it is named here."""
        fields: dict[str, object] = {
            **self._options.always,
            "model": attempt.upstream_model,
            "input": attempt.inputs_with_prompt(),
        }
        if attempt.asks_base64:
            fields["encoding_format"] = "base64"
        if attempt.input_type is not None:
            word = self._options.input_types.get(attempt.input_type, attempt.input_type)
            fields[self._options.input_type_field] = word
        return _ENCODER.encode(fields)
