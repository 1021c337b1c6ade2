"""The worker over HTTP: the broker's wire, OpenAI's, and how it stops."""

import base64
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import numpy as np
import pytest
from openai import OpenAI

from tests.builders import tiny_model
from tests.harness.worker_process import ROOT, Worker, a_worker

TEXTS = ["How do plants make sugar?", "a", "The broker bills each token once."]


@pytest.fixture(scope="module")
def worker(qwen: Path) -> Iterator[Worker]:
    with a_worker("--model", str(qwen)) as running:
        yield running


def test_vectors_come_as_raw_float32_with_exact_tokens(worker: Worker) -> None:
    header, matrix = worker.vectors(request_id="r1", texts=TEXTS, lane="batch")
    counted = worker.http.post("/count", content=msgspec.msgpack.encode({"texts": TEXTS}))
    assert msgspec.msgpack.decode(counted.content) == {"tokens": header.tokens}
    assert (header.rows, header.dimensions) == matrix.shape == (3, tiny_model.WIDTH)
    assert header.truncated == [False] * 3
    assert header.model == "F2LLM-v2-tiny"
    assert header.space == worker.http.get("/info").json()["space"]
    assert np.abs(np.linalg.norm(matrix, axis=1) - 1).max() <= 1e-6


def test_a_prefix_is_counted_and_changes_the_vector(worker: Worker) -> None:
    plain, without = worker.vectors(texts=TEXTS)
    prompted, with_prefix = worker.vectors(texts=TEXTS, prefix=tiny_model.QUERY)
    assert min(np.array(prompted.tokens) - np.array(plain.tokens)) > 5
    assert np.abs(without - with_prefix).max() > 0.01


def test_dimensions_come_shortened_and_normalized(worker: Worker) -> None:
    _, whole = worker.vectors(texts=TEXTS)
    header, short = worker.vectors(texts=TEXTS, dimensions=16)
    assert header.dimensions == 16
    expected = whole[:, :16] / np.linalg.norm(whole[:, :16], axis=1, keepdims=True)
    assert np.abs(short - expected).max() <= 1e-6


