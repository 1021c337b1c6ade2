"""However long anything is silent while Redis forgets everything: nothing is overspent, and all is whole afterwards."""

from random import Random

import pytest

from tests.harness.simulation.silences import Silence, simulate

SEEDS = range(4)


@pytest.mark.parametrize("silence", list(Silence))
def test_no_silence_from_0_to_60_s_overspends(silence: Silence) -> None:
    for seed in SEEDS:
        duration_s = Random(f"{silence}{seed}").uniform(15 * seed, 15 * (seed + 1))
        report = simulate(silence, duration_s, seed)
        run = f"{silence} for {duration_s:.1f} s, seed {seed}: {report}"
        assert not report.breaches, run
        assert report.overdraft == 0, run
        assert report.answered > 20, run


def test_without_leases_the_simulator_finds_the_overspend() -> None:
    reports = [simulate(Silence.SERVE_FROZEN, 20, seed, has_leases=False) for seed in range(6)]
    assert any(report.overdraft for report in reports)
