"""Real models behind real servers: every impostor is caught when it is tested and gets no call; honest copies do.

A second story: a server that was honest is exchanged for an impostor under a live endpoint.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from catalog.values import Model
from providers.probing.probe_texts import probe_set
from providers.worker.start import LoadedModel
from router.verification.sample_call import TEXTS as TEXTS_OF_THE_FIRST_CALL
from store.embedded import Embedded
from store.ids import EndpointId
from tests.builders import tiny_model
from tests.builders.spaces import SpaceLab
from tests.harness import wrong_models
from tests.harness.processes import Product, free_port
from tests.harness.raw_http import request_bytes, send
from tests.harness.worker_process import a_worker
from tests.harness.wrong_models import Embed, Served, honest, loaded

PATH = "/v1/embeddings"
# Its name says that it can be shortened, as those of the family can.
WORKER = "tests/F2LLM-v2-tiny"
# The most texts that an endpoint is sent at once, so the largest batch of its probes, and so many probed at a time.
BATCH, AT_ONCE = 256, 4
TEXTS = ["a", "How do plants make sugar?", "The broker bills each token once, whatever the provider says of it."]


class Family(msgspec.Struct, frozen=True):
    """A model to serve, and the class of numbers of its space."""

    folder: Callable[[], Path]
    numerics: str
    pooling: str
    dimensions: int
    tokens: int
    trained: tuple[int, ...] = ()
    prompts: dict[str, str] = {}


FAMILIES = {
    "bert, mean, f32": Family(wrong_models.real_model, "fp32", "mean", 384, 256),
    "qwen3, last token, bf16": Family(
        wrong_models.random_model,
        "bf16",
        "last-token",
        tiny_model.WIDTH,
        512,
        (16, 32, 64),
        {"query": tiny_model.QUERY},
    ),
}


def impostors_of(family: Family, folder: Path, to: Path) -> dict[str, Embed]:
    """Each wrong in one way; what is left of the model is real."""
    ready = loaded(folder)
    causal = family.pooling == "last-token"
    wrong_pooling = "mean_tokens" if causal else "cls_token"

    def another(name: str, change: Callable[[Any], Any]) -> LoadedModel:
        return loaded(wrong_models.changed(folder, to / name, change))

    published = frozenset(probe.text for probe in probe_set(family.tokens).probes) | frozenset(TEXTS_OF_THE_FIRST_CALL)
    found = {
        "cut-at-half": honest(ready, rows=wrong_models.cut_at(family.tokens // 2)),
        "cut-near-the-end": honest(ready, rows=wrong_models.cut_at(family.tokens - 6)),
        "published-texts-alone": wrong_models.learned(
            honest(ready), wrong_models.prompted(honest(ready), "x "), published
        ),
        "large-batches-mixed": wrong_models.mixed_from(honest(ready), BATCH - 6),
        "wrong-pooling": honest(loaded(wrong_models.pooling_as(folder, to / "pooling", wrong_pooling))),
        "missing-end": honest(ready, rows=wrong_models.without_end),
        "not-normalized": honest(ready, normalized=False),
        "int8-weights": honest(another("int8", wrong_models.in_int8)),
        "prompt-added": wrong_models.prompted(honest(ready), "query: "),
        "no-mask": honest(ready, rows=wrong_models.without_mask(0, left=causal)),
    }
    if not causal:
        return found  # What follows has little to do with the model, and this one is slow.
    return found | {
        "another-model": honest(another("another", wrong_models.retrained)),
        "permuted": wrong_models.permuted(honest(ready)),
        "filled-up": wrong_models.filled_up(honest(ready)),
        "rows-swapped": wrong_models.swapped(honest(ready)),
    }


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


@pytest.fixture
def servers_of_embeddings() -> Iterator[ExitStack]:
    with ExitStack() as running:
        yield running


def test_impostors_are_caught_and_get_no_call_and_honest_copies_do(
    family: Family,
    servers: Embedded,
    database_url: str,
    redis_url: str,
    tmp_path: Path,
    servers_of_embeddings: ExitStack,
) -> None:
    folder = family.folder()
    serve = servers_of_embeddings.enter_context
    count = wrong_models.counted(loaded(folder))
    impostors = impostors_of(family, folder, tmp_path)
    wrong = {name: serve(Served(embed, count).in_thread()) for name, embed in impostors.items()}
    wrong["threefold-usage"] = serve(Served(honest(loaded(folder)), lambda texts: 3 * count(texts)).in_thread())
    dtypes = ("float32", "bfloat16")
    copies = {dtype: serve(Served(honest(loaded(folder, dtype)), count).in_thread()) for dtype in dtypes}
    product = Product(tmp_path, database_url, redis_url, jobs=False)
    port = free_port()
    product.worker(folder, WORKER, port)
    in_half = ("--model", str(folder), "--name", WORKER, "--dtype", "bfloat16")
    # Two workers of ours, one in each precision, tell how far honest copies of this model are apart.
    second = serve(a_worker(*in_half)).url if family.numerics == "bf16" else None
    with product:
        verdicts = asyncio.run(verify_all(database_url, family, port, second, wrong, copies))
        admits_bf16 = family.numerics == "bf16"
        assert verdicts.pop("worker") == ("live", "")
        assert verdicts.pop("float32") == ("live", "")
        assert verdicts.pop("bfloat16")[0] == ("live" if admits_bf16 else "quarantined")
        assert {name for name, (state, _) in verdicts.items() if state == "quarantined"} == set(wrong), verdicts
        assert not [name for name, (_, reason) in verdicts.items() if "NaN" in reason], "a server of the test is broken"

        asked = {name: len(server.calls) for name, server in wrong.items()}
        served = sum(len(server.calls) for server in copies.values())
        key = product.wait_until_known(product.database.a_key(product.database.an_account(1_000_000_000)))
        expected = honest(loaded(folder))(TEXTS)
        for _ in range(12):
            close_to(expected, ask(product, key), 1e-5 if not admits_bf16 else 5e-4)
        assert {name: len(server.calls) for name, server in wrong.items()} == asked, "an impostor got a call"
        assert sum(len(server.calls) for server in copies.values()) > served, "no honest copy got a call"


async def verify_all(
    url: str, family: Family, port: int, second: str | None, wrong: dict[str, Served], copies: dict[str, Served]
) -> dict[str, tuple[str, str]]:
    """Name -> state and reason of each, the in-house worker first: it vouches, and nobody says that it may."""
    lab = SpaceLab(url)
    try:
        model = await on_sale(lab, family, family.folder())
        address = f"http://127.0.0.1:{port}"
        worker = await lab.a_draft(model, "worker", address, kind="worker", priority=100, max_batch=BATCH)
        assert (await lab.verify(worker)).became_reference
        if second is not None:
            other = await lab.a_draft(model, "second", second, kind="worker", priority=100, max_batch=BATCH)
            assert (await lab.verify(other)).passed
            (noise,) = await lab.rows("SELECT noise_worst, noise_typical FROM space_references")
            assert 1e-5 < noise.noise_typical < noise.noise_worst < 1e-3
        verdicts = {"worker": (await lab.state(worker), "")}
        few = asyncio.Semaphore(AT_ONCE)

        async def verify(name: str, server: Served) -> None:
            async with few:
                endpoint = await lab.a_draft(model, name, server.base_url, max_batch=BATCH)
                report = await lab.verify(endpoint)
                verdicts[name] = (await lab.state(endpoint), report.reason)

        # Honest copies come last: a live one may be asked what is right.
        for servers in (wrong, copies):
            await asyncio.gather(*(verify(name, server) for name, server in servers.items()))
        await lab.rows("UPDATE models SET status = 'live' WHERE id = :id", id=model.id)
        return verdicts
    finally:
        await lab.close()


async def on_sale(lab: SpaceLab, family: Family, folder: Path) -> Model:
    return await lab.a_model(
        dimensions=family.dimensions,
        numerics=family.numerics,
        pooling=family.pooling,
        max_input_tokens=family.tokens,
        trained_dimensions=list(family.trained),
        prompts=family.prompts,
        revision=wrong_models.file_revision(folder),
    )


def ask(product: Product, key: str) -> np.ndarray[Any, Any]:
    """Through the front door."""
    request = request_bytes(PATH, key, {"model": "tests/model", "input": TEXTS})
    reply = asyncio.run(send(product.serves[0].port, request))
    assert reply.status == 200, reply.body
    return np.array([item["embedding"] for item in reply.json["data"]])


def close_to(expected: np.ndarray[Any, Any], got: np.ndarray[Any, Any], one_minus_cosine: float) -> None:
    assert (1 - np.einsum("ij,ij->i", expected, got)).max() < one_minus_cosine


def test_a_server_exchanged_under_a_live_endpoint_is_found_by_the_next_probe(
    servers: Embedded, database_url: str, redis_url: str, tmp_path: Path, servers_of_embeddings: ExitStack
) -> None:
    family = FAMILIES["qwen3, last token, bf16"]
    folder = family.folder()
    right = honest(loaded(folder))
    count = wrong_models.counted(loaded(folder))
    stays, turns = (servers_of_embeddings.enter_context(Served(right, count).in_thread()) for _ in range(2))
    product = Product(tmp_path, database_url, redis_url)
    with product:
        endpoint = asyncio.run(two_live_ones(database_url, family, folder, stays, turns))
        key = product.wait_until_known(product.database.a_key(product.database.an_account(1_000_000_000)))
        before = len(turns.calls)
        for _ in range(3):
            ask(product, key)
        assert len(turns.calls) > before, "it goes first by its priority"

        turns.embed = honest(loaded(wrong_models.pooling_as(folder, tmp_path / "mean", "mean_tokens")))
        ask(product, key)  # The width and the length are right: nothing but a probe can tell.
        asyncio.run(due(database_url, endpoint))
        deadline = time.monotonic() + 30
        while product.database.value("SELECT state FROM endpoints WHERE id = $1", endpoint) != "quarantined":
            assert time.monotonic() < deadline, "no probe found it"
            time.sleep(0.1)
        time.sleep(0.5)
        asked = len(turns.calls)
        for _ in range(5):
            close_to(right(TEXTS), ask(product, key), 1e-4)
        assert len(turns.calls) == asked
        assert product.jobs is not None
        lines = [line for line in product.jobs.said_since_start().splitlines() if "endpoint_quarantined" in line]
        # Three honest ones, which nobody can tell apart, and the wrong one.
        assert msgspec.json.decode(lines[0])["calls_since"] == 4


async def two_live_ones(url: str, family: Family, folder: Path, stays: Served, turns: Served) -> EndpointId:
    lab = SpaceLab(url)
    try:
        model = await on_sale(lab, family, folder)
        first = await lab.a_draft(model, "stays", stays.base_url, priority=100)
        assert (await lab.verify(first, as_reference="the only one")).passed
        second = await lab.a_draft(model, "turns", turns.base_url, priority=1)
        assert (await lab.verify(second)).passed
        await lab.rows("UPDATE models SET status = 'live' WHERE id = :id", id=model.id)
        return second
    finally:
        await lab.close()


async def due(url: str, endpoint: EndpointId) -> None:
    lab = SpaceLab(url)
    try:
        await lab.make_due(endpoint)
    finally:
        await lab.close()
