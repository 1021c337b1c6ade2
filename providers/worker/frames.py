"""Pure. Defines the protocol between broker and worker: msgpack in, raw little-endian float32 out. Needs no torch.

``POST /embed`` takes an :class:`EmbedBody` as msgpack. The answer is a 4-byte little-endian length, a msgpack
:class:`AnswerHeader` of that length, then ``rows * dimensions`` float32, row by row in the order of the inputs. A
2,560-wide vector costs 0.02 ms this way and 1.9 ms as JSON.
"""

from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from providers.worker.errors import BadRequest

FloatMatrix = npt.NDArray[np.float32]
Lane = Literal["interactive", "batch"]

REQUEST_TYPE = "application/msgpack"
ANSWER_TYPE = "application/vnd.gigarouter.f32"


class EmbedBody(msgspec.Struct, frozen=True):
    """What to embed. Exactly one of ``texts`` and ``token_ids`` is set; ``prefix`` is put before each input."""

    request_id: str = ""
    texts: list[str] | None = None
    token_ids: list[list[int]] | None = None
    prefix: str = ""
    dimensions: int | None = None
    truncate: bool = False
    lane: Lane = "interactive"

    @property
    def inputs(self) -> int:
        """How many vectors the answer has."""
        return len(self.texts if self.texts is not None else self.token_ids or ())


class AnswerHeader(msgspec.Struct, frozen=True):
    """The header before the numbers. ``tokens`` are exact, per input, with the prefix and the special tokens."""

    rows: int
    dimensions: int
    tokens: list[int]
    truncated: list[bool]
    space: str
    model: str
    revision: str | None


class CountAnswer(msgspec.Struct, frozen=True):
    """The answer of ``POST /count``."""

    tokens: list[int]


_decoder = msgspec.msgpack.Decoder(EmbedBody)
_encoder = msgspec.msgpack.Encoder()
_header_decoder = msgspec.msgpack.Decoder(AnswerHeader)


def decode_request(body: bytes) -> EmbedBody:
    """Read one request. Raises BadRequest unless ``body`` is one with one kind of input."""
    try:
        request = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadRequest(f"The body is not an embed request: {error}.") from None
    if (request.texts is None) == (request.token_ids is None):
        raise BadRequest("Give exactly one of texts and token_ids.", param="texts")
    return request


def encode_count(tokens: list[int]) -> bytes:
    """The body of a count answer."""
    return _encoder.encode(CountAnswer(tokens=tokens))


def encode_answer(header: AnswerHeader, matrix: FloatMatrix) -> bytes:
    """The body of an embed answer. ``matrix`` is [rows, dimensions]."""
    assert matrix.shape == (header.rows, header.dimensions), "header and vectors disagree; this is a bug"
    head = _encoder.encode(header)
    vectors = np.ascontiguousarray(matrix, dtype="<f4")
    return b"".join((len(head).to_bytes(4, "little"), head, vectors.data))


def decode_answer(body: bytes) -> tuple[AnswerHeader, FloatMatrix]:
    """Read an embed answer, as :func:`encode_answer` writes it. Raises ValueError where it is none."""
    if len(body) < 4:
        raise ValueError("answer is shorter than its length field")
    start = 4 + int.from_bytes(body[:4], "little")
    try:
        header = _header_decoder.decode(body[4:start])
    except msgspec.MsgspecError as error:
        raise ValueError(f"answer header: {error}") from None
    if len(body) - start != 4 * header.rows * header.dimensions:
        raise ValueError("answer has another size than its header says")
    matrix = np.frombuffer(body, dtype="<f4", offset=start).reshape(header.rows, header.dimensions)
    return header, matrix
