"""The source files, parsed once. House tests read syntax trees, so they take a second and need no server."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Other gateways, installed there to be measured against.
NOT_OURS = ROOT / "bench" / "out"
PACKAGES = ("web", "router", "billing", "providers", "catalog", "mail", "store", "gigarouter")


@cache
def product() -> dict[str, ast.Module]:
    """Every module of the product: path from the root, with slashes -> tree."""
    return _parsed([*PACKAGES, "migrations"])


@cache
def everything() -> dict[str, ast.Module]:
    """The product, its tests, its benchmarks and its tools."""
    return product() | _parsed(["tests", "bench", "environment"])


@cache
def nodes(file: str) -> tuple[ast.AST, ...]:
    """Every node of one of our files: a walk costs as much as parsing, and many rules look at each."""
    return tuple(ast.walk(everything()[file]))


def _parsed(folders: list[str]) -> dict[str, ast.Module]:
    found = (file for folder in folders for file in sorted((ROOT / folder).rglob("*.py")))
    files = [file for file in found if not file.is_relative_to(NOT_OURS)]
    return {file.relative_to(ROOT).as_posix(): ast.parse(file.read_text(), str(file)) for file in files}


def dotted(node: ast.expr) -> str:
    """``a.b.c`` for a chain of names; empty for anything else."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            return f"{left}.{attr}" if (left := dotted(value)) else ""
        case _:
            return ""
