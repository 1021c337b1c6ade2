"""Queues the objects that jobs have to read again at Stripe, each worked by one process at a time.

A request counts; work that was requested again while it was done is done again. A lease ends by itself, so a process
that dies gives its work to another. What fails is due later, up to a quarter of an hour.
"""

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from store.postgres import Database

# Longer than all requests to Stripe of one subject may take (billing.stripe.act.DEADLINE_S).
LEASE_S = 120
BACK_OFF_MAX_S = 900

_REQUEST = text("""
    INSERT INTO stripe_work AS w (subject) VALUES (:subject)
    ON CONFLICT (subject) DO UPDATE SET requested = w.requested + 1, due_at = least(w.due_at, now())
""")
_CLAIM = text(f"""
    UPDATE stripe_work SET lease_until = now() + interval '{LEASE_S} s', attempts = attempts + 1
    WHERE subject IN (
        SELECT subject FROM stripe_work WHERE requested > done AND due_at <= now() AND lease_until < now()
        ORDER BY due_at LIMIT :most FOR UPDATE SKIP LOCKED)
    RETURNING subject, requested, attempts
""")  # noqa: S608 - a constant
_IS_DUE = text("""
    SELECT EXISTS (SELECT FROM stripe_work WHERE requested > done AND due_at <= now() AND lease_until < now())
""")
_FINISH = text("""
    UPDATE stripe_work SET done = greatest(done, :requested), attempts = 0, fault = '', lease_until = '-infinity'
    WHERE subject = :subject
""")
_POSTPONE = text("""
    UPDATE stripe_work SET due_at = now() + make_interval(secs => :wait_s), fault = :fault, lease_until = '-infinity'
    WHERE subject = :subject
""")
_FORGET = text("""
    DELETE FROM stripe_work WHERE requested = done AND due_at < now() - interval '90 days'
""")
_FORGET_EVENTS = text("DELETE FROM stripe_events WHERE received_at < now() - interval '90 days'")


class Task(msgspec.Struct, frozen=True):
    """A subject that this process has the lease of, as it was requested when it took it."""

    subject: str
    requested: int
    attempts: int

    @property
    def kind(self) -> str:
        """The noun before the colon."""
        return self.subject.partition(":")[0]

    @property
    def id(self) -> str:
        """What is behind it."""
        return self.subject.partition(":")[2]


async def request(tx: AsyncConnection, subject: str) -> None:
    """Have the subject worked on, once more where it is being worked on now."""
    await tx.execute(_REQUEST, {"subject": subject})


async def claim(db: Database, most: int) -> list[Task]:
    """Take the leases of at most so many subjects that are due."""
    async with db.transaction() as tx:
        return [Task(row.subject, row.requested, row.attempts) for row in await tx.execute(_CLAIM, {"most": most})]


async def is_due(db: Database) -> bool:
    """Whether there is something to claim now."""
    async with db.transaction() as tx:
        return bool(await tx.scalar(_IS_DUE))


async def finish(db: Database, task: Task) -> None:
    """Note that the subject is done as it was requested, and give the lease back."""
    async with db.transaction() as tx:
        await tx.execute(_FINISH, {"subject": task.subject, "requested": task.requested})


async def postpone(db: Database, task: Task, fault: str, wait_s: float | None = None) -> None:
    """Have it tried again later: after ``wait_s``, else twice as long with each attempt."""
    pause_s = min(BACK_OFF_MAX_S, 2 ** min(task.attempts, 10)) if wait_s is None else wait_s
    async with db.transaction() as tx:
        await tx.execute(_POSTPONE, {"subject": task.subject, "wait_s": pause_s, "fault": fault[:500]})


async def forget_old(db: Database) -> None:
    """Delete work and events of more than 90 days ago; Stripe lists events of 30."""
    async with db.transaction() as tx:
        await tx.execute(_FORGET)
        await tx.execute(_FORGET_EVENTS)
