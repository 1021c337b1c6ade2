"""Keeps payments of tests out of real books: a database takes those of one mode, the first that it met."""

from sqlalchemy import text

from store.faults import CannotStart
from store.postgres import Database

_CLAIM = text("INSERT INTO stripe_mode (livemode) VALUES (:livemode) ON CONFLICT DO NOTHING")
_READ = text("SELECT livemode FROM stripe_mode")


async def require_one_mode(db: Database, livemode: bool) -> None:
    """Note the mode of the key. Raises :class:`store.faults.CannotStart` where payments are of the other mode."""
    async with db.transaction() as tx:
        await tx.execute(_CLAIM, {"livemode": livemode})
        found = await tx.scalar(_READ)
    if found is not livemode:
        names = {True: "live", False: "test"}
        raise CannotStart(
            f"GIGAROUTER_STRIPE_SECRET_KEY is a {names[livemode]} key, and this database has payments of "
            f"{names[not livemode]} mode. Use another database: test and live payments are never in the same books."
        )
