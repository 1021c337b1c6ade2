"""Says in one sentence what a bench lacks: programs with their packages, modules with what installs them."""

import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import NoReturn

# Program -> Debian's package.
PACKAGES = {"wrk": "wrk", "nginx": "nginx-light", "taskset": "util-linux"}


def require_programs(names: Iterable[str]) -> None:
    """End with a sentence that names every program that is not on PATH."""
    if missing := [name for name in names if shutil.which(name) is None]:
        packages = " ".join(dict.fromkeys(PACKAGES[name] for name in missing))
        end(f"{_listed(missing)} missing: apt-get install {packages}")


def require_modules(names: Iterable[str]) -> None:
    """End with a sentence where a module that child processes import is not installed."""
    for name in names:
        if find_spec(name) is None:
            end(_sentence(name))


@contextmanager
def modules_required() -> Iterator[None]:
    """End with a sentence where an import in the block is not installed. One of ours that is not there is a bug."""
    try:
        yield
    except ModuleNotFoundError as missing:
        name = (missing.name or "").partition(".")[0]
        if name in {"bench", "tests", "gigarouter", "providers", "router", "billing", "catalog", "mail", "store"}:
            raise
        end(_sentence(name))


def _sentence(module: str) -> str:
    return f"{module} is missing: `make test` installs what benches import, as does `pip install {module}`"


def _listed(names: list[str]) -> str:
    return f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'}"


def end(sentence: str) -> NoReturn:
    """End the bench with a sentence about what it lacks."""
    sys.stderr.write(sentence + "\n")
    raise SystemExit(2)
