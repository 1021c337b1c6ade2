"""A short run of the chaos harness: every fault once, under load, and every promise kept."""

import pytest

from tests.chaos.run import run


@pytest.mark.parametrize("seed", [3])
def test_faults_under_load_lose_nothing_and_charge_nothing_twice(seed: int) -> None:
    report = run(seed, seconds=36, say=print)
    assert not report.breaches, "\n".join(report.lines())
