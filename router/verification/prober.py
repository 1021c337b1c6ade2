"""Asks one endpoint to embed the probes, as real calls would, in every way in which calls come.

All in one batch, some alone, texts of equal length by themselves, batches of mixed lengths at once, with the model's
prompts. Implementations are known that are right in one of these and wrong in another: each is compared.
Every answer passes the check that a customer's answer passes. What the provider grants us holds for probes, too: they
take their share of it, and are fewer where it is small.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Protocol

import numpy as np

from catalog.values import Model
from providers.outcomes import Failure, PassedOver, TryLater
from providers.probing.agreement import Agreement
from providers.probing.probe_texts import InputType, ProbeSet
from providers.protocol import Attempt, FloatMatrix, Provider, Vectors
from router.dispatch.attempt import build_attempt
from router.dispatch.provider_quota import WINDOW_S, Lease, has_quota
from router.dispatch.validate import check, miscount
from router.request.estimate import tokens_most
from router.values import EmbedRequest, Endpoint
from router.verification.references import known_rows
from router.verification.report import Step
from store.ids import RequestId, new_id

Compare = Callable[[FloatMatrix, FloatMatrix], Agreement]
Way = Callable[[list[int]], Awaitable[FloatMatrix]]

ATTEMPT_WITHIN_S = 60.0
PATIENCE = 3
PATIENCE_MAX_S = 10.0
AT_ONCE = 4
ROOM_WAIT_S = 0.05
MIXED_BATCH = 8
# Below so many requests a minute, each way of asking takes one or two.
SMALL_GRANT = 60
CALLS, CALLS_FEW = 40, 12
WITHIN_S, WITHIN_MAX_S = 300.0, 1800.0


class Quota(Protocol):
    """Who keeps a provider's grant: ``dispatch.provider_quota.ProviderQuota`` for all processes together."""

    async def take(
        self, endpoint: Endpoint, lease_id: str, *, requests: int, tokens: int, slots: int, limit_s: float
    ) -> Lease:
        """Room for an attempt. Raises PassedOver with the wait."""
        ...

    def give(self, lease: Lease, used_tokens: int | None, sent: int) -> None:
        """The attempt is over."""
        ...


class LocalQuota:
    """For a process that cannot ask what others take: at least its own calls keep within the grant."""

    def __init__(self) -> None:
        self._taken: deque[tuple[float, int]] = deque()

    async def take(
        self, endpoint: Endpoint, lease_id: str, *, requests: int, tokens: int, slots: int, limit_s: float
    ) -> Lease:
        """See :class:`Quota`."""
        now = asyncio.get_running_loop().time()
        while self._taken and self._taken[0][0] <= now - WINDOW_S:
            self._taken.popleft()
        rpm, tpm = endpoint.requests_per_minute, endpoint.tokens_per_minute
        tokens = tokens if tpm is None else min(tokens, tpm)
        over = rpm is not None and len(self._taken) >= rpm
        if over or (tpm is not None and sum(taken for _, taken in self._taken) + tokens > tpm):
            raise PassedOver(
                "it has as much per minute as it grants us", retry_after_s=self._taken[0][0] + WINDOW_S - now
            )
        self._taken.append((now, tokens))
        return Lease(endpoint.id, lease_id, 1, 0, 1, tokens)

    def give(self, lease: Lease, used_tokens: int | None, sent: int) -> None:
        """Nobody else is told."""


def is_sparing(endpoint: Endpoint) -> bool:
    """Whether so little is granted that customers would wait for a whole examination."""
    return endpoint.requests_per_minute is not None and endpoint.requests_per_minute < SMALL_GRANT


def allowed_s(endpoint: Endpoint, probes: ProbeSet) -> float:
    """How long an examination may take, in seconds: longer where the grant is small, half of which customers take."""
    within = WITHIN_S
    if endpoint.requests_per_minute is not None:
        within += 2 * WINDOW_S * (CALLS_FEW if is_sparing(endpoint) else CALLS) / endpoint.requests_per_minute
    if endpoint.tokens_per_minute is not None:
        most = 4 * sum(tokens_most(probe.text) for probe in probes.probes)
        within += 2 * WINDOW_S * most / endpoint.tokens_per_minute
    return min(within, WITHIN_MAX_S)


