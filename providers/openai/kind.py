"""Kind ``openai``: calls any OpenAI-compatible embeddings server, directly over the pooled wire."""

import time

import msgspec

from providers.model_list import ANSWER_BYTES_MAX, ListedModel, read_model_list
from providers.openai.answer import max_answer_bytes, read_answer
from providers.openai.options import OpenAIOptions
from providers.protocol import Attempt, Vectors
from providers.statuses import failure
from providers.wire import Origin, Pool, request

_ENCODER = msgspec.json.Encoder()


class OpenAIProvider:
    """One OpenAI-compatible server with one credential."""

    def __init__(self, origin: Origin, credential: str | None, options: OpenAIOptions, pool: Pool) -> None:
        """Raises ``ValueError`` for a credential that cannot stand in a header."""
        headers = {"Accept": "application/json", **options.headers}
        if credential is not None:
            name, value = options.credential_line(credential)
            headers[name] = value
        self._head = origin.head(options.path, {"Content-Type": "application/json", **headers})
        self._models_head = origin.head(options.models_path, headers, method="GET")
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

    async def list_models(self, deadline_s: float) -> tuple[ListedModel, ...]:
        """See :class:`providers.protocol.Provider`."""
        answer = await self._channel.exchange(request(self._models_head, b""), deadline_s, ANSWER_BYTES_MAX)
        if answer.status != 200:
            raise failure(answer.status, answer.headers, answer.body, time.time())
        return read_model_list(answer.body)

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
        if attempt.asks_base64 and self._options.asks_base64:
            fields["encoding_format"] = "base64"
        if attempt.input_type is not None:
            word = self._options.input_types.get(attempt.input_type, attempt.input_type)
            fields[self._options.input_type_field] = word
        return _ENCODER.encode(fields)
