"""What says that it is pure does no I/O and knows no clock and no chance, whatever it imports on the way."""

import ast
import tomllib
from functools import cache

import grimp

from tests.house.source import PACKAGES, ROOT, product

CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
[RULES] = [contract for contract in CONTRACTS if contract["id"] == "rules"]
IMPURE: tuple[str, ...] = tuple(RULES["forbidden_modules"])


@cache
def imports() -> grimp.ImportGraph:
    """Who imports whom, packages from outside included."""
    return grimp.build_graph(*PACKAGES, include_external_packages=True)


def says_pure(tree: ast.Module) -> bool:
    """Whether the first paragraph of a module's docstring has the word."""
    first = (ast.get_docstring(tree) or "").split("\n\n")[0]
    return "Pure" in first.replace(":", " ").replace(".", " ").split()


def module_of(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def test_a_pure_module_reaches_no_io() -> None:
    pure = [module_of(file) for file, tree in product().items() if says_pure(tree)]
    assert len(pure) > 40
    reached = [impure for impure in IMPURE if impure in imports().modules]
    chains = (imports().find_shortest_chain(module, impure) for module in pure for impure in reached)
    assert not [" -> ".join(chain) for chain in chains if chain]


def test_a_module_that_says_no_io_in_other_words_says_pure() -> None:
    """One word for it, so that the rule above finds it."""
    other = ("No I/O", "no I/O", "No SQL and no", "Arithmetic only", "Rules only")
    found = [
        file
        for file, tree in product().items()
        if any(words in (ast.get_docstring(tree) or "").split("\n\n")[0] for words in other) and not says_pure(tree)
    ]
    assert not found


def test_a_package_under_the_contract_says_in_each_module_that_it_is_pure() -> None:
    packages = tuple(f"{package}." for package in RULES["source_modules"])
    modules = [(module_of(file), tree) for file, tree in product().items() if not file.endswith("__init__.py")]
    assert not [module for module, tree in modules if module.startswith(packages) and not says_pure(tree)]