def test_too_long_is_400_unless_truncation_is_asked_and_then_it_is_said(worker: Worker) -> None:
    texts = ["fine", "bill tokens " * 60]
    answer = worker.embed(texts=texts)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["details"]["index"], error["details"]["limit"]) == ("input_too_long", 1, 96)
    assert error["details"]["tokens"] > 96
    header, _ = worker.vectors(texts=texts, truncate=True)
    assert header.truncated == [False, True]
    assert header.tokens[1] == 96


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode({"texts": None}),
        msgspec.msgpack.encode({"texts": ["a"], "token_ids": [[1]]}),
        msgspec.msgpack.encode({"texts": [1]}),
        msgspec.msgpack.encode({"texts": ["a"], "lane": "express"}),
        b"\x81\xa5texts\x91\xa3\xed\xa0\x80",
    ],
)
def test_a_body_that_is_no_request_is_400_in_the_envelope(worker: Worker, body: bytes) -> None:
    answer = worker.http.post("/embed", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_no_inputs_give_no_vectors(worker: Worker) -> None:
    header, matrix = worker.vectors(texts=[])
    assert (header.rows, matrix.shape) == (0, (0, tiny_model.WIDTH))


def test_openais_client_works_unchanged(worker: Worker) -> None:
    client = OpenAI(base_url=f"{worker.url}/v1", api_key="none", max_retries=0)
    answer = client.embeddings.create(model="F2LLM-v2-tiny", input=TEXTS)
    header, matrix = worker.vectors(texts=TEXTS)
    assert np.array_equal(np.array([one.embedding for one in answer.data], dtype=np.float32), matrix)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == sum(header.tokens)
    single = client.embeddings.create(model="any", input="a", encoding_format="float", dimensions=8)
    assert len(single.data[0].embedding) == 8


def test_answers_fit_openais_schema(worker: Worker) -> None:
    schemas = json.loads((ROOT / "tests/contract/openai.openapi.json").read_text())
    answer = worker.http.post("/v1/embeddings", json={"model": "m", "input": [[5, 6], [7]]})
    schema = {"$ref": "#/components/schemas/CreateEmbeddingResponse", "components": schemas["components"]}
    jsonschema.validate(answer.json(), schema)


def openai(worker: Worker, **fields: Any) -> Any:
    return worker.http.post("/v1/embeddings", json={"model": "m"} | fields)


def test_the_prompt_of_a_query_and_ones_own_instruction(worker: Worker) -> None:
    def vector(**fields: Any) -> Any:
        coded = openai(worker, input="sugar", encoding_format="base64", **fields).json()["data"][0]["embedding"]
        return np.frombuffer(base64.b64decode(coded), dtype="<f4")

    _, prompted = worker.vectors(texts=["sugar"], prefix=tiny_model.QUERY)
    _, own = worker.vectors(texts=["sugar"], prefix="Instruct: Find sweets.\nQuery: ")
    _, plain = worker.vectors(texts=["sugar"])
    assert np.array_equal(vector(input_type="query"), prompted[0])
    assert np.array_equal(vector(instruction="Find sweets."), own[0])
    assert np.array_equal(vector(input_type="document"), plain[0])
    assert np.array_equal(vector(), plain[0])


def test_truncation_shows_in_a_header_and_in_usage(worker: Worker) -> None:
    answer = openai(worker, input=["bill tokens " * 60, "a"], truncate=True)
    assert answer.headers["x-truncated-inputs"] == "1"
    assert answer.json()["usage"]["total_tokens"] == 96 + worker.vectors(texts=["a"])[0].tokens[0]
    assert "x-truncated-inputs" not in openai(worker, input="a").headers


@pytest.mark.parametrize("bad", ["", [], [""], [[]], ["a", ""], ["a", [1]], [1, [2]], {"a": 1}, None, [1.5], [True]])
def test_an_input_that_openai_does_not_know_is_400(worker: Worker, bad: Any) -> None:
    answer = openai(worker, input=bad)
    assert answer.status_code == 400
    assert set(answer.json()["error"]) >= {"message", "type", "code", "param"}


def test_unknown_operations_and_verbs_have_the_envelope(worker: Worker) -> None:
    assert (worker.http.get("/nothing").status_code, worker.http.get("/embed").status_code) == (404, 405)
    assert worker.http.get("/nothing").json()["error"]["code"] == "not_found"


def test_info_tells_the_material_of_the_space(worker: Worker) -> None:
    info = worker.http.get("/info").json()
    assert len(info["weights_sha256"]) == len(info["tokenizer_sha256"]) == 64
    assert info["pooling"] == ["lasttoken"]
    assert info["end_token"] == {"id": 2, "token": tiny_model.END, "source": "tokenizer"}
    assert info["build"]["dtype"] == "float32"
    assert info["libraries"].keys() >= {"torch", "transformers", "tokenizers"}
    assert info["trained_dimensions"] == [8, 16, 32, 64]


def test_metrics_count_what_was_done_and_no_padding(worker: Worker) -> None:
    def read() -> dict[str, float]:
        lines = [line for line in worker.http.get("/metrics").text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    before = read()
    header, _ = worker.vectors(texts=["The broker bills each token once."] * 8)
    after = read()
    tokens = 'gigarouter_worker_tokens_total{lane="interactive"}'
    assert after[tokens] - before.get(tokens, 0) == sum(header.tokens)
    assert after["gigarouter_worker_filler_tokens_total"] == before["gigarouter_worker_filler_tokens_total"]
    for stage in ("tokenize", "queue", "model", "finish"):
        assert after[f'gigarouter_worker_stage_seconds_count{{stage="{stage}"}}'] > 0


def test_a_caller_who_hangs_up_frees_the_queue(worker: Worker) -> None:
    body = msgspec.msgpack.encode({"texts": ["bill each token once and only once, please"] * 1500, "lane": "batch"})
    head = f"POST /embed HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", int(worker.url.rpartition(":")[2]))) as connection:
        connection.sendall(head + body)
        deadline = time.monotonic() + 20
        while worker.http.get("/ready").json()["batch_queue_tokens"] == 0:
            assert time.monotonic() < deadline
    deadline = time.monotonic() + 5
    while worker.http.get("/ready").json()["batch_queue_tokens"] > 0:
        assert time.monotonic() < deadline, "the work of a caller who left is still queued"


def test_sigterm_under_load_loses_nothing_accepted(qwen: Path) -> None:
    """Eight callers at work when the signal comes: each call in flight is answered, or told to go elsewhere."""
    with a_worker("--model", str(qwen)) as worker, ThreadPoolExecutor(8) as callers:
        stop = threading.Event()

        def call(number: int) -> list[int]:
            statuses = []
            while not stop.is_set():
                answer = worker.embed(texts=[f"text {number} {index}" for index in range(20)])
                statuses.append(answer.status_code)
                if answer.status_code == 503:
                    assert answer.json()["error"]["code"] == "overloaded"
                    assert int(answer.headers["retry-after"]) >= 1
            return statuses

        calls = [callers.submit(call, number) for number in range(8)]
        time.sleep(1.5)
        stop.set()
        worker.process.send_signal(signal.SIGTERM)
        statuses = [status for one in calls for status in one.result()]
        assert worker.process.wait(40) == 0
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= 8
