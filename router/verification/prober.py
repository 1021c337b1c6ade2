"""Embeds the probe texts at one endpoint in every shape that real traffic has.

All texts in one batch, single texts, texts of equal length, mixed lengths in parallel, with the model's prompts:
implementations are known that are right in one of these and wrong in another, so each is compared. Every answer passes
the checks of a customer's answer. Probes keep within what the provider grants us, share it with the customers' calls,
and are fewer where the grant is small.
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
from router.dispatch.validate import usage_fault, validate_vectors
from router.request.estimate import token_bound
from router.values import EmbedRequest, Endpoint
from router.verification.references import known_rows
from router.verification.report import ComparisonStep
from store.ids import RequestId, new_id

Compare = Callable[[FloatMatrix, FloatMatrix], Agreement]
Embed = Callable[[list[int]], Awaitable[FloatMatrix]]

CALL_WITHIN_S = 60.0
COUNT_WITHIN_S = 5.0
# Kinds of providers that have the model's tokenizer at hand.
COUNTING_KINDS = frozenset({"worker"})
RETRIES = 3
RETRY_WAIT_MAX_S = 10.0
BATCHES_AT_ONCE = 4
QUOTA_WAIT_MIN_S = 0.05
MIXED_BATCH = 8
# Below so many requests a minute, each shape takes one call or two.
SMALL_GRANT = 60
# The shapes of calls whose vectors are compared with the space's reference, by the names of their steps.
IN_ONE_BATCH, SINGLY, EQUAL, MIXED = "in one batch", "alone", "equal lengths", "mixed lengths at once"
CANARIES = "canaries"
REFERENCE_STEPS = (IN_ONE_BATCH, SINGLY, EQUAL, MIXED, CANARIES)
# About how many calls a full verification takes, and one with a small grant.
CALLS, CALLS_SMALL_GRANT = 60, 14
TIME_LIMIT_S, TIME_LIMIT_MAX_S = 300.0, 1800.0


class Quota(Protocol):
    """Keeps a provider's grant: ``dispatch.provider_quota.ProviderQuota`` does for all processes together."""

    async def acquire(
        self, endpoint: Endpoint, lease_id: str, *, requests: int, tokens: int, slots: int, limit_s: float
    ) -> Lease:
        """Take room for an attempt out of the grant. Raises PassedOver with the wait."""
        ...

    def release(self, lease: Lease, used_tokens: int | None, sent: int) -> None:
        """Give back what the attempt did not use, now that it is over."""
        ...


