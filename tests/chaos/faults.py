"""How each fault is done to the real parts. Nothing here waits longer than the death of a process.

The main thread calls it: what it starts dies with the thread that started it.
"""

import os
import random
import shutil
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil
import redis

from store.embedded import Embedded
from tests.chaos.script import Step, What
from tests.chaos.table import Place
from tests.harness.links import Cut, Link
from tests.harness.processes import Process, Product

CUTS = {What.CUT_SERVE: Cut.BOTH, What.DEAFEN_SERVE: Cut.FROM_SERVER, What.MUTE_SERVE: Cut.TO_SERVER}
KILLS = {
    What.KILL_SERVE: Place.SERVE,
    What.KILL_JOBS: Place.JOBS,
    What.KILL_REDIS: Place.REDIS,
    What.CRASH_POSTGRES: Place.POSTGRES,
}
STARTS = {
    What.START_SERVE: Place.SERVE,
    What.START_JOBS: Place.JOBS,
    What.START_REDIS: Place.REDIS,
    What.START_POSTGRES: Place.POSTGRES,
}
FREEZES = {
    What.FREEZE_SERVE: Place.SERVE,
    What.FREEZE_JOBS: Place.JOBS,
    What.FREEZE_REDIS: Place.REDIS,
    What.FREEZE_POSTGRES: Place.POSTGRES,
}
THAWS = {
    What.THAW_SERVE: Place.SERVE,
    What.THAW_JOBS: Place.JOBS,
    What.THAW_REDIS: Place.REDIS,
    What.THAW_POSTGRES: Place.POSTGRES,
}
SHARE_OF_KEYS = 0.7


class Links(msgspec.Struct, frozen=True):
    """The ways from process to server: each serve's and jobs' to Postgres, everybody's to Redis and to the provider."""

    serves: Sequence[Link]
    jobs: Link
    redis: Link
    provider: Link

    def at(self, place: Place, target: int) -> list[Link]:
        """Those that are cut when ``place`` is cut off."""
        found: dict[Place, list[Link]] = {
            Place.SERVE: [self.serves[target]],
            Place.JOBS: [self.jobs],
            Place.REDIS: [self.redis],
            Place.POSTGRES: [*self.serves, self.jobs],
            Place.PROVIDER: [self.provider],
        }
        return found[place]


