"""What only a page can do is a mistake: every POST of the table of routes runs a declared operation that writes."""

import ast
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from router.api.app import all_operations
from router.api.operation import operation_routes
from web.ops.write import Write
from web.route import PageFunction
from web.routes import ROUTES

WRITES = {
    str(route.operation_id)
    for route in operation_routes(route for noun in all_operations() for route in noun.routes)
    if route.spec.method != "GET"
}
SIGN_IN = "/sign-in"
# Why there is no operation. This list may only shrink.
WITHOUT = {
    "/theme": "a cookie of this browser",
    "/shortcuts": "a cookie of this browser",
    "/sign-out": "the way out of what signing in began; /v1/me/sessions ends any session",
    "/me/passkeys": "a passkey is made by a browser, for the pages' own address",
    "/me/passkeys/options": "a passkey is made by a browser, for the pages' own address",
    "/me/try": "it leads to the next, of the account whose key was chosen",
    "/accounts/{account}/try": "it is a call: POST /v1/embeddings, over HTTP",
}
# What writes in modules of pages without an operation: the ways of signing in, and what is listed above.
WRITERS = {"web/me/changes.py", "web/sign_in/out.py"}


def operations_of(function: PageFunction) -> set[str]:
    """The operations that write among the names that a page's function, and what it calls in its module, has."""
    owner = getattr(function, "__self__", None)
    if isinstance(owner, Write):
        return {owner.operation} & WRITES
    module = inspect.getmodule(function)
    assert module is not None, function
    functions, names = _functions(inspect.getsource(module)), {function.__name__}
    while found := {name for one in names & set(functions) for name in functions[one]} - names:
        names |= found
    return names & WRITES


@cache
def _functions(source: str) -> dict[str, frozenset[str]]:
    """The names and texts in each function of a module."""
    tree = ast.parse(source)
    found = [one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {one.name: frozenset(_words(one)) for one in found}


def _words(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_every_post_of_a_page_runs_an_operation_that_writes() -> None:
    acted = [row for row in ROUTES if row.act is not None and not row.path.startswith(SIGN_IN)]
    without = {row.path for row in acted if row.act is not None and not operations_of(row.act)}
    assert without == set(WITHOUT), "declare an operation of /v1 or /admin/v1 first, and run that"


def test_pages_write_by_operations_alone() -> None:
    web = Path(inspect.getfile(Write)).parent.parent
    found = {
        str(path.relative_to(web.parent)) for path in web.rglob("*.py") if re.search(r"\btransact\b", path.read_text())
    }
    assert found == WRITERS
