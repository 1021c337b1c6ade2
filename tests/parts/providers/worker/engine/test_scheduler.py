"""The scheduler's promises, for any arrivals: nothing lost or twice, the budget kept, nobody starves."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.worker.engine.scheduler import Limits, Pack, Piece, Scheduler
from providers.worker.frames import Lane

LIMITS = Limits(pack_tokens=512, interactive_tokens=256, fill_tokens=64, queue_tokens=4000, batch_queue_tokens=8000)
lengths = st.lists(st.integers(1, 1500), min_size=1, max_size=12)
lanes = st.sampled_from(["interactive", "batch"])
arrivals = st.lists(st.tuples(lanes, lengths), min_size=1, max_size=25)


def drain(scheduler: Scheduler, *, step_s: float = 0.1) -> list[Pack]:
    packs, now = [], 0.0
    while (pack := scheduler.next_pack(now)) is not None:
        packs.append(pack)
        now += step_s
        assert len(packs) < 10_000
    return packs


def offered(scheduler: Scheduler, requests: list[tuple[Lane, list[int]]]) -> set[Piece]:
    pieces = set()
    for number, (lane, sizes) in enumerate(requests):
        if scheduler.offer(number, lane, sizes, 0.0) is None:
            pieces |= {Piece(number, index, size) for index, size in enumerate(sizes)}
    return pieces


@given(arrivals)
def test_every_accepted_input_runs_exactly_once_and_in_order(requests: list[tuple[Lane, list[int]]]) -> None:
    scheduler = Scheduler(LIMITS)
    expected = offered(scheduler, requests)
    ran = [piece for pack in drain(scheduler) for piece in pack.pieces]
    assert len(ran) == len(set(ran))
    assert set(ran) == expected
    for number in range(len(requests)):
        places = [piece.index for piece in ran if piece.request == number]
        assert places == sorted(places)
    assert scheduler.queued_tokens("interactive") == scheduler.queued_tokens("batch") == 0
    assert scheduler.queued_requests("interactive") == scheduler.queued_requests("batch") == 0


@given(arrivals)
def test_a_pack_keeps_its_budget_unless_one_input_alone_exceeds_it(requests: list[tuple[Lane, list[int]]]) -> None:
    scheduler = Scheduler(LIMITS)
    offered(scheduler, requests)
    for pack in drain(scheduler):
        budget = LIMITS.interactive_tokens if pack.lane == "interactive" else LIMITS.pack_tokens
        assert pack.tokens <= budget or len(pack.pieces) == 1


@given(arrivals)
def test_the_queue_is_bounded_and_one_request_cannot_fill_it(requests: list[tuple[Lane, list[int]]]) -> None:
    scheduler = Scheduler(LIMITS)
    accepted: dict[str, list[int]] = {"interactive": [], "batch": []}
    bounds = {"interactive": LIMITS.queue_tokens, "batch": LIMITS.batch_queue_tokens}
    for number, (lane, sizes) in enumerate(requests):
        refusal = scheduler.offer(number, lane, sizes, 0.0)
        shares = sum(min(size, bounds[lane] // 2) for size in accepted[lane])
        fits = shares + min(sum(sizes), bounds[lane] // 2) <= bounds[lane]
        assert (refusal is None) == fits
        assert refusal is None or refusal.retry_after_s > 0
        if refusal is None:
            accepted[lane].append(sum(sizes))


def test_after_the_largest_request_there_is_room_for_a_small_one() -> None:
    scheduler = Scheduler(LIMITS)
    assert scheduler.offer(1, "interactive", [1000] * 2048, 0.0) is None
    assert scheduler.offer(2, "interactive", [10], 0.0) is None


@given(st.integers(2, 400), st.integers(1, 200))
def test_a_small_request_is_not_behind_a_large_one(inputs: int, size: int) -> None:
    scheduler = Scheduler(Limits(queue_tokens=1_000_000))
    scheduler.offer(1, "interactive", [size] * inputs, 0.0)
    scheduler.offer(2, "interactive", [20], 0.0)
    first_two = [scheduler.next_pack(0.0), scheduler.next_pack(0.1)]
    assert any(piece.request == 2 for pack in first_two if pack for piece in pack.pieces)


@settings(deadline=None)
@given(lengths, st.integers(1, 1500))
def test_batch_work_never_starves(batch: list[int], interactive: int) -> None:
    """While interactive work never ends, every batch input runs within a bounded time, and keeps its share."""
    scheduler = Scheduler(LIMITS)
    scheduler.offer(0, "batch", batch, 0.0)
    now, number, waited, longest_wait, left = 0.0, 0, 0.0, 0.0, len(batch)
    while left:
        while scheduler.queued_tokens("interactive") < 1000:
            number += 1
            assert scheduler.offer(number, "interactive", [interactive], now) is None
        pack = scheduler.next_pack(now)
        assert pack is not None
        mine = sum(piece.request == 0 for piece in pack.pieces)
        left -= mine
        waited = 0.0 if mine else waited + 0.1
        longest_wait = max(longest_wait, waited)
        now += 0.1
    assert longest_wait <= LIMITS.batch_patience_s + 0.2


@settings(deadline=None)
@given(st.lists(st.integers(1, 1500), min_size=1, max_size=6), st.integers(1, 1500))
def test_an_interactive_request_never_starves_among_others(mine: list[int], others: int) -> None:
    scheduler = Scheduler(LIMITS)
    assert scheduler.offer(0, "interactive", mine, 0.0) is None
    number, packs, left = 0, 0, len(mine)
    while left:
        while scheduler.queued_requests("interactive") < 4:
            number += 1
            if scheduler.offer(number, "interactive", [others], 0.0) is not None:
                break
        pack = scheduler.next_pack(0.0)
        assert pack is not None
        left -= sum(piece.request == 0 for piece in pack.pieces)
        packs += 1
    assert packs <= 6 * len(mine)


def test_interactive_work_goes_before_batch_work() -> None:
    scheduler = Scheduler(LIMITS)
    scheduler.offer(1, "batch", [100] * 20, 0.0)
    scheduler.offer(2, "interactive", [100], 0.0)
    first = scheduler.next_pack(0.1)
    assert first is not None
    assert first.pieces == (Piece(2, 0, 100),)


def test_a_small_interactive_pack_is_filled_with_batch_work_for_devices_that_would_idle() -> None:
    scheduler = Scheduler(LIMITS)
    scheduler.offer(1, "batch", [30] * 5, 0.0)
    scheduler.offer(2, "interactive", [10], 0.0)
    first = scheduler.next_pack(0.1)
    assert first is not None
    assert {piece.request for piece in first.pieces} == {1, 2}
    assert first.tokens <= LIMITS.fill_tokens


@given(arrivals, st.lists(st.integers(0, 24), max_size=12), st.integers(0, 6))
def test_canceled_requests_leave_the_queue(
    requests: list[tuple[Lane, list[int]]], canceled: list[int], packs_before: int
) -> None:
    scheduler = Scheduler(LIMITS)
    expected = offered(scheduler, requests)
    before = [pack for step in range(packs_before) if (pack := scheduler.next_pack(step / 10)) is not None]
    ran = {piece for pack in before for piece in pack.pieces}
    for number in canceled:
        waiting = sum(piece.tokens for piece in expected - ran if piece.request == number)
        assert scheduler.cancel(number) == waiting
        expected = {piece for piece in expected if piece.request != number or piece in ran}
    ran |= {piece for pack in drain(scheduler) for piece in pack.pieces}
    assert ran == expected
    assert scheduler.refuses("interactive", LIMITS.queue_tokens) is None


def test_a_long_pack_makes_way_for_short_interactive_work_and_only_so_often() -> None:
    scheduler = Scheduler(LIMITS)
    scheduler.offer(1, "interactive", [200], 0.0)
    scheduler.offer(2, "interactive", [200], 0.0)
    running = scheduler.next_pack(0.0)
    assert running is not None
    assert not scheduler.may_interrupt(running, 0), "the other one is as long as this one"
    scheduler.offer(3, "interactive", [20], 0.0)
    assert scheduler.may_interrupt(running, 0)
    between = scheduler.next_interruption(running)
    assert between is not None
    assert between.pieces == (Piece(3, 0, 20),)
    scheduler.offer(4, "interactive", [20], 0.0)
    assert not scheduler.may_interrupt(running, running.tokens), "it has made way for as much as it is itself"


def test_a_batch_pack_makes_way_for_all_interactive_work() -> None:
    scheduler = Scheduler(LIMITS)
    scheduler.offer(1, "batch", [500], 0.0)
    running = scheduler.next_pack(0.0)
    assert running is not None
    assert not scheduler.may_interrupt(running, 0)
    scheduler.offer(2, "interactive", [200], 0.0)
    assert scheduler.may_interrupt(running, 0)
    between = scheduler.next_interruption(running)
    assert between is not None
    assert between.pieces == (Piece(2, 0, 200),)


def test_the_budget_shrinks_at_a_lack_of_memory_and_comes_back_slowly() -> None:
    scheduler = Scheduler(LIMITS)
    scheduler.shrink()
    scheduler.shrink()
    assert scheduler.budget_tokens == 128
    scheduler.grow(10)
    assert scheduler.budget_tokens == 128, "a tiny pack proves nothing"
    steps = 0
    while scheduler.budget_tokens < 512:
        scheduler.grow(scheduler.budget_tokens)
        steps += 1
    assert 8 <= steps <= 100


def test_the_wait_is_the_work_ahead_over_the_measured_rate() -> None:
    scheduler = Scheduler(LIMITS, tokens_per_s=100.0)
    scheduler.offer(1, "interactive", [200], 0.0)
    scheduler.offer(2, "batch", [300], 0.0)
    assert (scheduler.wait_s("interactive"), scheduler.wait_s("batch")) == pytest.approx((2.0, 5.0))
    for _ in range(200):
        scheduler.finished(1000, 1.0)
    assert scheduler.tokens_per_s == pytest.approx(1000, rel=0.01)