class World:
    """The product and its stores, with hands on each of them. ``target`` is the serve that is meant."""

    def __init__(self, servers: Embedded, product: Product, links: Links, copies: Path) -> None:
        self.servers = servers
        self.product = product
        self.links = links
        self._keys: dict[bytes, bytes] = {}
        self._copy = copies / "redis"
        self._meant_to_run = {process.name for process in product.processes}

    def do(self, step: Step) -> None:
        """Do one step of a script; one that finds its part already down, or already up, does nothing."""
        what, target = step.what, step.target
        if what in KILLS:
            self.kill(KILLS[what], target)
        elif what in STARTS:
            self.start(STARTS[what], target)
        elif what in FREEZES:
            self.freeze(FREEZES[what], target)
        elif what in THAWS:
            self.thaw(THAWS[what], target)
        elif what in CUTS:
            self.cut(Place.SERVE, CUTS[what], target)
        elif what is What.MEND_SERVE:
            self.mend(Place.SERVE, target)
        else:
            self._touch_redis(step)

    def _touch_redis(self, step: Step) -> None:
        match step.what:
            case What.WIPE_REDIS:
                self.wipe()
            case What.COPY_REDIS:
                self.copy()
            case What.ROLL_BACK_REDIS:
                self.roll_back()
            case What.COPY_KEYS:
                self.copy_keys()
            case What.PUT_KEYS_BACK:
                self.put_keys_back(step.at_s)
            case What.LOSE_KEYS:
                self.lose_keys(step.at_s)
            case _:
                raise AssertionError(step)

    def kill(self, place: Place, target: int = 0) -> None:
        """SIGKILL; what Postgres gets is SIGQUIT, as ``pg_ctl stop -m immediate`` sends: it recovers from its log."""
        if place is Place.PROVIDER:
            self.links.provider.refuse()
        elif place is Place.REDIS:
            if pid := self.servers.redis.pid:
                os.kill(pid, signal.SIGKILL)
                self.servers.redis.stop()
        elif place is Place.POSTGRES:
            if pid := self.servers.postgres.pid:
                os.kill(pid, signal.SIGQUIT)
                self.servers.postgres.stop()
        else:
            process = self._process(place, target)
            self._meant_to_run.discard(process.name)
            process.kill()

    def start(self, place: Place, target: int = 0) -> None:
        if place is Place.PROVIDER:
            self.links.provider.accept()
        elif place is Place.REDIS:
            if not self.servers.redis.pid:
                self.servers.redis.launch()
        elif place is Place.POSTGRES:
            if not self.servers.postgres.pid:
                self.servers.postgres.launch()
        else:
            process = self._process(place, target)
            self._meant_to_run.add(process.name)
            process.start()

    def freeze(self, place: Place, target: int = 0) -> None:
        self._signal(place, target, signal.SIGSTOP)

    def thaw(self, place: Place, target: int = 0) -> None:
        self._signal(place, target, signal.SIGCONT)

    def cut(self, place: Place, cut: Cut, target: int = 0) -> None:
        for link in self.links.at(place, target):
            link.cut(cut)

    def mend(self, place: Place, target: int = 0) -> None:
        for link in self.links.at(place, target):
            link.mend()

    def wipe(self) -> None:
        """FLUSHALL. A Redis that is frozen does it when it is thawed."""
        with suppress(TimeoutError, OSError):
            if self.servers.redis.pid:
                self.servers.redis.command("FLUSHALL")

    def copy(self) -> None:
        """Copy the files of Redis."""
        shutil.rmtree(self._copy, ignore_errors=True)
        if self.servers.redis.folder.exists():
            shutil.copytree(self.servers.redis.folder, self._copy)

    def roll_back(self) -> None:
        """Kill Redis and put the copy of its files back."""
        self.kill(Place.REDIS)
        if self._copy.exists():
            shutil.rmtree(self.servers.redis.folder)
            shutil.copytree(self._copy, self.servers.redis.folder)

    def copy_keys(self) -> None:
        with suppress(redis.RedisError), self._redis() as client:
            self._keys = {key: copy for key in sorted(client.scan_iter("gr:*")) if (copy := client.dump(key))}

    def put_keys_back(self, seed: float) -> None:
        """A part of the accounts' keys, another one for each seed."""
        numbers = random.Random(seed)
        with suppress(redis.RedisError), self._redis() as client:
            for key in (key for key in sorted(self._keys) if numbers.random() < SHARE_OF_KEYS):
                client.restore(key, 0, self._keys[key], replace=True)

    def lose_keys(self, seed: float) -> None:
        """A part of the accounts' keys, another one for each seed."""
        numbers = random.Random(seed)
        with suppress(redis.RedisError), self._redis() as client:
            for key in (key for key in sorted(client.scan_iter("gr:*")) if numbers.random() < SHARE_OF_KEYS):
                client.delete(key)

    def _redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.servers.redis_url, socket_timeout=1)

    def _process(self, place: Place, target: int) -> Process:
        if place is Place.SERVE:
            return self.product.serves[target]
        assert self.product.jobs is not None, "chaos runs with jobs"
        return self.product.jobs

    def _signal(self, place: Place, target: int, number: signal.Signals) -> None:
        for pid in self._pids(place, target):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _pids(self, place: Place, target: int) -> list[int]:
        if place in (Place.SERVE, Place.JOBS):
            process = self._process(place, target)
            return [process.pid] if process.runs else []
        if place is Place.REDIS:
            return [pid] if (pid := self.servers.redis.pid) else []
        if (pid := self.servers.postgres.pid) is None:
            return []
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]

    def tend(self) -> list[str]:
        """Start again what ended by itself, as a supervisor does; says what of it was a crash.

        To end with a sentence, because a store is away at the start, is right; to end with a traceback is not.
        """
        crashes = []
        for process in self.product.processes:
            if process.name in self._meant_to_run and not process.runs:
                last = process.said_since_start()
                if "Traceback" in last:
                    crashes.append(f"{process.name} ended by itself:\n{last}")
                process.start()
        return crashes

    def heal(self) -> None:
        """Everything runs again; returns when the stores answer."""
        for target in range(len(self.product.serves)):
            self.thaw(Place.SERVE, target)
        for place in (Place.JOBS, Place.REDIS, Place.POSTGRES):
            self.thaw(place)
        for link in (*self.links.serves, self.links.jobs, self.links.redis, self.links.provider):
            link.mend()
        for place in (Place.PROVIDER, Place.REDIS, Place.POSTGRES):
            self.start(place)
        self.servers.redis.wait_until_ready()
        self.servers.postgres.wait_until_ready()
        for target in range(len(self.product.serves)):
            self.start(Place.SERVE, target)
        self.start(Place.JOBS)
