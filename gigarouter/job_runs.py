"""Notes when each job was done and failed, and writes that to Postgres every few seconds, not at each turn."""

import asyncio

import msgspec
import structlog

from router.queues.read import forget_job_runs, note_job_runs
from router.queues.values import JobRun
from store.postgres import STORE_FAULTS, Database

WRITE_EVERY_S = 10.0
log = structlog.get_logger("jobs")


class JobRuns:
    """What this process knows of its jobs that Postgres does not yet."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._unwritten: dict[str, JobRun] = {}

    def note(self, name: str, every_s: float, limit_s: float, fault: str) -> None:
        """A turn of a job has ended just now: well, or by a fault."""
        now = self._db.clock.now()
        nothing = JobRun(name=name, every_s=every_s, limit_s=limit_s)
        before = self._unwritten.get(name, nothing)
        if fault:
            failures = before.failures + 1
            noted = msgspec.structs.replace(before, failed_at=now, failures=failures, fault=fault)
        else:
            noted = msgspec.structs.replace(before, ran_at=now, failures=0)
        self._unwritten[name] = noted

    def take(self) -> list[JobRun]:
        """What was noted since this was taken last."""
        taken, self._unwritten = list(self._unwritten.values()), {}
        return taken

    async def run(self) -> None:
        """Write what was noted until cancelled; what could not be written is written with what follows."""
        is_first = True
        while True:
            await asyncio.sleep(1.0 if is_first else WRITE_EVERY_S)
            written = self.take()
            try:
                async with self._db.transaction() as tx:
                    await note_job_runs(tx, written)
                    if is_first:
                        await forget_job_runs(tx)
                is_first = False
            except STORE_FAULTS as fault:
                self._unwritten = {run.name: run for run in written} | self._unwritten
                log.warning("job_runs_unwritten", fault=type(fault).__name__)
