"""`gigarouter doctor`: looks at everything that must hold, changes nothing, and says what to do where it does not."""

import asyncio
import shutil
from importlib.util import find_spec

import msgspec
import typer

from gigarouter import settings
from gigarouter.commands.admin.output import AsJson, prints_json, show_list
from gigarouter.data_folder import FREE_BYTES_MIN
from gigarouter.diagnostics import Finding, Ill, look_at, of_the_database
from gigarouter.schema import require_migrated
from gigarouter.settings import Settings
from gigarouter.supervise import answers
from router.registry.encryption import CredentialCipher
from store.checks import check_postgres, check_redis
from store.faults import CannotStart

LOOPBACK = "127.0.0.1"


def command(as_json: AsJson = False) -> None:
    """Check settings, servers, schema, money, providers and processes; exit 1 where something does not hold."""
    findings = asyncio.run(_all())
    if prints_json(as_json):
        show_list([msgspec.structs.asdict(finding) for finding in findings], as_json=True)
    else:
        for finding in findings:
            _print(finding)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def _print(finding: Finding) -> None:
    mark = typer.style("ok  ", fg="green") if finding.ok else typer.style("FAIL", fg="red", bold=True)
    typer.echo(f"{mark} {finding.check}: {finding.says}")
    if finding.do:
        typer.echo(f"     -> {finding.do}")


async def _all() -> list[Finding]:
    try:
        found = settings.load_local()
    except CannotStart as fault:
        return [Finding("settings", ok=False, says=str(fault), do="`gigarouter config check` shows each setting.")]
    findings = [
        Finding("settings", ok=True, says="readable, no unknown names"),
        await look_at("secret keys", lambda: _secret_keys(found)),
        await look_at("packages", _packages),
        await look_at("disk", lambda: _disk(found)),
        await look_at("API", lambda: _api(found)),
    ]
    redis = await look_at("Redis", lambda: _redis(found))
    postgres = await look_at("PostgreSQL", lambda: _postgres(found))
    findings += [redis, postgres]
    if postgres.ok:
        schema = await look_at("schema", lambda: _schema(found))
        findings += [schema, *(await of_the_database(found, has_redis=redis.ok) if schema.ok else [])]
    return findings


async def _secret_keys(found: Settings) -> str:
    try:
        CredentialCipher(found.require_secret_keys())
    except ValueError as fault:
        raise Ill(str(fault), "`gigarouter config new-secret-key` makes one.") from fault
    return f"{len(found.secret_keys)} set"


async def _postgres(found: Settings) -> str:
    await check_postgres(found.require_database_url())
    return "reachable, writable, fsync and full_page_writes on"


async def _redis(found: Settings) -> str:
    await check_redis(found.require_redis_url())
    return "reachable, evicts nothing"


async def _schema(found: Settings) -> str:
    await require_migrated(found.require_database_url())
    return "this release's"


async def _packages() -> str:
    if find_spec("torch") is None:
        return "the broker's; the worker's are not installed (`pip install '.[worker]'`)"
    return "the broker's and the worker's"


async def _disk(found: Settings) -> str:
    folder = next(path for path in (found.data_dir, *found.data_dir.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES_MIN:
        raise Ill(
            f"{folder} has {free / 1e9:.1f} GB free and {FREE_BYTES_MIN / 1e9:.1f} GB are needed",
            "Make room, or set GIGAROUTER_DATA_DIR to a folder on another disk.",
        )
    return f"{free / 1e9:.0f} GB free at {folder}"


async def _api(found: Settings) -> str:
    host = LOOPBACK if found.host in {"0.0.0.0", "::", ""} else found.host  # noqa: S104 - a comparison, not a bind
    if not answers(host, found.port, "/ready"):
        raise Ill(
            f"http://{host}:{found.port}/ready does not answer",
            "Start it with `gigarouter serve` or `gigarouter up`; GIGAROUTER_PORT says where to look.",
        )
    return f"http://{host}:{found.port} is ready"
