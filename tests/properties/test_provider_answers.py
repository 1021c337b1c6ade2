"""Whatever bytes a provider sends, they become the vectors that they say or a failure of the family, never else."""

import asyncio
import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from providers.json_vectors import Rows, extract_arrays, restore_array
from providers.openai import answer
from providers.openai.answer import read_answer
from providers.outcomes import Failure
from providers.protocol import FloatMatrix
from providers.worker_client.kind import read_answer as read_worker_answer
from tests.harness.fake_upstream import as_base64

float32s = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def answers(draw: st.DrawFn) -> tuple[list[list[float]], bytes]:
    """Vectors, and an honest answer that carries them in any order and in either encoding."""
    width = draw(st.integers(1, 40))
    vectors = draw(st.lists(st.lists(float32s, min_size=width, max_size=width), min_size=1, max_size=5))
    items = [
        {"index": index, "embedding": as_base64(vector) if draw(st.booleans()) else vector}
        for index, vector in enumerate(vectors)
    ]
    words = draw(st.text(max_size=20))
    answer = {"model": words, "data": draw(st.permutations(items)), "note": [words, "[1, 2]"], "usage": None}
    return vectors, json.dumps(answer, indent=draw(st.sampled_from([None, 1]))).encode()


def read(body: bytes, inputs: int, extract_above: int) -> FloatMatrix:
    before, answer.EXTRACT_ABOVE_BYTES = answer.EXTRACT_ABOVE_BYTES, extract_above
    try:
        return asyncio.run(read_answer(body, inputs)).matrix
    finally:
        answer.EXTRACT_ABOVE_BYTES = before


@given(answers())
def test_every_honest_answer_is_read_bit_by_bit_with_its_arrays_cut_out_or_not(
    given_answer: tuple[list[list[float]], bytes],
) -> None:
    vectors, body = given_answer
    expected = np.array(vectors, dtype=np.float32)
    for extract_above in (0, 1 << 20):
        assert read(body, len(vectors), extract_above).tobytes() == expected.tobytes()


@given(answers(), st.data())
def test_a_damaged_answer_fails_in_the_family_or_has_the_right_shape(
    given_answer: tuple[list[list[float]], bytes], data: st.DataObject
) -> None:
    vectors, body = given_answer
    start = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(start, min(len(body), start + 30)))
    damaged = body[:start] + data.draw(st.binary(max_size=5)) + body[end:]
    for extract_above in (0, 1 << 20):
        try:
            matrix = read(damaged, len(vectors), extract_above)
        except Failure:
            continue
        assert matrix.shape[0] == len(vectors)


@given(st.binary(max_size=300), st.integers(1, 3))
def test_no_bytes_whatever_break_the_readers(body: bytes, inputs: int) -> None:
    for attempt in (
        lambda: read(body, inputs, 0),
        lambda: read_worker_answer(body, inputs),
        lambda: list(Rows([body], [0]).steps()) if body else None,
    ):
        try:
            attempt()
        except Failure:
            continue


@given(
    st.recursive(float32s | st.integers() | st.text(alphabet='[]"\\1, '), lambda inner: st.lists(inner, max_size=30))
)
def test_what_is_cut_out_can_be_put_back(value: object) -> None:
    body = json.dumps([value]).encode()
    skeleton, arrays = extract_arrays(body)
    for number, array in enumerate(arrays):
        assert bytes(restore_array(b"[%d]" % number, arrays)) == bytes(array)
        skeleton = skeleton.replace(b"[%d]" % number, bytes(array), 1) if skeleton.count(b"[%d]" % number) == 1 else b""
    assert skeleton in (body, b"")