class Prober:
    """One endpoint being asked. Remembers what it took: ``calls``, ``tokens``, the space names that came back.

    ``miscount`` is what is wrong with the usage of an English text alone (``tells_usage``: there is one).
    """

    def __init__(
        self, provider: Provider, endpoint: Endpoint, model: Model, probes: ProbeSet, quota: Quota | None = None
    ) -> None:
        self._pacer = quota or LocalQuota()
        self._paced = has_quota(endpoint)
        self.is_sparing = is_sparing(endpoint)
        self._provider = provider
        self._endpoint = endpoint
        self._model = model
        self._probes = probes.probes
        self.calls = 0
        self.tokens = 0
        self.spaces: set[str | None] = set()
        self.tells_usage = True
        self.miscount: str | None = None

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
        size = -(-len(rows) // 2) if self.is_sparing else MIXED_BATCH
        size = min(size, self._endpoint.max_batch or size)
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
        attempt = build_attempt(self._endpoint, request, self._model, RequestId(new_id()))
        for patience in range(PATIENCE, -1, -1):
            try:
                vectors = await self._within_grant(attempt, sum(map(tokens_most, texts)))
            except TryLater as later:
                if not patience:
                    raise
                most_s = WINDOW_S if self._paced else PATIENCE_MAX_S
                await asyncio.sleep(min(later.retry_after_s or 1.0, most_s))
                continue
            check(vectors, attempt, self._model)
            self.tokens += vectors.tokens or 0
            self.spaces.add(vectors.space)
            if len(rows) == 1 and self._probes[rows[0]].group == "long":
                self.miscount, self.tells_usage = miscount(texts, vectors), vectors.tokens is not None
            return vectors.matrix
        raise AssertionError("the last turn returns or raises; this is a bug")

    async def _within_grant(self, attempt: Attempt, tokens: int) -> Vectors:
        """One call, once there is room for it; who examines bounds the wait."""
        if not self._paced:
            self.calls += 1
            return await self._provider.embed(attempt, ATTEMPT_WITHIN_S)
        lease = await self._room(tokens)
        used: int | None = None
        try:
            self.calls += 1
            vectors = await self._provider.embed(attempt, ATTEMPT_WITHIN_S)
            used = vectors.tokens
        finally:
            self._pacer.give(lease, used, 1)
        return vectors

    async def _room(self, tokens: int) -> Lease:
        while True:
            try:
                return await self._pacer.take(
                    self._endpoint, new_id().hex, requests=1, tokens=tokens, slots=1, limit_s=ATTEMPT_WITHIN_S
                )
            except PassedOver as full:
                await asyncio.sleep(max(full.retry_after_s or 0.0, ROOM_WAIT_S))


async def probe_all(
    asker: Prober, model: Model, probes: ProbeSet, reference: FloatMatrix | None, compare: Compare
) -> tuple[FloatMatrix, list[Step]]:
    """All probes, in all ways. Without a reference the endpoint is compared with itself.

    Returns the batch's vectors, [probes, dimensions], and the steps; stops at the first step that differs. Raises
    :class:`providers.outcomes.Failure`.
    """
    together = await asker.embed(list(range(len(probes.probes))))
    expected, known = _filled(reference, together)
    steps = [Step("in one batch", compare(expected[known], together[known]))]
    alone = [probes.of(None)[0], probes.group("long")[0]] if asker.is_sparing else probes.sample()
    ways: tuple[tuple[str, list[int], Way], ...] = (
        ("alone", alone, asker.one_by_one),
        ("equal lengths", probes.group("equal_length"), asker.embed),
        ("mixed lengths at once", probes.of(None), partial(asker.mixed, seed=probes.name)),
    )
    for name, rows, way in ways:
        if steps[-1].agreement.passed:
            steps.append(Step(name, compare(expected[rows], await way(rows))))
    return together, steps


async def probe_some(
    asker: Prober, probes: ProbeSet, reference: FloatMatrix, compare: Compare, turn: int
) -> list[Step]:
    """A few probes in one batch per input type; which ones changes with ``turn``."""
    known = known_rows(reference)
    rows = [row for row in probes.canaries(turn) if row in known] or known[turn % len(known) :][:1]
    return [Step("canaries", compare(reference[rows], await asker.embed(rows)))]


def _filled(reference: FloatMatrix | None, together: FloatMatrix) -> tuple[FloatMatrix, list[int]]:
    """What is expected, and which rows of it a reference says; of the rest, the endpoint is held to its own answer."""
    if reference is None:
        return together, list(range(len(together)))
    known = known_rows(reference)
    if reference.shape != together.shape:
        return reference, known  # Comparing says what is wrong.
    expected = together.copy()
    expected[known] = reference[known]
    return expected, known
