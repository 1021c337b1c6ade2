"""An answer is OpenAI's to the byte, exact in both formats, and never made in one piece that holds the loop."""

import base64
import json
import time
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from router.dispatch.validate import shorten
from router.response.encode import encode_answer, restore_body
from router.values import Answer
from tests.builders.values import MODEL_ID, PRICE, SPACE, a_delivery, a_hold, a_model, a_request, a_usage, unit_rows

CONTRACT = json.loads((Path(__file__).parents[3] / "contract" / "openai.openapi.json").read_text())
SCHEMA = Draft202012Validator(
    {"$ref": "#/components/schemas/CreateEmbeddingResponse", "components": CONTRACT["components"]}
)


def _answered(rows: int, width: int, **request: object) -> tuple[Answer, np.ndarray]:
    matrix = unit_rows(rows, width)
    embed_request = a_request(*["x"] * rows, **request)  # type: ignore[arg-type]
    answer = encode_answer(embed_request, a_model(dimensions=width), a_delivery(matrix), a_usage(inputs=rows), a_hold())
    return answer, matrix


def _body(answer: Answer) -> dict[str, object]:
    body: dict[str, object] = json.loads(b"".join(answer.body))
    return body


@pytest.mark.parametrize("rows", [1, 3, 700])
def test_floats_are_openais_schema_in_order_and_the_same_float32(rows: int) -> None:
    answer, matrix = _answered(rows, 128)
    body = _body(answer)
    SCHEMA.validate(body)
    assert list(body) == ["object", "data", "model", "usage"]
    assert body["usage"] == {"prompt_tokens": 10, "total_tokens": 10}
    assert [item["index"] for item in body["data"]] == list(range(rows))  # type: ignore[attr-defined]
    vectors = np.array([item["embedding"] for item in body["data"]], dtype=np.float32)  # type: ignore[attr-defined]
    assert (vectors == matrix).all()


@pytest.mark.parametrize("rows", [1, 3, 700])
def test_base64_is_little_endian_float32(rows: int) -> None:
    answer, matrix = _answered(rows, 128, encoding_format="base64")
    data = _body(answer)["data"]
    rows_back = [np.frombuffer(base64.b64decode(item["embedding"]), dtype="<f4") for item in data]  # type: ignore[attr-defined]
    assert (np.array(rows_back) == matrix).all()


def test_a_small_answer_is_one_piece_of_known_length() -> None:
    answer, _ = _answered(1, 1536, encoding_format="base64")
    (body,) = answer.body
    assert dict(answer.headers)[b"content-length"] == b"%d" % len(body)


@pytest.mark.parametrize("encoding", ["float", "base64"])
@pytest.mark.parametrize("dimensions", [None, 4000])
def test_no_piece_of_the_largest_answer_holds_the_loop(encoding: str, dimensions: int | None) -> None:
    """2,048 vectors of 4,096 floats: 107 MB of text. A piece may take 50 ms; on a quiet core it takes 2."""
    answer, _ = _answered(2048, 4096, encoding_format=encoding, dimensions=dimensions)
    pieces = iter(answer.body)
    worst, size = 0.0, 0
    while True:
        began = time.thread_time()
        piece = next(pieces, None)
        worst = max(worst, time.thread_time() - began)
        if piece is None:
            break
        size += len(piece)
        assert len(piece) < 2_000_000
    assert size > 40_000_000
    assert worst < 0.05


def test_a_body_may_be_made_again_and_whole_up_to_a_bound() -> None:
    answer, _ = _answered(700, 128)
    whole = b"".join(answer.body)
    assert b"".join(answer.body) == whole == answer.to_bytes(len(whole))
    assert answer.to_bytes(len(whole) - 1) is None


@pytest.mark.parametrize("encoding", ["float", "base64"])
@pytest.mark.parametrize(
    ("rows", "width", "dimensions"), [(1, 8, None), (700, 128, None), (3, 128, 32), (700, 128, 100)]
)
def test_what_is_stored_gives_the_same_bytes_and_takes_four_for_each_number(
    encoding: str, rows: int, width: int, dimensions: int | None
) -> None:
    answer, _ = _answered(rows, width, encoding_format=encoding, dimensions=dimensions)
    size = rows * (dimensions or width) * 4
    stored = answer.to_stored(size)
    assert stored is not None
    assert size < len(stored) < size + 200
    body = b"".join(answer.body)
    assert b"".join(restore_body(stored)) == body
    assert b"".join(restore_body(body)) == body, "what was stored as JSON is answered as it is"
    assert answer.to_stored(size - 1) is None


@pytest.mark.parametrize("rows", [2, 700])
def test_shorter_dimensions_are_the_first_ones_renormalized(rows: int) -> None:
    answer, matrix = _answered(rows, 128, dimensions=32)
    vectors = np.array([item["embedding"] for item in _body(answer)["data"]], dtype=np.float64)  # type: ignore[attr-defined]
    expected = matrix[:, :32].astype(np.float64)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert vectors.shape == (rows, 32)
    assert np.abs(vectors - expected).max() < 1e-6
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-6


def test_a_row_without_direction_stays_zero() -> None:
    assert (shorten(np.array([[0, 0, 1]], dtype=np.float32), 2) == 0).all()


def test_the_headers_tell_what_was_done_and_for_how_much() -> None:
    matrix = unit_rows(1, 8)
    answer = encode_answer(
        a_request("x"), a_model(), a_delivery(matrix), a_usage(), a_hold(), attribution="Model by Måns\r\nx: y"
    )
    headers = {name.decode(): value.decode() for name, value in answer.headers}
    assert headers["openai-model"] == MODEL_ID
    assert headers["x-gigarouter-cost"] == "0.00000008"
    assert headers["x-gigarouter-price-id"] == f"price_{PRICE.id.hex}"
    assert headers["x-gigarouter-space"] == SPACE
    assert headers["x-gigarouter-attempts"] == "1"
    assert headers["x-gigarouter-attribution"] == "Model by M?ns??x: y"
    assert headers["x-ratelimit-remaining-requests"] == "2999"
