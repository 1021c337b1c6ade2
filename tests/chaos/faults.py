"""How each step of a fault script is done to the real parts. Nothing here waits longer than the death of a process.

The main thread calls it: what it starts dies with the thread that started it.
"""

import os
import random
import shutil
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import redis

from store.embedded import Embedded
from tests.chaos.script import Step, What
from tests.harness.links import Cut, PostgresLink
from tests.harness.processes import Process, Product

CUTS = {What.CUT_SERVE: Cut.BOTH, What.DEAFEN_SERVE: Cut.FROM_POSTGRES, What.MUTE_SERVE: Cut.TO_POSTGRES}
KEY_FAULTS = frozenset({What.COPY_KEYS, What.PUT_KEYS_BACK, What.LOSE_KEYS})
SHARE_OF_KEYS = 0.7
FREEZES = frozenset({What.FREEZE_JOBS, What.FREEZE_REDIS, What.FREEZE_POSTGRES})


class World:
    """The product and its stores, with hands on each of them."""

    def __init__(self, servers: Embedded, product: Product, links: Sequence[PostgresLink], copies: Path) -> None:
        """``links`` are the serves' ways to Postgres."""
        self.servers = servers
        self.product = product
        self._links = links
        self._keys: dict[bytes, bytes] = {}
        self._copy = copies / "redis"
        self._meant_to_run = {process.name for process in product.processes}

    def do(self, step: Step) -> None:
        """Do one step; one that finds its part already down, or already up, does nothing."""
        serve = self.product.serves[step.target]
        jobs = self.product.jobs
        assert jobs is not None, "chaos runs with jobs"
        match step.what:
            case What.KILL_SERVE:
                self._kill(serve)
            case What.START_SERVE:
                self._start(serve)
            case What.FREEZE_SERVE:
                serve.signal(signal.SIGSTOP)
            case What.THAW_SERVE:
                serve.signal(signal.SIGCONT)
            case What.KILL_JOBS:
                self._kill(jobs)
            case What.START_JOBS:
                self._start(jobs)
            case What.WIPE_REDIS:
                # One that is frozen does it when it is thawed.
                with suppress(TimeoutError):
                    if self.servers.redis.pid:
                        self.servers.redis.command("FLUSHALL")
            case What.KILL_REDIS:
                self._kill_redis()
            case What.COPY_REDIS:
                self._copy_redis()
            case What.ROLL_BACK_REDIS:
                self._kill_redis()
                self._put_back()
            case What.START_REDIS:
                if not self.servers.redis.pid:
                    self.servers.redis.launch()
            case What.CRASH_POSTGRES:
                self._crash_postgres()
            case What.START_POSTGRES:
                if not self.servers.postgres.pid:
                    self.servers.postgres.launch()
            case _:
                self._silence(step)

    def _silence(self, step: Step) -> None:
        """Freeze a part, cut a serve's link, undo that, or touch single keys."""
        if step.what in KEY_FAULTS:
            self._touch_keys(step)
        elif step.what in CUTS:
            self._links[step.target].cut(CUTS[step.what])
        elif step.what is What.MEND_SERVE:
            self._links[step.target].mend()
        else:
            number = signal.SIGSTOP if step.what in FREEZES else signal.SIGCONT
            for pid in self._pids(step.what):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    def _touch_keys(self, step: Step) -> None:
        """A part of the accounts' keys, another one at each step, as its instant draws it."""
        numbers = random.Random(step.at_s)
        client = redis.Redis.from_url(self.servers.redis_url, socket_timeout=1)
        with suppress(redis.RedisError), client:
            if step.what is What.COPY_KEYS:
                self._keys = {key: copy for key in sorted(client.scan_iter("gr:*")) if (copy := client.dump(key))}
            elif step.what is What.PUT_KEYS_BACK:
                for key in (key for key in sorted(self._keys) if numbers.random() < SHARE_OF_KEYS):
                    client.restore(key, 0, self._keys[key], replace=True)
            else:
                for key in (key for key in sorted(client.scan_iter("gr:*")) if numbers.random() < SHARE_OF_KEYS):
                    client.delete(key)

    def _pids(self, what: What) -> list[int]:
        if what in (What.FREEZE_JOBS, What.THAW_JOBS):
            assert self.product.jobs is not None, "chaos runs with jobs"
            return [self.product.jobs.pid] if self.product.jobs.runs else []
        if what in (What.FREEZE_REDIS, What.THAW_REDIS):
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
            self.do(Step(0, What.THAW_SERVE, target))
            self.do(Step(0, What.MEND_SERVE, target))
        for what in (What.THAW_JOBS, What.THAW_REDIS, What.THAW_POSTGRES, What.START_REDIS, What.START_POSTGRES):
            self.do(Step(0, what))
        self.servers.redis.wait_until_ready()
        self.servers.postgres.wait_until_ready()
        for process in self.product.processes:
            self._start(process)

    def _kill(self, process: Process) -> None:
        self._meant_to_run.discard(process.name)
        process.kill()

    def _start(self, process: Process) -> None:
        self._meant_to_run.add(process.name)
        process.start()

    def _kill_redis(self) -> None:
        if pid := self.servers.redis.pid:
            os.kill(pid, signal.SIGKILL)
            self.servers.redis.stop()

    def _crash_postgres(self) -> None:
        # SIGQUIT is what `pg_ctl stop -m immediate` sends: no checkpoint, recovery from the log at the next start.
        if pid := self.servers.postgres.pid:
            os.kill(pid, signal.SIGQUIT)
            self.servers.postgres.stop()

    def _copy_redis(self) -> None:
        shutil.rmtree(self._copy, ignore_errors=True)
        if self.servers.redis.folder.exists():
            shutil.copytree(self.servers.redis.folder, self._copy)

    def _put_back(self) -> None:
        if self._copy.exists():
            shutil.rmtree(self.servers.redis.folder)
            shutil.copytree(self._copy, self.servers.redis.folder)
