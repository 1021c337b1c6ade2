"""The product as a target: one ``serve`` with everything on, its Postgres and Redis beside it on the same core."""

from pathlib import Path

from bench.targets import Running, Unavailable
from bench.upstream import Upstream


class Ours:
    """``gigarouter serve`` in one of its two durabilities."""

    def __init__(self, durability: str) -> None:
        self.name = f"ours-{durability}"
        self.durability = durability

    def start(self, upstream: Upstream, encoding: str, folder: Path) -> Running:
        raise Unavailable("serve is not there yet")
