"""Runs PostgreSQL and Redis for `gigarouter up` and for tests, in one folder, on Unix sockets.

Both are children of this process and end with it. What an earlier run left behind (a server whose parent was killed, a
stale pid file, a half-made cluster, a broken append-only file) is repaired before the start. Redis is a projection that
can be rebuilt, so its data may be set aside; PostgreSQL's never is.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from store.embedded.postgres_server import EmbeddedPostgres
from store.embedded.redis_server import EmbeddedRedis
from store.embedded.sockets import socket_folder
from store.faults import CannotStart

__all__ = ["CannotStart", "Embedded", "EmbeddedPostgres", "EmbeddedRedis"]


class Embedded:
    """Both servers of one data folder: ``with Embedded(folder) as servers: servers.database_url``.

    Start it from the main thread. Raises :class:`CannotStart` with a sentence for the terminal.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.sockets = socket_folder(folder)
        self.postgres = EmbeddedPostgres(folder / "postgres", self.sockets, folder / "logs" / "postgres.log")
        self.redis = EmbeddedRedis(folder / "redis", self.sockets, folder / "logs" / "redis.log")
        self.was_started = False

    @property
    def database_url(self) -> str:
        """The URL of the product's own database."""
        return self.postgres.url("gigarouter")

    @property
    def redis_url(self) -> str:
        """The URL of the product's own Redis database."""
        return self.redis.url

    def start(self) -> None:
        """Launch both, then wait for both."""
        try:
            self.redis.launch()
            self.postgres.launch()
            self.redis.wait_until_ready()
            self.postgres.wait_until_ready()
            self.postgres.ensure_database("gigarouter")
            self.was_started = True
        except BaseException:
            self.stop()
            raise

    def restart_dead(self) -> None:
        """Start a server again that has ended by itself or was killed; none before :meth:`start`.

        Raises :class:`CannotStart` where that fails, ``OSError`` where there is no room, file or memory for it.
        """
        if not self.was_started:
            return
        if self.redis.pid is None:
            self.redis.launch()
            self.redis.wait_until_ready()
        if self.postgres.pid is None:
            self.postgres.launch()
            self.postgres.wait_until_ready()

    def stop(self) -> None:
        """End both; safe to call where one or both do not run."""
        self.was_started = False
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda server: server.stop(), (self.postgres, self.redis)))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
