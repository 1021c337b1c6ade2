"""Files are rooms, functions fit on a screen: beauty and ugliness live in the tail."""

import ast
from statistics import median

from tests.house.source import ROOT, everything, nodes, product

FILE_LINES_MAX = 400
FILE_LINES_MEDIAN_MAX = 130
FUNCTION_LINES_MAX = 60


def lines_of(file: str) -> int:
    return len((ROOT / file).read_text().splitlines())


def test_no_file_is_longer_than_400_lines() -> None:
    assert not {file: lines for file in everything() if (lines := lines_of(file)) > FILE_LINES_MAX}


def test_the_usual_file_is_short() -> None:
    assert median(lines for file in product() if (lines := lines_of(file)) > 3) <= FILE_LINES_MEDIAN_MAX


def test_no_function_is_longer_than_60_lines() -> None:
    long = {}
    for file in everything():
        for node in nodes(file):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    long[f"{file}:{node.lineno} {node.name}"] = lines
    assert not long
