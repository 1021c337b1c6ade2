"""Applies the database schema of this release, and checks whether a database has it."""

import asyncio
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from gigarouter import settings
from store.checks import connected
from store.faults import CannotStart


class NotMigrated(CannotStart):
    """The database's schema is not this release's; the message says what to do."""


def migrations_folder() -> Path:
    """The folder of the migrations: inside the installed package, or at the root of the repository."""
    for folder in (Path(__file__).parent / "migrations", Path(__file__).parent.parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise FileNotFoundError("This installation has no migrations; install gigarouter again.")


def _config(database_url: str) -> Config:
    config = Config()
    # Alembic reads `%` as interpolation.
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.attributes["database_url"] = database_url
    return config


def migration_url(config: Config) -> str:
    """The URL for `env.py`: the one given to :func:`migrate`, else the settings' own, for the bare `alembic`."""
    url = config.attributes.get("database_url") or settings.load().require_database_url()
    return "postgresql+asyncpg://" + str(url).split("://", 1)[1]


def migrate(database_url: str) -> None:
    """Bring the schema up to date. Blocking, with an event loop of its own: call it before yours starts.

    Raises :class:`NotMigrated` for a database that a newer release has migrated.
    """
    asyncio.run(_refuse_newer(database_url))
    command.upgrade(_config(database_url), "head")


@cache
def revisions() -> tuple[str | None, frozenset[str]]:
    """This release's newest revision, and all that it knows."""
    scripts = ScriptDirectory(str(migrations_folder()))
    return scripts.get_current_head(), frozenset(script.revision for script in scripts.walk_revisions())


async def applied_revision(database_url: str) -> str | None:
    """The revision that the database is at; None for an empty one. Raises ``CannotStart``."""
    async with connected(database_url) as connection:
        if await connection.fetchval("SELECT to_regclass('alembic_version')") is None:
            return None
        revision = await connection.fetchval("SELECT version_num FROM alembic_version")
        return None if revision is None else str(revision)


async def require_migrated(database_url: str) -> None:
    """Raise :class:`NotMigrated` unless the database is exactly at this release's newest revision."""
    newest, _ = revisions()
    applied = await applied_revision(database_url)
    if applied == newest:
        return
    await _refuse_newer(database_url)
    database = urlsplit(database_url).path.lstrip("/") or "the database"
    raise NotMigrated(
        f"The schema of {database} is at {applied or 'nothing'} and this release needs {newest}: "
        "run `gigarouter migrate`."
    )


async def _refuse_newer(database_url: str) -> None:
    newest, all_revisions = revisions()
    applied = await applied_revision(database_url)
    if applied is not None and applied not in all_revisions:
        raise NotMigrated(
            f"The database was migrated to {applied} by a newer release, and this one knows up to {newest}: run the "
            "newer release."
        )
