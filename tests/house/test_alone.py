"""The worker runs without the broker's packages, the broker without the worker's, and without litellm until used."""

import subprocess
import sys

from tests.house.source import ROOT

BLOCKED = """
import importlib, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name)

sys.meta_path.insert(0, Blocked())
for module in {modules!r}:
    importlib.import_module(module)
"""
BROKER_ONLY = {"stripe", "sqlalchemy", "alembic", "redis", "asyncpg", "fastapi", "litellm", "structlog"}
WORKER_ONLY = {"torch", "transformers", "safetensors"}


def imports(modules: list[str], *, without: set[str]) -> subprocess.CompletedProcess[str]:
    program = BLOCKED.format(blocked=without, modules=modules)
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_worker_runs_without_the_broker_by_itself_and_as_a_command() -> None:
    modules = ["providers.worker.process", "gigarouter.commands", "gigarouter.commands.worker"]
    done = imports(modules, without=BROKER_ONLY)
    assert done.returncode == 0, done.stderr


def test_the_broker_runs_without_the_worker() -> None:
    processes = ["gigarouter.serve", "gigarouter.jobs", "gigarouter.up"]
    commands = [
        f"gigarouter.commands.{name}" for name in ("serve", "jobs", "up", "migrate", "admin", "doctor", "config")
    ]
    done = imports([*processes, *commands], without=WORKER_ONLY | {"litellm"})
    assert done.returncode == 0, done.stderr


def test_help_imports_no_command() -> None:
    program = "import sys, gigarouter.commands as c\ntry: c.main(['--help'])\nexcept SystemExit: pass\n"
    program += "print(sorted(m for m in sys.modules if m.startswith('gigarouter.commands.') or m == 'sqlalchemy'))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
