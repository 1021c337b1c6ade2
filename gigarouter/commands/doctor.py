"""`gigarouter doctor`: what stands between this installation and its first call, and what to do about each thing."""

import asyncio
import shutil
from collections.abc import Callable, Coroutine
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import typer

from gigarouter import settings
from gigarouter.data_folder import FREE_BYTES_MIN
from gigarouter.schema import require_migrated
from gigarouter.supervise import answers
from store.checks import check_postgres, check_redis
from store.faults import CannotStart

Check = Callable[[settings.Settings], Coroutine[None, None, str]]


def command() -> None:
    """Check each thing and say what to do; exit with 1 when one is wrong. It changes nothing."""
    found = settings.load_local()
    faults = 0
    for name, check in CHECKS.items():
        try:
            said = asyncio.run(check(found))
        except CannotStart as fault:
            faults += 1
            typer.secho(f"✗ {name}: {fault}", fg="red")
        else:
            typer.echo(f"✓ {name}: {said}")
    if faults:
        raise typer.Exit(1)


async def _settings(found: settings.Settings) -> str:
    found.require_secret_keys()
    where = "the environment" if settings.source("database_url") != "default" else f"`up` in {found.data_dir}"
    return f"complete, from {where}"


async def _postgres(found: settings.Settings) -> str:
    await check_postgres(found.require_database_url())
    return "reachable, and set to keep what it acknowledged"


async def _schema(found: settings.Settings) -> str:
    await require_migrated(found.require_database_url())
    return "up to date"


async def _redis(found: settings.Settings) -> str:
    await check_redis(found.require_redis_url())
    return "reachable, and evicts nothing"


async def _api(found: settings.Settings) -> str:
    return _answering(f"http://{found.host}:{found.port}", "start it with `gigarouter serve` or `gigarouter up`")


async def _worker(found: settings.Settings) -> str:
    if found.worker_url is None:
        return "none is set (GIGAROUTER_WORKER_URL), which is fine with other providers"
    return _answering(found.worker_url, "start it with `gigarouter worker`")


def _answering(url: str, otherwise: str) -> str:
    parts = urlsplit(url)
    if not answers(parts.hostname or "", parts.port or 80, "/ready"):
        raise CannotStart(f"{url}/ready does not answer: {otherwise}.")
    return f"{url} is ready"


async def _disk(found: settings.Settings) -> str:
    folder = next(path for path in (found.data_dir, *found.data_dir.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES_MIN:
        raise CannotStart(f"{folder} has {free / 1e9:.1f} GB free, and {FREE_BYTES_MIN / 1e9:.1f} GB are needed.")
    return f"{free / 1e9:.0f} GB free at {Path(folder)}"


async def _packages(_: settings.Settings) -> str:
    if find_spec("torch") is None:
        return "the broker's; the worker's are not installed (`pip install '.[worker]'`)"
    return "the broker's and the worker's"


CHECKS: dict[str, Check] = {
    "settings": _settings,
    "packages": _packages,
    "disk": _disk,
    "PostgreSQL": _postgres,
    "schema": _schema,
    "Redis": _redis,
    "API": _api,
    "worker": _worker,
}
