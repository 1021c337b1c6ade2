"""A test imports builders and harness, never another test: what two tests need has a place and a name of its own."""

import ast
import re
from pathlib import Path

from tests.harness.longest import LONGEST
from tests.house.source import NOT_OURS, ROOT

# In programs that a test runs as text, too.
ANOTHER_TEST = re.compile(
    r"\bfrom tests\.\S*\b(?:conftest|test_\w+)\b|\bfrom tests\S* import .*\b(?:conftest|test_\w+)\b"
)


def test_no_test_imports_another_test_or_a_conftest() -> None:
    found = [
        f"{file.relative_to(ROOT)}:{number}"
        for folder in ("tests", "bench")
        for file in sorted((ROOT / folder).rglob("*.py"))
        if not file.is_relative_to(NOT_OURS)
        for number, line in enumerate(file.read_text().splitlines(), start=1)
        if ANOTHER_TEST.search(line) and file.name != "test_test_imports.py"
    ]
    assert not found, f"move what is shared to tests/builders or tests/harness: {found}"


def test_builders_and_harness_import_no_tests() -> None:
    """They stand below: what they import of ours is each other and the product."""
    found = [
        f"{file.relative_to(ROOT)}: {name}"
        for folder in ("builders", "harness")
        for file in sorted((ROOT / "tests" / folder).rglob("*.py"))
        for name in re.findall(r"^(?:from|import) tests\.(\w+)", file.read_text(), re.MULTILINE)
        if name not in {"builders", "harness"}
    ]
    assert not found


def test_the_modules_that_a_run_begins_with_exist() -> None:
    assert [module for module in LONGEST if not (ROOT / module).is_file()] == []


def test_each_thing_has_one_builder_at_each_level() -> None:
    """No test has a function of the same name as a builder: it would build the same thing another way."""
    builders = {name for file in (ROOT / "tests" / "builders").glob("*.py") for name in functions(file)}
    found = [
        f"{file.relative_to(ROOT)}: {name}"
        for file in sorted((ROOT / "tests").rglob("*.py"))
        if not file.is_relative_to(ROOT / "tests" / "builders")
        for name in functions(file) & builders
        if name.startswith(("a_", "an_"))
    ]
    assert not found


def functions(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(), str(file))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
