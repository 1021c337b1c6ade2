"""What we do not write, each with the way out. The lists of exceptions may only get shorter."""

import ast
from collections.abc import Iterator
from functools import cache
from typing import TypeGuard

from tests.house.source import ROOT, dotted, nodes, product

# Call or name -> what to use instead.
BANNED = {
    "asyncio.create_task": "a TaskGroup, whose owner awaits it",
    "asyncio.ensure_future": "a TaskGroup, whose owner awaits it",
    "uuid.uuid4": "store.ids.new_id, which sorts by time",
    "uuid.uuid1": "store.ids.new_id, which sorts by time",
    "os.environ": "gigarouter.settings, the only reader of the environment",
    "os.getenv": "gigarouter.settings, the only reader of the environment",
    "urllib.request": "providers.wire",
    "json.loads": "msgspec, with a type",
    "random.random": "a random.Random that comes in by argument",
    "eval": "nothing",
    "exec": "nothing",
    "breakpoint": "nothing",
    "print": "structlog in a process, typer.echo in a command",
    "datetime.utcnow": "store.clock.Clock, which tells Postgres' time",
    "datetime.now": "store.clock.Clock, which tells Postgres' time",
    "datetime.today": "store.clock.Clock, which tells Postgres' time",
    "date.today": "store.clock.Clock, which tells Postgres' time",
    "time.time": "store.clock.Clock, which tells Postgres' time",
}
EXCEPTIONS = {
    "gigarouter/settings.py": {"os.environ"},
    # The one reader of the wall clock.
    "store/clock.py": {"time.time"},
    # At an operator's terminal; the server checks the instant that comes out.
    "gigarouter/commands/admin/instants.py": {"datetime.now"},
    # Against a date that an upstream's Retry-After has in its own time: no money depends on it.
    "providers/openai/kind.py": {"time.time"},
    "providers/worker_client/kind.py": {"time.time"},
    "providers/litellm/kind.py": {"time.time"},
    "router/verification/check_report.py": {"time.time"},
    # Google compares it with its own.
    "providers/litellm/google_tokens.py": {"time.time"},
    # Reads a file that it wrote itself.
    "gigarouter/data_folder.py": {"json.loads"},
    # A load that many calls wait for belongs to none of their groups; each of them awaits it.
    "billing/projection.py": {"asyncio.ensure_future"},
    # Connections race; the function that starts them awaits the losers too.
    "providers/wire/connect.py": {"asyncio.create_task"},
}
# The borders where everything is caught and logged: the HTTP edges, the job loop, the worker's model thread.
CATCH_ALL = {
    "router/api/server/guard.py",
    "web/app.py",
    "gigarouter/jobs.py",
    "providers/worker/server/operations.py",
    "providers/worker/engine/engine.py",
    "providers/worker/engine/model_thread.py",
}
# Packages that take seconds to import or are not everywhere: file -> what it may import inside a function.
IMPORTED_LATE = {
    "gigarouter/documents_job.py": {"billing"},
    "providers/litellm/kind.py": {"litellm", "httpx", "openai"},
    "providers/worker/model/varlen.py": {"torch"},
    "billing/exports/parquet.py": {"pyarrow"},
    "billing/stripe/client.py": {"stripe"},
}
MONEY_FILES = ("billing/money.py", "billing/chart.py", "billing/ledger.py", "billing/prices.py", "billing/credits.py")


@cache
def uses(file: str) -> tuple[tuple[int, str], ...]:
    """Every dotted name that is read or called, and every imported one, with its line."""
    return tuple(_uses(file))


def _uses(file: str) -> Iterator[tuple[int, str]]:
    for node in nodes(file):
        if isinstance(node, ast.Attribute | ast.Name) and (name := dotted(node)):
            yield node.lineno, name
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)


def test_banned_calls_are_not_written() -> None:
    found = [
        f"{file}:{line} {name}: use {BANNED[name]}"
        for file in product()
        for line, name in uses(file)
        if name in BANNED and name not in EXCEPTIONS.get(file, set())
    ]
    assert not found


