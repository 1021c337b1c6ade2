"""`gigarouter doctor`: looks at everything that must hold, changes nothing, and says what to do where it does not."""

import asyncio
import shutil
from importlib.util import find_spec

import msgspec
import typer

from gigarouter import settings
from gigarouter.commands.admin.output import AsJson, prints_json, show_list
from gigarouter.data_folder import FREE_BYTES_MIN
from gigarouter.diagnostics import CheckFailed, Finding, check_database, run_check
from gigarouter.ports import reachable
from gigarouter.schema import require_migrated
from gigarouter.settings import Settings
from gigarouter.supervise import responds
from router.registry.encryption import CredentialCipher
from store.checks import check_postgres, check_redis
from store.faults import CannotStart


def command(as_json: AsJson = False) -> None:
    """Check settings, servers, schema, money, providers and processes; exit 1 where something does not hold."""
    findings = asyncio.run(_all())
    if prints_json(as_json):
        show_list([msgspec.to_builtins(finding) for finding in findings], as_json=True)
    else:
        for finding in findings:
            _print(finding)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def _print(finding: Finding) -> None:
    mark = typer.style("ok  ", fg="green") if finding.ok else typer.style("FAIL", fg="red", bold=True)
    typer.echo(f"{mark} {finding.check}: {finding.message}")
    if finding.remedy:
        typer.echo(f"     -> {finding.remedy}")


async def _all() -> list[Finding]:
    try:
        loaded = settings.load_local()
    except CannotStart as fault:
        return [
            Finding("settings", ok=False, message=str(fault), remedy="`gigarouter config check` shows each setting.")
        ]
    findings = [
        Finding("settings", ok=True, message="readable, no unknown names"),
        await run_check("secret keys", lambda: _secret_keys(loaded)),
        await run_check("packages", _packages),
        await run_check("disk", lambda: _disk(loaded)),
        await run_check("API", lambda: _api(loaded)),
        await run_check("admin and metrics", lambda: _inside(loaded)),
    ]
    redis = await run_check("Redis", lambda: _redis(loaded))
    postgres = await run_check("PostgreSQL", lambda: _postgres(loaded))
    findings += [redis, postgres]
    if postgres.ok:
        schema = await run_check("schema", lambda: _schema(loaded))
        findings += [schema, *(await check_database(loaded, has_redis=redis.ok) if schema.ok else [])]
    return findings


async def _secret_keys(loaded: Settings) -> str:
    try:
        CredentialCipher(loaded.require_secret_keys())
    except ValueError as fault:
        raise CheckFailed(str(fault), "`gigarouter config new-secret-key` makes one.") from fault
    return f"{len(loaded.secret_keys)} set"


async def _postgres(loaded: Settings) -> str:
    await check_postgres(loaded.require_database_url())
    return "reachable, writable, fsync and full_page_writes on"


async def _redis(loaded: Settings) -> str:
    await check_redis(loaded.require_redis_url())
    return "reachable, evicts nothing"


async def _schema(loaded: Settings) -> str:
    await require_migrated(loaded.require_database_url())
    return "this release's"


async def _packages() -> str:
    if find_spec("torch") is None:
        return "the broker's; the worker's are not installed (`pip install '.[worker]'`)"
    return "the broker's and the worker's"


async def _disk(loaded: Settings) -> str:
    folder = next(path for path in (loaded.data_dir, *loaded.data_dir.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES_MIN:
        raise CheckFailed(
            f"{folder} has {free / 1e9:.1f} GB free and {FREE_BYTES_MIN / 1e9:.1f} GB are needed",
            "Make room, or set GIGAROUTER_DATA_DIR to a folder on another disk.",
        )
    return f"{free / 1e9:.0f} GB free at {folder}"


async def _api(loaded: Settings) -> str:
    host = reachable(loaded.host)
    if not responds(host, loaded.port, "/ready"):
        raise CheckFailed(
            f"http://{host}:{loaded.port}/ready does not answer",
            "Start it with `gigarouter serve` or `gigarouter up`; GIGAROUTER_PORT says where to look.",
        )
    return f"http://{host}:{loaded.port} is ready"


async def _inside(loaded: Settings) -> str:
    """Where `/admin` and `/metrics` are, and that they are not where customers are unless that was asked for."""
    if loaded.shares_port:
        return "on the API's own port, as GIGAROUTER_ADMIN_PORT says: whoever reaches that reaches them"
    if responds(reachable(loaded.host), loaded.port, "/metrics"):
        raise CheckFailed(
            f"GIGAROUTER_PORT is {loaded.port}, and /metrics answers there",
            "That is the inside port of a process, or one that runs with other settings: let customers reach another.",
        )
    host = reachable(loaded.admin_host)
    if not responds(host, loaded.admin_port, "/metrics"):
        raise CheckFailed(
            f"http://{host}:{loaded.admin_port}/metrics does not answer",
            "GIGAROUTER_ADMIN_HOST and GIGAROUTER_ADMIN_PORT say where to look.",
        )
    return f"http://{host}:{loaded.admin_port}/admin/v1 and /metrics, and not on the API's port"
