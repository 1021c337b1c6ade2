"""Asks one endpoint to embed the probes, as real calls would, in every way in which calls come.

All in one batch, some alone, texts of equal length by themselves, batches of mixed lengths at once, with the model's
prompts. Implementations are known that are right in one of these and wrong in another: each is compared.
Every answer passes the check that a customer's answer passes.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import numpy as np

from catalog.values import Model
from providers.agreement import Agreement
from providers.outcomes import Failure, TryLater
from providers.probes import InputType, ProbeSet
from providers.protocol import FloatMatrix, Provider
from router.at_endpoint import attempt_at
from router.check import check
from router.estimate import tokens_most
from router.values import EmbedRequest, Endpoint
from router.verdicts import Step
from store.ids import RequestId, new_id

Compare = Callable[[FloatMatrix, FloatMatrix], Agreement]
Way = Callable[[list[int]], Awaitable[FloatMatrix]]

ATTEMPT_WITHIN_S = 60.0
PATIENCE = 3
PATIENCE_MAX_S = 10.0
AT_ONCE = 4
MIXED_BATCH = 8


class Asker:
    """One endpoint being asked. Remembers what it took: ``calls``, ``tokens``, the space names that came back."""

    def __init__(self, provider: Provider, endpoint: Endpoint, model: Model, probes: ProbeSet) -> None:
        self._provider = provider
        self._endpoint = endpoint
        self._model = model
        self._probes = probes.probes
        self.calls = 0
        self.tokens = 0
        self.spaces: set[str | None] = set()

    async def embed(self, rows: list[int]) -> FloatMatrix:
        """Vectors of these probes in the order of ``rows``, batched as the endpoint takes them.

        Raises :class:`providers.outcomes.Failure`.
        """
        found: dict[int, FloatMatrix] = {}
        for batch, input_type in self._batches(rows):
            matrix = await self._attempt(batch, input_type)
            found.update(zip(batch, matrix, strict=True))
        return np.stack([found[row] for row in rows])

    async def one_by_one(self, rows: list[int]) -> FloatMatrix:
        """The same, each alone."""
        return np.concatenate([await self.embed([row]) for row in rows])

    async def mixed(self, rows: list[int], seed: str) -> FloatMatrix:
        """The same, in small batches of mixed lengths of which several are under way at once."""
        shuffled = list(rows)
        random.Random(seed).shuffle(shuffled)  # noqa: S311 - an order, not a secret
        size = min(MIXED_BATCH, self._endpoint.max_batch or MIXED_BATCH)
        batches = [shuffled[start : start + size] for start in range(0, len(shuffled), size)]
        turns = asyncio.Semaphore(min(AT_ONCE, self._endpoint.concurrency or AT_ONCE))

        async def one(batch: list[int]) -> FloatMatrix | Failure:
            async with turns:
                try:
                    return await self.embed(batch)
                except Failure as failure:
                    return failure

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(batch)) for batch in batches]
        found: dict[int, FloatMatrix] = {}
        for batch, task in zip(batches, tasks, strict=True):
            answer = task.result()
            if isinstance(answer, Failure):
                raise answer
            found.update(zip(batch, answer, strict=True))
        return np.stack([found[row] for row in rows])

    def _batches(self, rows: list[int]) -> Iterator[tuple[list[int], InputType | None]]:
        """One input type each, within the endpoint's bounds."""
        inputs_max = self._endpoint.max_batch or len(rows)
        tokens_max = self._endpoint.max_batch_tokens
        types: tuple[InputType | None, ...] = (None, "query", "document")
        for input_type in types:
            batch: list[int] = []
            tokens = 0
            for row in rows:
                if self._probes[row].input_type != input_type:
                    continue
                most = tokens_most(self._probes[row].text)
                if batch and (len(batch) >= inputs_max or (tokens_max is not None and tokens + most > tokens_max)):
                    yield batch, input_type
                    batch, tokens = [], 0
                batch.append(row)
                tokens += most
            if batch:
                yield batch, input_type

    async def _attempt(self, rows: list[int], input_type: InputType | None) -> FloatMatrix:
        texts = [self._probes[row].text for row in rows]
        request = EmbedRequest(self._model.id, texts, None, "float", None, input_type, None)
        attempt = attempt_at(self._endpoint, request, self._model, RequestId(new_id()))
        for patience in range(PATIENCE, -1, -1):
            self.calls += 1
            try:
                vectors = await self._provider.embed(attempt, ATTEMPT_WITHIN_S)
            except TryLater as later:
                if not patience:
                    raise
                await asyncio.sleep(min(later.retry_after_s or 1.0, PATIENCE_MAX_S))
                continue
            check(vectors, attempt, self._model)
            self.tokens += vectors.tokens or 0
            self.spaces.add(vectors.space)
            return vectors.matrix
        raise AssertionError("the last turn returns or raises; this is a bug")


async def ask_all(
    asker: Asker, model: Model, probes: ProbeSet, reference: FloatMatrix | None, compare: Compare
) -> tuple[FloatMatrix, list[Step]]:
    """All probes, in all ways. Without a reference the endpoint is compared with itself.

    Returns the batch's vectors, [probes, dimensions], and the steps; stops at the first step that differs. Raises
    :class:`providers.outcomes.Failure`.
    """
    together = await asker.embed(list(range(len(probes.probes))))
    expected = together if reference is None else reference
    steps = [Step("in one batch", compare(expected, together))]
    ways: tuple[tuple[str, list[int], Way], ...] = (
        ("alone", probes.sample(), asker.one_by_one),
        ("equal lengths", probes.group("equal_length"), asker.embed),
        ("mixed lengths at once", probes.of(None), partial(asker.mixed, seed=probes.name)),
    )
    for name, rows, way in ways:
        if steps[-1].agreement.passed:
            steps.append(Step(name, compare(expected[rows], await way(rows))))
    return together, steps


async def ask_some(asker: Asker, probes: ProbeSet, reference: FloatMatrix, compare: Compare, turn: int) -> list[Step]:
    """A few probes in one batch per input type; which ones changes with ``turn``."""
    rows = probes.canaries(turn)
    return [Step("canaries", compare(reference[rows], await asker.embed(rows)))]
