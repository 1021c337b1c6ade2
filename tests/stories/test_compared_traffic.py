"""A share of real answers is compared with a second endpoint's, where the call may go there, within a budget."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.embedded import Embedded
from tests.harness.compared_traffic import (
    TEXT,
    Second,
    a_comparing_product,
    call,
    counted,
    until,
    until_both_are_due,
)
from tests.harness.fake_upstream import Upstream, unit_vector


@pytest.fixture
def first() -> Iterator[Upstream]:
    with Upstream(8).in_thread() as running:
        yield running


@pytest.fixture
def second() -> Iterator[Second]:
    with Second().in_thread() as running:
        yield running


def test_a_difference_alarms_and_has_both_verified_and_nobody_gets_the_second_answer(
    servers: Embedded, database_url: str, tmp_path: Path, first: Upstream, second: Second
) -> None:
    product, key = a_comparing_product(servers, database_url, tmp_path, first, second, compare_share="1")
    with product:
        product.wait_until_known(key)
        assert call(product, key) == pytest.approx(unit_vector(TEXT, 8))
        until(product, "answers_compared", 1)
        assert counted(product, "answers_disagreeing") == 0
        second.shift = True
        assert call(product, key) == pytest.approx(unit_vector(TEXT, 8))
        until(product, "answers_disagreeing", 1)
        until_both_are_due(product)
        said = product.serves[0].said_since_start()
        assert "answers_disagree" in said
        assert TEXT not in said
        # Charged once each, for the answer that was given.
        assert product.database.value("SELECT count(*) FROM usage_events") == 2
        # Where the call may not go there, nobody there sees its text.
        seen = len(second.calls)
        call(product, key, provider={"only": ["first"]})
        time.sleep(0.5)
        assert len(second.calls) == seen


@pytest.mark.parametrize("settings", [{}, {"compare_share": "1", "compare_tokens_per_hour": "1"}])
def test_by_default_and_beyond_the_budget_nothing_is_compared(
    servers: Embedded,
    database_url: str,
    tmp_path: Path,
    first: Upstream,
    second: Second,
    settings: dict[str, str],
) -> None:
    product, key = a_comparing_product(servers, database_url, tmp_path, first, second, **settings)
    with product:
        product.wait_until_known(key)
        for _ in range(3):
            call(product, key)
        time.sleep(0.5)
        assert not second.calls
