"""Postgres' time, in a process whose own clock shows anything."""

from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from store.clock import Clock

AT = datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC)
OFFSETS = [timedelta(hours=h) for h in (-2, -1, 1, 2)] + [timedelta(days=d) for d in (-40, 40, 100)]


class Machine:
    """A machine's clocks, set by hand."""

    def __init__(self, wall: datetime) -> None:
        self.wall = wall
        self.elapsed = 1_000.0

    def clock(self) -> Clock:
        return Clock(lambda: datetime.timestamp(self.wall), lambda: self.elapsed)


@pytest.mark.parametrize("offset", OFFSETS)
def test_a_wall_clock_may_be_off_and_jump_and_the_time_is_postgres(offset: timedelta) -> None:
    machine = Machine(AT + offset)
    clock = machine.clock()
    with capture_logs() as logs:
        clock.observe(AT, 1_000.0, 1_000.002)
    assert [entry["event"] for entry in logs] == ["clock_off"]
    assert clock.offset_s == pytest.approx(offset.total_seconds(), abs=0.01)
    machine.elapsed += 2
    assert abs(clock.now() - (AT + timedelta(seconds=2))) < timedelta(milliseconds=2)
    machine.wall = AT - 3 * offset
    assert abs(clock.now() - (AT + timedelta(seconds=2))) < timedelta(milliseconds=2)


def test_a_slow_answer_spoils_nothing_that_a_fast_one_has_said() -> None:
    machine = Machine(AT)
    clock = machine.clock()
    clock.observe(AT, 1_000.0, 1_000.002)
    machine.elapsed = 1_060.0
    # The process was frozen for a minute, with Postgres' answer on its way.
    clock.observe(AT + timedelta(seconds=1), 1_001.0, 1_060.0)
    assert abs(clock.now() - (AT + timedelta(seconds=60))) < timedelta(milliseconds=2)
    # Postgres' own clock is set forward: the next heartbeat knows.
    clock.observe(AT + timedelta(seconds=3_660), 1_060.0, 1_060.002)
    assert abs(clock.now() - (AT + timedelta(seconds=3_660))) < timedelta(milliseconds=4)
    with capture_logs() as logs:
        clock.observe(AT + timedelta(seconds=60), 1_060.0, 1_060.002)
        machine.wall = AT + timedelta(seconds=60)
        clock.observe(AT + timedelta(seconds=60), 1_060.0, 1_060.002)
    assert [entry["event"] for entry in logs] == ["clock_right_again"]
