"""Fresh databases, as often as wanted within one test."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

from store.embedded import Embedded


@contextmanager
def fresh_databases(servers: Embedded, template: str) -> Iterator[Iterator[tuple[str, str]]]:
    """A fresh database and an empty Redis as often as wanted; all are gone at the end."""
    made: list[str] = []

    def fresh() -> Iterator[tuple[str, str]]:
        for number in itertools.count(1):
            made.append(f"machine_{number}")
            servers.postgres.query(f'CREATE DATABASE "{made[-1]}" TEMPLATE "{template}" STRATEGY FILE_COPY')
            servers.redis.command("FLUSHALL")
            yield servers.postgres.url(made[-1]), servers.redis_url

    try:
        yield fresh()
    finally:
        for name in made:
            servers.postgres.query(f'DROP DATABASE "{name}" WITH (FORCE)')
