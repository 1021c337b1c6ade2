"""What must hold before `serve` or `jobs` takes its first call: secrets, servers that keep money, the right schema."""

from gigarouter.schema import require_migrated
from gigarouter.settings import Settings
from store.checks import check_postgres, check_redis


async def require_fit(settings: Settings) -> None:
    """Raises :class:`store.faults.CannotStart` with a sentence for the first thing that does not hold."""
    settings.require_secret_keys()
    database_url, redis_url = settings.require_database_url(), settings.require_redis_url()
    await check_postgres(database_url)
    await check_redis(redis_url)
    await require_migrated(database_url)