class LocalQuota:
    """Keeps this process's own calls within the grant, where it cannot ask what other processes take."""

    def __init__(self) -> None:
        self._taken: deque[tuple[float, int]] = deque()

    async def acquire(
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

    def release(self, lease: Lease, used_tokens: int | None, sent: int) -> None:
        """Keep all of it taken until its minute is over."""


def has_small_grant(endpoint: Endpoint) -> bool:
    """Whether so little is granted that customers would have to wait for a whole verification."""
    return endpoint.requests_per_minute is not None and endpoint.requests_per_minute < SMALL_GRANT


def time_limit_s(endpoint: Endpoint, probes: ProbeSet) -> float:
    """How long a verification may take, in seconds: longer where the grant is small, half of which customers take."""
    limit_s = TIME_LIMIT_S
    if endpoint.requests_per_minute is not None:
        calls = CALLS_SMALL_GRANT if has_small_grant(endpoint) else CALLS
        limit_s += 2 * WINDOW_S * calls / endpoint.requests_per_minute
    if endpoint.tokens_per_minute is not None:
        tokens = 8 * sum(token_bound(probe.text) for probe in probes.probes)
        limit_s += 2 * WINDOW_S * tokens / endpoint.tokens_per_minute
    return min(limit_s, TIME_LIMIT_MAX_S)


class Prober:
    """Sends probe texts to one endpoint, and counts: ``calls``, ``tokens``, the names in ``spaces`` that came back.

    ``miscount`` is what is wrong with the usage of a single English text (``reports_usage``: there is one).
    """

    def __init__(
        self, provider: Provider, endpoint: Endpoint, model: Model, probes: ProbeSet, quota: Quota | None = None
    ) -> None:
        self._quota = quota or LocalQuota()
        self._has_quota = has_quota(endpoint)
        self.has_small_grant = has_small_grant(endpoint)
        self._provider = provider
        self.endpoint = endpoint
        self._endpoint = endpoint
        self._model = model
        self._probes = probes.probes
        self.calls = 0
        self.tokens = 0
        self.spaces: set[str | None] = set()
        self.reports_usage = True
        self.miscount: str | None = None

    async def embed(self, rows: list[int]) -> FloatMatrix:
        """Embed these probes, and return their vectors in the order of ``rows``, batched as the endpoint takes them.

        Raises :class:`providers.outcomes.Failure`.
        """
        found: dict[int, FloatMatrix] = {}
        for batch, input_type in self._batches(rows):
            matrix = (await self._call(batch, input_type)).matrix
            found.update(zip(batch, matrix, strict=True))
        return np.stack([found[row] for row in rows])

    async def usage_of(self, row: int) -> int | None:
        """The tokens that the endpoint tells for one of these texts; None where it tells none by a tokenizer."""
        (vectors,) = [await self._call([row], self._probes[row].input_type)]
        return None if vectors.by_size else vectors.tokens

    async def count(self, rows: list[int]) -> int | None:
        """Count these texts by the model's own tokenizer; None where the endpoint has none at hand."""
        texts = [self._probes[row].text for row in rows]
        request = EmbedRequest(self._model.id, texts, None, "float", None, None, None)
        return await self._provider.count(
            build_attempt(self._endpoint, request, self._model, RequestId(new_id())), COUNT_WITHIN_S
        )

    def of(self, probes: ProbeSet) -> "Prober":
        """A prober of other texts at the same endpoint, within the same grant."""
        return Prober(self._provider, self._endpoint, self._model, probes, self._quota)

    def add_counts_of(self, other: "Prober") -> None:
        """Add another prober's calls, tokens and names of spaces."""
        self.calls, self.tokens = self.calls + other.calls, self.tokens + other.tokens
        self.spaces |= other.spaces

    async def embed_singly(self, rows: list[int]) -> FloatMatrix:
        """Embed these probes, one in each call."""
        return np.concatenate([await self.embed([row]) for row in rows])

    async def embed_mixed(self, rows: list[int], seed: str) -> FloatMatrix:
        """Embed these probes in small batches of mixed lengths, several of them in flight at once."""
        shuffled = list(rows)
        random.Random(seed).shuffle(shuffled)  # noqa: S311 - an order, not a secret
        size = -(-len(rows) // 2) if self.has_small_grant else MIXED_BATCH
        size = min(size, self._endpoint.max_batch or size)
        batches = [shuffled[start : start + size] for start in range(0, len(shuffled), size)]
        turns = asyncio.Semaphore(min(BATCHES_AT_ONCE, self._endpoint.concurrency or BATCHES_AT_ONCE))

        async def embed_batch(batch: list[int]) -> FloatMatrix | Failure:
            async with turns:
                try:
                    return await self.embed(batch)
                except Failure as failure:
                    return failure

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(embed_batch(batch)) for batch in batches]
        found: dict[int, FloatMatrix] = {}
        for batch, task in zip(batches, tasks, strict=True):
            answer = task.result()
            if isinstance(answer, Failure):
                raise answer
            found.update(zip(batch, answer, strict=True))
        return np.stack([found[row] for row in rows])

    def _batches(self, rows: list[int]) -> Iterator[tuple[list[int], InputType | None]]:
        """Cut the rows into batches of one input type each, within the endpoint's bounds."""
        inputs_max = self._endpoint.max_batch or len(rows)
        tokens_max = self._endpoint.max_batch_tokens
        types: tuple[InputType | None, ...] = (None, "query", "document")
        for input_type in types:
            batch: list[int] = []
            tokens = 0
            for row in rows:
                if self._probes[row].input_type != input_type:
                    continue
                most = token_bound(self._probes[row].text)
                if batch and (len(batch) >= inputs_max or (tokens_max is not None and tokens + most > tokens_max)):
                    yield batch, input_type
                    batch, tokens = [], 0
                batch.append(row)
                tokens += most
            if batch:
                yield batch, input_type

    async def _call(self, rows: list[int], input_type: InputType | None) -> Vectors:
        texts = [self._probes[row].text for row in rows]
        request = EmbedRequest(self._model.id, texts, None, "float", None, input_type, None)
        attempt = build_attempt(self._endpoint, request, self._model, RequestId(new_id()))
        for retries_left in range(RETRIES, -1, -1):
            try:
                vectors = await self._embed_within_quota(attempt, sum(map(token_bound, texts)))
            except TryLater as later:
                if not retries_left:
                    raise
                most_s = WINDOW_S if self._has_quota else RETRY_WAIT_MAX_S
                await asyncio.sleep(min(later.retry_after_s or 1.0, most_s))
                continue
            validate_vectors(vectors, attempt, self._model)
            self.tokens += vectors.tokens or 0
            self.spaces.add(vectors.space)
            if len(rows) == 1 and self._probes[rows[0]].group == "long":
                self.miscount, self.reports_usage = usage_fault(texts, vectors), vectors.tokens is not None
            return vectors
        raise AssertionError("the last turn returns or raises; this is a bug")

    async def _embed_within_quota(self, attempt: Attempt, tokens: int) -> Vectors:
        """Make one call, once the grant has room for it; :func:`time_limit_s` bounds the wait."""
        if not self._has_quota:
            self.calls += 1
            return await self._provider.embed(attempt, CALL_WITHIN_S)
        lease = await self._wait_for_quota(tokens)
        used_tokens: int | None = None
        try:
            self.calls += 1
            vectors = await self._provider.embed(attempt, CALL_WITHIN_S)
            used_tokens = vectors.tokens
        finally:
            self._quota.release(lease, used_tokens, 1)
        return vectors

    async def _wait_for_quota(self, tokens: int) -> Lease:
        while True:
            try:
                return await self._quota.acquire(
                    self._endpoint, new_id().hex, requests=1, tokens=tokens, slots=1, limit_s=CALL_WITHIN_S
                )
            except PassedOver as full:
                await asyncio.sleep(max(full.retry_after_s or 0.0, QUOTA_WAIT_MIN_S))


async def probe_fully(
    prober: Prober, model: Model, probes: ProbeSet, reference: FloatMatrix | None, compare: Compare
) -> tuple[FloatMatrix, list[ComparisonStep]]:
    """Embed all probes in every shape, and compare each. Without a reference the batch's vectors are the expected ones.

    Returns the batch's vectors, [probes, dimensions], and the steps; stops at the first step that differs. Raises
    :class:`providers.outcomes.Failure`.
    """
    together = await prober.embed(list(range(len(probes.probes))))
    expected, known = _expected(reference, together)
    steps = [ComparisonStep(IN_ONE_BATCH, compare(expected[known], together[known]))]
    single = [probes.of(None)[0], probes.group("long")[0]] if prober.has_small_grant else probes.sample()
    shapes: tuple[tuple[str, list[int], Embed], ...] = (
        (SINGLY, single, prober.embed_singly),
        (EQUAL, probes.group("equal_length"), prober.embed),
        (MIXED, probes.of(None), partial(prober.embed_mixed, seed=probes.name)),
    )
    for name, rows, embed in shapes:
        if steps[-1].agreement.passed:
            steps.append(ComparisonStep(name, compare(expected[rows], await embed(rows))))
    return together, steps


async def probe_canaries(
    prober: Prober, probes: ProbeSet, reference: FloatMatrix, compare: Compare, turn: int
) -> list[ComparisonStep]:
    """Embed a few probes in one batch per input type, and compare them; which ones changes with ``turn``."""
    known = known_rows(reference)
    rows = [row for row in probes.canaries(turn) if row in known] or known[turn % len(known) :][:1]
    return [ComparisonStep(CANARIES, compare(reference[rows], await prober.embed(rows)))]


def _expected(reference: FloatMatrix | None, together: FloatMatrix) -> tuple[FloatMatrix, list[int]]:
    """The expected vectors, and the rows that a reference has; the other rows are the endpoint's own, of its batch."""
    if reference is None:
        return together, list(range(len(together)))
    known = known_rows(reference)
    if reference.shape != together.shape:
        return reference, known  # Comparing says what is wrong.
    expected = together.copy()
    expected[known] = reference[known]
    return expected, known
