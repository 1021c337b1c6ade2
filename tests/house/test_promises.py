"""docs/promises.md names tests that exist, and every cell of the table that `make chaos` does."""

import re
from collections.abc import Iterator

from tests.chaos.table import cells, reasons
from tests.house.source import ROOT

PAGE = (ROOT / "docs" / "promises.md").read_text()
ROW = re.compile(r"^\| (?!promise|fault)(.+) \|$", re.MULTILINE)


def rows() -> Iterator[list[str]]:
    for line in ROW.findall(PAGE):
        yield line.split(" | ")


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[a-z_0-9/]+\.py)(?:::(\w+))?`", PAGE)
    assert len(named) > 100
    missing = [
        f"{file}::{name}" for file, name in named if not (ROOT / file).is_file() or (name and not defines(file, name))
    ]
    assert not missing


def defines(file: str, name: str) -> bool:
    return re.search(rf"^(?:async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE) is not None


def test_every_promise_has_a_fault_and_a_test() -> None:
    for row in rows():
        assert len(row) == 3, row
        assert all(row), row
        assert re.search(r"`tests/|`make chaos`|@", row[2] + row[1]), row


def test_every_cell_of_chaos_is_named_and_no_other() -> None:
    named = re.findall(r"`([a-z-]+@[a-z]+)`", PAGE)
    assert set(named) == {cell.name.partition("/")[0] for cell in cells()}


def test_every_field_of_the_table_is_a_cell_or_has_a_reason() -> None:
    assert all(len(reason) > 15 for _, reason in reasons())
    assert not {field for field, _ in reasons()} & {cell.name.partition("/")[0] for cell in cells()}