def test_every_exception_is_still_needed() -> None:
    for file, names in EXCEPTIONS.items():
        assert names <= {name for _, name in uses(file)}, f"{file} no longer needs all of {names}"


def test_nothing_is_called_router() -> None:
    """It would hide our package."""
    found = []
    for file in product():
        for node in nodes(file):
            named = getattr(node, "id", None) if isinstance(getattr(node, "ctx", None), ast.Store) else None
            if "router" in (named, getattr(node, "arg", None), getattr(node, "asname", None)):
                found.append(f"{file}:{getattr(node, 'lineno', '')}")
    assert not found


def test_nothing_is_swallowed() -> None:
    """`except Exception` and wider stand at the borders, or raise again, as a tidy-up does."""
    found = []
    for file in product():
        for node in nodes(file):
            if isinstance(node, ast.ExceptHandler) and file not in CATCH_ALL and is_wide(node.type):
                last = node.body[-1]
                if not (isinstance(last, ast.Raise) and last.exc is None):
                    found.append(f"{file}:{node.lineno}")
    assert not found


def is_wide(caught: ast.expr | None) -> bool:
    if isinstance(caught, ast.Tuple):
        return any(is_wide(one) for one in caught.elts)
    return caught is None or dotted(caught) in {"Exception", "BaseException"}


def test_imports_stand_at_the_top() -> None:
    found = []
    for file in product():
        for function in nodes(file):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
                    if not {name.split(".")[0] for name in names} <= IMPORTED_LATE.get(file, set()):
                        found.append(f"{file}:{node.lineno} {names}")
    assert not found


def test_no_float_touches_money() -> None:
    found: list[str] = []
    for file in MONEY_FILES:
        found += [f"{file}:{node.lineno}" for node in nodes(file) if is_floating(node)]
    assert not found


def is_floating(node: ast.AST) -> TypeGuard[ast.expr]:
    match node:
        case ast.Constant(value=float()) | ast.BinOp(op=ast.Div()):
            return True
        case ast.Call(func=function):
            return dotted(function) == "float"
        case _:
            return False


def test_no_room_without_a_name() -> None:
    nameless = {"utils", "util", "helpers", "common", "manager", "service", "misc", "core"}
    assert not [file for file in product() if nameless & set(file.removesuffix(".py").split("/"))]


# A word of identifiers that the code no longer uses -> what the field calls it (docs/words.md).
REPLACED = {
    "told": "reported, sent, or the noun of what it is",
    "telling": "operation spec, report",
    "asked": "requested, wanted, or the request's noun",
    "asking": "prober, parsing",
    "asker": "prober",
    "answering": "response, responsive",
    "heard": "fresh",
    "deaf": "stale",
    "wishes": "call headers, preferences",
    "errand": "call dispatch",
    "pacer": "provider quota",
    "outbound": "dispatch state",
    "keyring": "key commands",
    "linger": "lingering close",
    "hot": "redis",
    "administer": "admin",
    "resealing": "key rotation",
    "certify": "verify",
    "rounds": "schedule",
    "alone": "sent once, single",
}
REPLACED_EXCEPTIONS = {"router/api/server/lingering_close.py": {"LINGER_S", "LINGER_BYTES"}}


def named(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every name that a module gives to something, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id


def test_replaced_words_name_nothing() -> None:
    found = []
    for file, tree in product().items():
        allowed = REPLACED_EXCEPTIONS.get(file, set())
        names = [*named(tree), (1, file.rpartition("/")[2].removesuffix(".py"))]
        words = ((line, name, word) for line, name in names for word in name.lower().split("_") if name not in allowed)
        found += [f"{file}:{line} {name}: use {REPLACED[word]}" for line, name, word in words if word in REPLACED]
    assert not found


def test_every_replaced_word_has_its_line() -> None:
    listed = (ROOT / "docs/words.md").read_text()
    assert not [word for word in REPLACED if f"`{word}`" not in listed]
