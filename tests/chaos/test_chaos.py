"""The short form of the chaos harness: cells of the table that a seed draws, and one storm of every fault at once."""

import random

import pytest

from tests.chaos.__main__ import table
from tests.chaos.run import run
from tests.chaos.table import Attack, Cell, Duration, cells

# One cell of each attack that takes a few seconds; `make chaos` does all others.
QUICK = (Attack.LOAD, Attack.CLOCK, Attack.BODIES, Attack.IMPOSTOR)
SEED = 11


def drawn(seed: int) -> list[Cell]:
    dice = random.Random(seed)
    of = [[cell for cell in cells() if cell.attack is attack and cell.duration is Duration.SHORT] for attack in QUICK]
    return [dice.choice(each) for each in of]


@pytest.mark.parametrize("seed", [SEED])
def test_drawn_cells_of_the_table_lose_nothing(seed: int) -> None:
    assert not table(drawn(seed), seed)


@pytest.mark.parametrize("seed", [3])
def test_faults_under_load_lose_nothing_and_charge_nothing_twice(seed: int) -> None:
    report = run(seed, seconds=24, say=print)
    assert not report.breaches, "\n".join(report.lines())
