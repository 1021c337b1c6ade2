"""Pure. Schedules inputs: packs them by a budget of tokens, from two lanes, so that no request starves. Has no clock.

A request is split into its inputs; a pack takes inputs of many requests, round robin, so that a request of 2,048 texts
and a request of one share the model fairly. Interactive work goes first; the batch lane gets a share of each pack once
it has waited. The queue is bounded in tokens; no single request can use up more than half of the bound.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence

import msgspec

from providers.worker.frames import Lane

# How many requests are tried for the room that is left in a pack, so that a pack costs microseconds to put together.
PASSED_MAX = 64
RATE_TOKENS_MIN = 64
LANES: tuple[Lane, ...] = ("interactive", "batch")


class Limits(msgspec.Struct, frozen=True):
    """What a scheduler works with; all sizes in tokens.

    ``pack_tokens`` is the budget of one pack. A pack of interactive work takes at most ``interactive_tokens``, so that
    its size does not hold up its answers, and is filled with batch work up to ``fill_tokens``, below which the device
    would not be busy. ``queue_tokens`` and ``batch_queue_tokens`` bound the lanes. While both lanes wait, batch work
    gets a pack every ``batch_patience_s``, of ``batch_share`` of what interactive work got. A running pack of at least
    ``long_tokens`` may be interrupted for requests of at most ``short_tokens`` in all.
    """

    pack_tokens: int = 512
    interactive_tokens: int = 256
    fill_tokens: int = 16
    queue_tokens: int = 32_768
    batch_queue_tokens: int = 262_144
    batch_share: float = 0.125
    batch_patience_s: float = 1.0
    long_tokens: int = 64
    short_tokens: int = 64


class Piece(msgspec.Struct, frozen=True):
    """One input of one request: ``index`` is its place in the request."""

    request: int
    index: int
    tokens: int


class Pack(msgspec.Struct, frozen=True):
    """The inputs of one step. ``lane`` is interactive if any of them is."""

    pieces: tuple[Piece, ...]
    lane: Lane

    @property
    def tokens(self) -> int:
        """The tokens of all its pieces."""
        return sum(piece.tokens for piece in self.pieces)


class Refusal(msgspec.Struct, frozen=True):
    """The queue is full; ``retry_after_s`` is when half of it will have been worked off."""

    retry_after_s: float


class _Waiting:
    """The inputs of one request that no pack has taken yet."""

    __slots__ = ("lane", "pieces", "queued_at", "share", "tokens", "tokens_at_first")

    def __init__(self, lane: Lane, pieces: Sequence[Piece], share: int, queued_at: float) -> None:
        self.lane = lane
        self.pieces = deque(pieces)
        self.tokens = self.tokens_at_first = sum(piece.tokens for piece in pieces)
        self.share = share
        self.queued_at = queued_at


class Scheduler:
    """The queue of one model. Every method takes the time as an argument, in seconds of any steady clock."""

    def __init__(self, limits: Limits, tokens_per_s: float = 1000.0) -> None:
        self.limits = limits
        self.tokens_per_s = tokens_per_s
        self.budget_tokens = limits.pack_tokens
        self._lanes: dict[Lane, OrderedDict[int, _Waiting]] = {lane: OrderedDict() for lane in LANES}
        self._tokens: dict[Lane, int] = dict.fromkeys(LANES, 0)
        self._shares: dict[Lane, int] = dict.fromkeys(LANES, 0)
        self._short = 0
        self._batch_served_at = 0.0
        self._batch_credit = 0.0

    def queued_tokens(self, lane: Lane) -> int:
        """How many tokens wait in a lane."""
        return self._tokens[lane]

    def queued_requests(self, lane: Lane) -> int:
        """How many requests wait in a lane, in whole or in part."""
        return len(self._lanes[lane])

    def wait_s(self, lane: Lane) -> float:
        """How long the work ahead of a new request of this lane will take."""
        ahead = self._tokens["interactive"] + (self._tokens["batch"] if lane == "batch" else 0)
        return ahead / self.tokens_per_s

    def refuses(self, lane: Lane, tokens: int) -> Refusal | None:
        """The refusal that a request of this size would get now; None where it would be queued."""
        bound = self._bound(lane)
        if self._shares[lane] + min(tokens, bound // 2) <= bound:
            return None
        return Refusal(retry_after_s=max(0.5, bound / 2 / self.tokens_per_s))

    def offer(self, request: int, lane: Lane, lengths: Sequence[int], now: float) -> Refusal | None:
        """Queue a request, one length in tokens per input, or refuse it. ``request`` is new and not negative."""
        tokens = sum(lengths)
        refusal = self.refuses(lane, tokens)
        if refusal is not None or not lengths:
            return refusal
        assert request not in self._lanes[lane], "a request was offered twice; this is a bug"
        share = min(tokens, self._bound(lane) // 2)
        pieces = [Piece(request, index, length) for index, length in enumerate(lengths)]
        if lane == "batch" and not self._lanes["batch"]:
            self._batch_served_at = now
        waiting = _Waiting(lane, pieces, share, now)
        self._lanes[lane][request] = waiting
        self._tokens[lane] += tokens
        self._shares[lane] += share
        self._short += self._is_short(waiting)
        return None

    def cancel(self, request: int) -> int:
        """Drop the inputs of a request that no pack has taken; returns their tokens. A running pack is not touched."""
        for lane in LANES:
            waiting = self._lanes[lane].get(request)
            if waiting is not None:
                self._tokens[lane] -= waiting.tokens
                self._remove(request, waiting)
                return waiting.tokens
        return 0

    def next_pack(self, now: float) -> Pack | None:
        """Take the next pack, or None where nothing waits."""
        if not self._lanes["interactive"]:
            return self._batch_pack(self.budget_tokens, now)
        if self._lanes["batch"] and now - self._batch_served_at >= self.limits.batch_patience_s:
            return self._batch_pack(max(1, min(self.budget_tokens, int(self._batch_credit))), now)
        pieces = self._take("interactive", min(self.budget_tokens, self.limits.interactive_tokens))
        taken = sum(piece.tokens for piece in pieces)
        if self._lanes["batch"]:
            self._batch_credit += self.limits.batch_share * taken
            pieces += self._take("batch", self.limits.fill_tokens - taken, exceed=False)
        return Pack(tuple(pieces), "interactive")

    def _batch_pack(self, budget: int, now: float) -> Pack | None:
        self._batch_served_at = now
        self._batch_credit = 0.0
        pieces = self._take("batch", budget)
        return Pack(tuple(pieces), "batch") if pieces else None

    def may_interrupt(self, running: Pack, spent_tokens: int) -> bool:
        """Whether a running pack should make way for short interactive work at its next chance.

        ``spent_tokens`` is what already ran in between: never more than the pack's own size, so that the pack keeps at
        least half of the device.
        """
        if spent_tokens >= running.tokens or not self._lanes["interactive"]:
            return False
        return running.lane == "batch" or (self._short > 0 and running.tokens >= self.limits.long_tokens)

    def next_interruption(self, running: Pack) -> Pack | None:
        """Take the pack to run in between: interactive work only, in an interactive pack only of short requests."""
        only_short = running.lane == "interactive"
        pieces = self._take("interactive", self.limits.interactive_tokens, only_short=only_short)
        return Pack(tuple(pieces), "interactive") if pieces else None

    def finished(self, tokens: int, seconds: float) -> None:
        """Learn the device's rate from a pack that took ``seconds`` on its own; a tiny pack says nothing about it."""
        if seconds > 0 and tokens >= RATE_TOKENS_MIN:
            self.tokens_per_s += 0.1 * (tokens / seconds - self.tokens_per_s)

    def shrink(self) -> None:
        """Halve the budget: the device ran out of memory."""
        self.budget_tokens = max(1, self.budget_tokens // 2)

    def grow(self, tokens: int) -> None:
        """Take an eighth of a lost budget back, after a pack that used the whole budget went well."""
        lost = self.limits.pack_tokens - self.budget_tokens
        if lost > 0 and 2 * tokens > self.budget_tokens:
            self.budget_tokens += -(-lost // 8)

    def _take(self, lane: Lane, budget: int, *, only_short: bool = False, exceed: bool = True) -> list[Piece]:
        """Round robin over the lane's requests until the budget is used up.

        An input that does not fit into what is left is passed over for smaller ones, and its request is first in the
        next pack. With ``exceed`` a lane never leaves empty-handed, however long its first input.
        """
        queue = self._lanes[lane]
        taken: list[Piece] = []
        passed: list[tuple[int, _Waiting]] = []
        room = budget
        while room > 0 and queue and len(passed) < PASSED_MAX:
            request, waiting = queue.popitem(last=False)
            fits = waiting.pieces[0].tokens <= room or (exceed and not taken)
            if not fits or (only_short and not self._is_short(waiting)):
                passed.append((request, waiting))
                continue
            queue[request] = waiting
            taken.append(self._pop(request, waiting))
            room -= taken[-1].tokens
        for request, waiting in reversed(passed):
            queue[request] = waiting
            queue.move_to_end(request, last=False)
        return taken

    def _bound(self, lane: Lane) -> int:
        return self.limits.queue_tokens if lane == "interactive" else self.limits.batch_queue_tokens

    def _pop(self, request: int, waiting: _Waiting) -> Piece:
        piece = waiting.pieces.popleft()
        waiting.tokens -= piece.tokens
        self._tokens[waiting.lane] -= piece.tokens
        if not waiting.pieces:
            self._remove(request, waiting)
        return piece

    def _remove(self, request: int, waiting: _Waiting) -> None:
        del self._lanes[waiting.lane][request]
        self._shares[waiting.lane] -= waiting.share
        self._short -= self._is_short(waiting)

    def _is_short(self, waiting: _Waiting) -> bool:
        return waiting.lane == "interactive" and waiting.tokens_at_first <= self.limits.short_tokens
