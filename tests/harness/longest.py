"""The modules that take longest, which a run begins with: else one of them is left over at the end, with a core idle.

A module stays on one process, and the order of the others is random. Seconds are those of one process beside three.
"""

from collections.abc import Iterable

import pytest

LONGEST = (
    "tests/stories/test_up_under_fire.py",  # 96
    "tests/chaos/test_chaos.py",  # 87
    "tests/stories/test_impostors.py",  # 75
    "tests/stories/finance/test_topups.py",  # 70
    "tests/stories/test_signals.py",  # 66
    "tests/parts/billing/test_leases.py",  # 60
    "tests/stories/test_up_killed.py",  # 55
    "tests/parts/bench/test_gpu_run.py",  # 52
    "tests/parts/providers/worker/test_ray.py",  # 49
    "tests/parts/billing/test_lost_keys.py",  # 48
    "tests/stories/ops/test_admin_api.py",
    "tests/stories/test_up.py",  # 44
    "tests/stories/pages/test_three_stories.py",
    "tests/stories/pages/test_stories_while_calls_run.py",
    "tests/stories/ops/test_books.py",
    "tests/stories/ops/test_causes.py",
    "tests/parts/router/api/test_lists.py",
    "tests/stories/test_silent_process.py",
    "tests/parts/bench/test_bench.py",
    "tests/stories/finance/test_year.py",  # 28
)


def longest_first(items: Iterable[pytest.Item]) -> list[pytest.Item]:
    """The items, those of the longest modules in front."""
    ranks = {module: rank for rank, module in enumerate(LONGEST)}
    return sorted(items, key=lambda item: ranks.get(item.location[0], len(LONGEST)))
