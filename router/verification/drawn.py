"""Probes an endpoint with texts that nobody can know, over the whole range of what it may get.

Drawn texts in one batch and several batches at once, texts as long as the model takes, and as many texts in a batch as
the endpoint may get. What is right is asked of a second endpoint of the space at the same time: an in-house worker
where there is one, else an endpoint that has earned its traffic. Without one, or while it does not answer, the endpoint
is compared with itself: in another shape of call, and two long texts that differ at their end alone must not be one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
import numpy as np
import structlog

from catalog.values import Model
from providers.outcomes import Broken, CallerFault, Failure
from providers.probing.agreement import Agreement
from providers.probing.drawn_texts import LARGEST_BATCH, LONGEST_TOKENS, drawn_set, long_words, short_texts
from providers.probing.probe_texts import ProbeSet, ProbeText
from providers.protocol import FloatMatrix
from router.dispatch.usage_drift import differs_by_special_tokens
from router.values import Endpoint
from router.verification.prober import COUNTING_KINDS, Compare, Prober
from router.verification.report import ComparisonStep
from store.ids import EndpointId, wire

log = structlog.get_logger("router.verification.drawn")

T = TypeVar("T")

# Of a large batch so many rows are compared at once, which a loop hardly notices.
ROWS_AT_ONCE = 64
# Rows of a large batch that an endpoint without a second one answers again in a small batch.
SAMPLED_ROWS = 16
# A text is made shorter by this share where it is refused at the model's very limit.
SHORTENED = 0.97
FITTINGS = 3
# Two texts that differ at their end are as far apart as they should be, or at least by this share of it.
TAIL_SHARE = 0.1
SAME_TEXT = 1e-7
FIRST_WORDS = 64
# A text that was fitted by another's usage, which may leave out special tokens, stays so far below the limit.
SPARE_TOKENS = 3
ENDS = ("north", "south")
FILLER, FILLERS_MAX = "a", 16


class DrawnResult(msgspec.Struct, frozen=True):
    """What the drawn texts showed; ``miscount`` is what is wrong with the usage, by our own count."""

    steps: tuple[ComparisonStep, ...]
    miscount: str = ""


class DrawnProbes:
    """One verification's drawn texts at one endpoint, and at its peer."""

    def __init__(
        self, prober: Prober, peer: Prober | None, endpoint: Endpoint, model: Model, seed: bytes, compare: Compare
    ) -> None:
        """``compare`` compares with the answer of another copy, whose noise is in the comparison as well."""
        self._prober = prober
        self._peer = peer
        self._beside = "" if peer is None else f", beside {peer.endpoint.provider_name}"
        self._endpoint = endpoint
        self._model = model
        self._seed = seed
        self._counts = peer is not None and peer.endpoint.provider_kind in COUNTING_KINDS
        self._compare = compare
        self._steps: list[ComparisonStep] = []
        self._miscount = ""

    async def run(self, *, checks_usage: bool) -> DrawnResult:
        """Send all of them, up to the first step that differs. Raises the endpoint's :class:`Failure`."""
        for step in (self._drawn, self._longest, self._largest_batch):
            await step(checks_usage)
            if not self._is_good() or (self._prober.has_small_grant and step == self._longest):
                break
        return DrawnResult(tuple(self._steps), self._miscount)

    async def few(self) -> DrawnResult:
        """A few drawn texts, where a second endpoint says what is right."""
        if self._peer is not None:
            probes = drawn_set(self._seed)
            probes = ProbeSet(probes.name, probes.probes[:4])
            expected = await self._ask_peer(lambda peer: peer.of(probes).embed([0, 1, 2, 3]))
            if expected is not None:
                self._add("drawn texts", expected, await self._at_endpoint(probes, [0, 1, 2, 3]))
        return DrawnResult(tuple(self._steps))

    async def _drawn(self, checks_usage: bool) -> None:
        probes = drawn_set(self._seed)
        plain = probes.of(None)
        rows = plain if self._prober.has_small_grant else list(range(len(probes.probes)))
        expected = await self._ask_peer(lambda peer: peer.of(probes).embed(rows))
        mine = await self._at_endpoint(probes, rows, plain if checks_usage else None)
        if expected is not None:
            self._add("drawn texts", expected, mine)
        if self._prober.has_small_grant or not self._is_good():
            return
        prober = self._prober.of(probes)
        mixed = await prober.embed_mixed(plain, seed=self._seed.hex())
        self._prober.add_counts_of(prober)
        self._add("drawn texts at once", (mine if expected is None else expected)[plain], mixed)

    async def _longest(self, checks_usage: bool) -> None:
        """Texts as long as the model takes; a little shorter ones where those are refused."""
        limit = min(self._model.max_input_tokens, LONGEST_TOKENS)
        words = await asyncio.to_thread(long_words, self._seed, limit)
        count = await self._fitting(words, limit)
        if count is None:
            return
        try:
            await self._embed_long(_long_set(words, count), checks_usage)
        except CallerFault:
            try:
                await self._embed_long(_long_set(words, max(1, int(count * SHORTENED))), checks_usage)
            except CallerFault:
                reason = f"it refuses an input of some {int(limit * SHORTENED)} tokens, and the model takes {limit}"
                self._steps.append(ComparisonStep("longest texts", Agreement(1, fault=reason)))

    async def _embed_long(self, probes: ProbeSet, checks_usage: bool) -> None:
        rows = list(range(len(probes.probes)))
        mine = await self._at_endpoint(probes, rows, rows if checks_usage else None)
        expected = await self._ask_peer(lambda peer: peer.of(probes).embed(rows))
        if expected is not None:
            self._add("longest texts", expected, mine)
        if self._is_good():
            agreement = Agreement(2, fault=_tail_fault(mine, expected))
            self._steps.append(ComparisonStep("ends of longest texts", agreement))

    async def _largest_batch(self, checks_usage: bool) -> None:
        size = min(self._endpoint.max_batch or LARGEST_BATCH, LARGEST_BATCH)
        probes = await asyncio.to_thread(short_texts, self._seed, size)
        rows = list(range(len(probes.probes)))
        mine = await self._at_endpoint(probes, rows, rows if checks_usage else None)
        expected = await self._ask_peer(lambda peer: _in_small_batches(peer.of(probes), rows))
        if expected is None:
            rows = rows[:: max(1, len(rows) // SAMPLED_ROWS)]
            expected, mine = await self._at_endpoint(probes, rows), mine[rows]
        for start in range(0, len(rows), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            agreement = await asyncio.to_thread(self._compare, expected[part], mine[part])
            if not agreement.passed or start + ROWS_AT_ONCE >= len(rows):
                self._steps.append(ComparisonStep("largest batch", agreement))
                return

    async def _at_endpoint(self, probes: ProbeSet, rows: list[int], counted: list[int] | None = None) -> FloatMatrix:
        """The endpoint's vectors; the usage of the rows without an input type is compared with our count."""
        prober = self._prober.of(probes)
        if counted is None or not self._counts:
            matrix = await prober.embed(rows)
        else:
            matrix = await prober.embed(counted)
            reported = prober.tokens
            own = await self._ask_peer(lambda peer: peer.of(probes).count(counted))
            if own is not None and reported and not differs_by_special_tokens(reported, own, len(counted)):
                self._miscount = f"it tells {reported} tokens for {len(counted)} texts of which our own count is {own}"
            if others := [row for row in rows if row not in set(counted)]:
                found = dict(zip(counted, matrix, strict=True))
                found |= dict(zip(others, await prober.embed(others), strict=True))
                matrix = np.stack([found[row] for row in rows])
        self._prober.add_counts_of(prober)
        return matrix

    async def _fitting(self, words: list[str], limit: int) -> int | None:
        """How many of the words make a text of the model's length; None where nobody counts tokens."""
        if self._counts:
            counted = await self._ask_peer(lambda peer: _fit_by_count(peer, words, limit))
            if counted is not None:
                return counted
        if self._endpoint.provider_kind in COUNTING_KINDS:
            return await _fit_by_count(self._prober, words, limit)
        if self._prober.has_small_grant:
            return None
        by_peer = await self._ask_peer(lambda peer: _fit_by_usage(peer, words, limit))
        return by_peer or await _fit_by_usage(self._prober, words, limit)

    async def _ask_peer(self, ask: Callable[[Prober], Awaitable[T]]) -> T | None:
        """What the second endpoint answers; None where there is none, or it failed once: not this one's fault."""
        if self._peer is None:
            return None
        try:
            return await ask(self._peer)
        except Failure as failure:
            log.warning(
                "second_endpoint_silent", endpoint=wire(EndpointId, self._endpoint.id), failure=type(failure).__name__
            )
            self._peer, self._counts = None, False
            return None

    def _add(self, name: str, expected: FloatMatrix, mine: FloatMatrix) -> None:
        beside = self._beside if self._peer is not None else ""
        self._steps.append(ComparisonStep(f"{name}{beside}", self._compare(expected, mine)))

    def _is_good(self) -> bool:
        return not self._miscount and (not self._steps or self._steps[-1].agreement.passed)


def _long_text(words: list[str], count: int, end: str = ENDS[0]) -> str:
    return " ".join([*words[:count], end])


def _long_set(words: list[str], count: int) -> ProbeSet:
    """A pair of texts that differ in their last word alone, and texts half and three quarters as long."""
    texts = [_long_text(words, count, end) for end in ENDS]
    texts += [_long_text(words, count // 2), _long_text(words, 3 * count // 4)]
    return ProbeSet("longest", tuple(ProbeText("longest", text) for text in texts))


def _single(text: str) -> ProbeSet:
    return ProbeSet("longest", (ProbeText("longest", text),))


async def _fit_by_count(prober: Prober, words: list[str], limit: int) -> int | None:
    """The most words whose text the model takes, by its own tokenizer; small words are put in to fill it up."""
    least, most = 0, len(words)
    while least < most:
        middle = (least + most + 1) // 2
        fits = await _fits(prober, words, middle, limit)
        if fits is None:
            return None
        least, most = (middle, most) if fits else (least, middle - 1)
    for _ in range(FILLERS_MAX):
        filled = [*words[:least], FILLER]
        if not least or not await _fits(prober, filled, least + 1, limit):
            break
        words[:] = filled
        least += 1
    return least or None


async def _fits(prober: Prober, words: list[str], count: int, limit: int) -> bool | None:
    """Whether the model takes so many of the words, and another one at the end; None where nobody counts."""
    try:
        tokens = await prober.of(_single(_long_text(words, count))).count([0])
    except CallerFault:
        return False
    return None if tokens is None else tokens <= limit


async def _fit_by_usage(prober: Prober, words: list[str], limit: int) -> int | None:
    """About so many words, by the usage that an endpoint tells of ever longer texts."""
    count = max(1, min(FIRST_WORDS, limit // 4))
    for _ in range(FITTINGS):
        sized = prober.of(_single(_long_text(words, count)))
        try:
            tokens = await sized.usage_of(0)
        except (CallerFault, Broken):
            count = int(count * SHORTENED)
            continue
        finally:
            prober.add_counts_of(sized)
        if not tokens:
            return None
        fitted = min(len(words), max(1, int(count * (limit - SPARE_TOKENS) / tokens)))
        if fitted == count:
            break
        count = fitted
    return count


async def _in_small_batches(prober: Prober, rows: list[int]) -> FloatMatrix:
    """What an endpoint that may itself be wrong in large batches says of each text."""
    parts = [rows[start : start + ROWS_AT_ONCE] for start in range(0, len(rows), ROWS_AT_ONCE)]
    return np.concatenate([await prober.embed(part) for part in parts])


def _tail_fault(mine: FloatMatrix, expected: FloatMatrix | None) -> str:
    """Why the ends of the first two texts cannot have been read; empty where they were."""
    apart = _distance(mine)
    if apart < SAME_TEXT or (expected is not None and apart < TAIL_SHARE * _distance(expected)):
        return "two texts of the model's full length that differ in their last word have one vector: texts are cut"
    return ""


def _distance(matrix: FloatMatrix) -> float:
    """1 - cosine of the first two rows."""
    first, second = (row / np.linalg.norm(row) for row in matrix[:2].astype(np.float64))
    return float(1 - first @ second)
