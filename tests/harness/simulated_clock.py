"""A clock that a test sets, for Postgres and so for the whole product, which takes its time from there.

In one database of its own, ``now()`` and ``clock_timestamp()`` of statements, defaults and functions are those of a
schema that stands before PostgreSQL's own; new ids and the stand-in for Stripe follow.
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from uuid import UUID

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from store import ids
from tests.harness import stripe_world

_SCHEMA = """
    CREATE SCHEMA sim;
    CREATE TABLE sim.clock (ahead interval NOT NULL);
    INSERT INTO sim.clock VALUES ('0');
    CREATE FUNCTION sim.now() RETURNS timestamptz LANGUAGE sql STABLE
        AS 'SELECT pg_catalog.now() + ahead FROM sim.clock';
    CREATE FUNCTION sim.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
        AS 'SELECT pg_catalog.clock_timestamp() + ahead FROM sim.clock';
    GRANT USAGE ON SCHEMA sim TO PUBLIC;
    GRANT SELECT ON sim.clock TO PUBLIC;
"""
_DEFAULTS = """
    SELECT format('%s', d.adrelid::regclass) AS name, quote_ident(a.attname) AS column,
        pg_get_expr(d.adbin, d.adrelid) AS expression
    FROM pg_attrdef d JOIN pg_attribute a ON (a.attrelid, a.attnum) = (d.adrelid, d.adnum)
        JOIN pg_class c ON c.oid = d.adrelid AND c.relnamespace = 'public'::regnamespace
    WHERE pg_get_expr(d.adbin, d.adrelid) LIKE '%now()%'
"""
_FUNCTIONS = """
    SELECT pg_get_functiondef(oid) AS definition FROM pg_proc
    WHERE pronamespace = 'public'::regnamespace AND prokind = 'f' AND prosrc ~ 'now\\(\\)|clock_timestamp\\(\\)'
"""
_TIME = re.compile(r"(?<![\w.])(now|clock_timestamp)\(\)")


class SimulatedClock:
    """Time of one database; ``ahead`` is how far it is from the real one."""

    def __init__(self, database_url: str) -> None:
        self._url = database_url
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    async def install(self) -> None:
        owner = await asyncpg.connect(self._url)
        await owner.execute(_SCHEMA)
        for row in await owner.fetch(_DEFAULTS):
            expression = _TIME.sub(r"sim.\1()", row["expression"])
            await owner.execute(f"ALTER TABLE {row['name']} ALTER COLUMN {row['column']} SET DEFAULT {expression}")
        for row in await owner.fetch(_FUNCTIONS):
            await owner.execute(_TIME.sub(r"sim.\1()", row["definition"]))
        name = await owner.fetchval("SELECT current_database()")
        await owner.execute(f'ALTER DATABASE "{name}" SET search_path = sim, pg_catalog, public')
        await owner.close()

    async def set(self, at: datetime) -> None:
        """It is ``at`` now; what runs must begin anew, as after a day at which nobody was there."""
        self.ahead = at - datetime.now(UTC)
        owner = await asyncpg.connect(self._url)
        await owner.execute("UPDATE sim.clock SET ahead = $1", self.ahead)
        await owner.close()


@contextmanager
def everybody_follows(clock: SimulatedClock) -> Iterator[None]:
    """New ids and the stand-in for Stripe are of the clock's time."""

    def sim_uuid7(seconds: int | None = None, nanos: int | None = None) -> UUID:
        if seconds is not None:
            return uuid7(seconds, nanos)
        at = clock.now()
        return uuid7(int(at.timestamp()), at.microsecond * 1000)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ids, "uuid7", sim_uuid7)
        patch.setattr(stripe_world, "time", SimpleNamespace(time=lambda: time.time() + clock.ahead.total_seconds()))
        yield
