"""What says that it is pure does no I/O and knows no clock and no chance, whatever it imports on the way."""

import ast
from functools import cache

import grimp

from tests.house.source import PACKAGES, product

IMPURE = ("asyncio", "socket", "sqlalchemy", "asyncpg", "redis", "hiredis", "time", "random")


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
    found = []
    for module in pure:
        for impure in IMPURE:
            if impure in imports().modules and (chain := imports().find_shortest_chain(module, impure)):
                found.append(" -> ".join(chain))
    assert not found, "\n".join(found)


def test_a_module_that_says_no_io_in_other_words_says_pure() -> None:
    """One word for it, so that the rule above finds it."""
    other = ("No I/O", "no I/O", "No SQL and no", "Arithmetic only", "Rules only")
    found = [
        file
        for file, tree in product().items()
        if any(words in (ast.get_docstring(tree) or "").split("\n\n")[0] for words in other) and not says_pure(tree)
    ]
    assert not found
