"""The jobs process: does what must happen without a call. Any number may run; each job is safe to run twice.

The table of jobs is at the bottom; a job that fails is logged and runs again at its next turn.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

import msgspec
import structlog
import uvloop
from hiredis import ReplyError
from sqlalchemy import text

from billing import books
from billing.admission import GRACE_S
from billing.close.finish import advance
from billing.closing import list_closing, take_leftover
from billing.contracts.minimums import charge_minimums
from billing.documents.mails import add_reminder
from billing.expiry import expire_due, notify_expiring, pay_debts
from billing.exports import run as exports
from billing.exports.requests import expire
from billing.generation import forget_old
from billing.lines import fit_lines
from billing.low_credit import notify_low
from billing.reaper import reap, resync
from billing.receivables import accrue, is_due, remind
from billing.reconciliation.runs import RunKind
from billing.rollups.compare import check_sums
from billing.rollups.fill import add_before, add_pending
from billing.schedules import give_due
from billing.seal import seal
from billing.stripe.errors import StripeUnavailable
from gigarouter import telemetry
from gigarouter.documents_job import IssueDocuments, RequestMonth
from gigarouter.job_runs import JobRuns
from gigarouter.mail_job import SendMails, forget_mails
from gigarouter.reconcile_job import reconcile
from gigarouter.settings import Settings
from gigarouter.stripe_jobs import StripeJobs
from gigarouter.stripe_settings import stripe_config
from gigarouter.webhook_job import SendWebhooks, forget_alerts, raise_alerts
from gigarouter.wiring import process, require_fit
from router.admin.closing import finish as finish_closing
from router.admin.own_data import OwnData
from router.context import RouterContext
from router.errors import StoreUnavailable
from router.explain.receipts import rotate_weeks
from router.identity.device_logins import forget_device_logins
from router.identity.key_commands import delete_ended_secrets
from router.identity.key_endings import notify_ending
from router.identity.people.forget import forget_sign_ins
from router.request.idempotency import delete_expired_outcomes
from router.statistics.sums import forget_statistics, sum_statistics
from router.verification.schedule import delete_old_probes, run_due_checks
from store.ids import AccountId
from store.postgres import STORE_FAULTS
from store.redis_client import RedisUnavailable

log = structlog.get_logger("jobs")

# The whole ledger is read once a day, by whichever jobs process comes first.
ALL_BOOKS_EVERY = timedelta(hours=24)
# How long a turn takes at most, if all is well: of most jobs, and of those that read or write a lot.
TURN_S, LONG_TURN_S = 120.0, 3600.0


class Job(msgspec.Struct, frozen=True):
    """One job: its name in the log, seconds between turns, its function, and how many seconds a turn may take."""

    name: str
    every_s: float
    run: Callable[[RouterContext], Awaitable[None]]
    turn_s: float = TURN_S

    @property
    def limit_s(self) -> float:
        """After how many seconds without a turn that ended well it is late."""
        return 2 * self.every_s + self.turn_s


def run(settings: Settings) -> None:
    """Run the jobs until SIGTERM or SIGINT. Raises CannotStart."""
    uvloop.run(_jobs(settings))


async def _jobs(settings: Settings) -> None:
    telemetry.configure(settings.log_level, settings.log_format)
    await require_fit(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    stripe = StripeJobs(stripe_config(settings))
    documents = IssueDocuments(stripe)
    own_data = OwnData(settings.ledger_archives_dir)
    month = RequestMonth(is_on=settings.monthly_documents)
    jobs = table(stripe, SendMails(settings), documents=documents, own_data=own_data, month=month)
    try:
        async with process(settings, "jobs") as context, asyncio.TaskGroup() as group:
            runs = JobRuns(context.db)
            tasks = [group.create_task(runs.run()), *(group.create_task(_repeat(job, context, runs)) for job in jobs)]
            log.info("jobs_started", jobs=[job.name for job in jobs])
            await stop.wait()
            for task in tasks:
                task.cancel()
    finally:
        documents.close()
        await stripe.close()


async def _repeat(job: Job, context: RouterContext, runs: JobRuns) -> None:
    while True:
        # Of a fault its kind alone: what it says may have a customer's words in it, and is in the log.
        said = ""
        try:
            await job.run(context)
        except (*STORE_FAULTS, StoreUnavailable, RedisUnavailable, ReplyError, StripeUnavailable) as fault:
            said = type(fault).__name__
            log.warning("job_postponed", job=job.name, reason=type(fault).__name__, fault=str(fault)[:200])
        except Exception as fault:
            said = type(fault).__name__
            log.exception("job_failed", job=job.name)
        runs.note(job.name, job.every_s, job.limit_s, said)
        await asyncio.sleep(job.every_s)


async def _reap(context: RouterContext) -> None:
    # Postgres decides how a call ended, so reaping waits for no generation's barrier and for no heartbeat of ours.
    longest_s = context.call_deadline_s + GRACE_S
    if context.generation.number and (ended := await reap(context.db, context.projection, longest_s)):
        log.info("holds_reaped", holds=ended)


class _Resync:
    """Remembers which accounts were behind at the last turn: a commit in flight is not a mismatch."""

    def __init__(self) -> None:
        self._behind: set[AccountId] = set()

    async def __call__(self, context: RouterContext) -> None:
        if context.generation.number:
            self._behind = await resync(context.db, context.projection, self._behind)


class _CheckBooks:
    """Remembers which accounts differed from Redis at the last turn: a commit in flight is not wrong."""

    def __init__(self) -> None:
        self._differing: set[AccountId] = set()

    async def __call__(self, context: RouterContext) -> None:
        await _record(context, await books.check_frequently(context.db))
        redis = context.projection.redis
        # At the start Redis is reached within moments; the next turn is a minute away.
        if redis is not None and await redis.wait_connected(10) and await context.generation.ready(10):
            findings, self._differing = await books.check_redis(context.db, context.projection, self._differing)
            await _record(context, findings)


async def _check_all_books(context: RouterContext) -> None:
    async with context.db.transaction() as tx:
        nightly = [result.checked_at for result in await books.read_results(tx) if result.check in books.NIGHTLY]
    last = min((at for at in nightly if at is not None), default=None)
    if None in nightly or last is None or context.db.clock.now() - last > ALL_BOOKS_EVERY:
        await _record(context, await books.check_all(context.db))
        await _record(context, [await check_sums(context.db)])


async def _record(context: RouterContext, findings: list[books.Finding]) -> None:
    async with context.db.transaction() as tx:
        await books.record(tx, findings)
    if wrong := {finding.check.value: finding.wrong for finding in findings if finding.wrong}:
        log.error("books_wrong", **wrong)


async def _seal(context: RouterContext) -> None:
    await seal(context.db)


async def _make_months(context: RouterContext) -> None:
    async with context.db.transaction() as tx:
        await tx.execute(text("SELECT make_usage_months((now() AT TIME ZONE 'UTC')::date, 4)"))
    async with context.db.transaction() as tx:
        await tx.execute(text("SELECT make_ledger_months((now() AT TIME ZONE 'UTC')::date, 4)"))


async def _rotate_weeks(context: RouterContext) -> None:
    await rotate_weeks(context.db, context.db.clock.now().date())


async def _delete_expired(context: RouterContext) -> None:
    await delete_expired_outcomes(context.db)
    await delete_old_probes(context.db, context.db.clock.now())
    await delete_ended_secrets(context.db)
    await forget_sign_ins(context.db)
    await forget_device_logins(context.db)
    await forget_old(context.db)


async def _expire(context: RouterContext) -> None:
    if context.generation.is_ready:
        await expire_due(context.db, context.admission, context.projection, context.generation, context.db.clock.now())


async def _notify_expiring(context: RouterContext) -> None:
    await notify_expiring(context.db, context.db.clock.now())


async def _notify_low(context: RouterContext) -> None:
    await notify_low(context.db, context.db.clock.now())


async def _notify_ending_keys(context: RouterContext) -> None:
    await notify_ending(context.db, context.db.clock.now())


async def _give_scheduled(context: RouterContext) -> None:
    if given := await give_due(context.db, context.db.clock.now()):
        log.info("scheduled_credit_given", grants=given)


async def _pay_debts(context: RouterContext) -> None:
    if context.generation.is_ready:
        paid = await pay_debts(context.db, context.admission, context.projection, context.generation)
        if paid:
            log.warning("debts_paid_late", accounts=paid)


async def _fit_lines(context: RouterContext) -> None:
    if context.generation.is_ready:
        await fit_lines(context.db, context.admission, context.projection, context.generation, context.db.clock.now())


async def _charge_minimums(context: RouterContext) -> None:
    if context.generation.is_ready:
        parts = context.db, context.admission, context.projection, context.generation
        if charged := await charge_minimums(*parts, context.db.clock.now()):
            log.info("minimums_charged", months=charged)


async def _accrue(context: RouterContext) -> None:
    now = context.db.clock.now()
    async with context.db.transaction() as tx:
        for reminder in await remind(tx, now):
            await add_reminder(tx, reminder.receivable.source_ref, reminder.step)
        due = await is_due(tx, now)
    if due:
        await accrue(context.db, now)


async def _close_accounts(context: RouterContext) -> None:
    async with context.db.transaction() as tx:
        closings = await list_closing(tx) if context.generation.is_ready else []
    for one in closings:
        if await take_leftover(context.db, context.admission, context.projection, context.generation, one):
            await finish_closing(context.db, one.account_id)


async def _close_months(context: RouterContext) -> None:
    await advance(context.db, context.db.clock.now(), context.call_deadline_s + GRACE_S)


async def _reconcile_providers(context: RouterContext) -> None:
    await reconcile(context, RunKind.PROVIDERS)


async def _write_exports(own: OwnData, context: RouterContext) -> None:
    while await exports.run_next(context.db, context.exports, own):
        pass


async def _remove_exports(context: RouterContext) -> None:
    async with context.db.transaction() as tx:
        await expire(tx)
    await exports.remove_old(context.db, context.exports)


async def _sum_usage(context: RouterContext) -> None:
    if await add_pending(context.db) is not None:
        await add_before(context.db)


async def _sum_statistics(context: RouterContext) -> None:
    await sum_statistics(context.db, context.db.clock.now())


async def _forget_statistics(context: RouterContext) -> None:
    await forget_statistics(context.db, context.db.clock.now())


async def _probe(context: RouterContext) -> None:
    await run_due_checks(context.db, context.find_provider, context.dispatch_state.quota)


async def _check_responsive(context: RouterContext) -> None:
    await run_due_checks(context.db, context.find_provider, context.dispatch_state.quota, only_responsive=True)


def _stripe_table(stripe: StripeJobs) -> list[Job]:
    async def check_stripe(context: RouterContext) -> None:
        await _record(context, [await stripe.check(context)])

    return [
        # Each turn waits for a notification by itself; several, so that a slow answer of Stripe's delays one of them.
        Job("act on what Stripe says", 0.1, stripe.act),
        Job("act on what Stripe says, too", 0.1, stripe.act),
        Job("act on what Stripe says, as well", 0.1, stripe.act),
        Job("recharge accounts", 2.0, stripe.recharge),
        Job("collect invoices", 5.0, stripe.collect),
        Job("read Stripe's lists again", 60.0, stripe.sweep, LONG_TURN_S),
        Job("compare Stripe's balance", 60.0, check_stripe),
        Job("reconcile with Stripe", 5.0, stripe.reconcile, LONG_TURN_S),
        Job("tell Stripe's meters of mirrored usage", 600.0, stripe.mirror),
        Job("compare Stripe's meters", 5.0, stripe.compare_meters, LONG_TURN_S),
        Job("forget old events of Stripe's", 3600.0, stripe.forget_old),
    ]


def table(
    stripe: StripeJobs | None = None,
    mails: SendMails | None = None,
    webhooks: SendWebhooks | None = None,
    documents: IssueDocuments | None = None,
    own_data: OwnData | None = None,
    month: RequestMonth | None = None,
) -> list[Job]:
    """Every job, with how often it runs; without ``stripe`` as where no payments are taken."""
    return [
        Job("reap overdue holds", 2.0, _reap),
        Job("set accounts anew that fell behind", 2.0, _Resync()),
        Job("expire grants", 60.0, _expire),
        Job("tell of credit that expires", 3600.0, _notify_expiring),
        Job("tell of credit that is low", 300.0, _notify_low),
        Job("tell of keys that end", 3600.0, _notify_ending_keys),
        Job("give scheduled credit", 60.0, _give_scheduled),
        Job("count and pay debts", 60.0, _pay_debts),
        Job("make credit lines follow their limits", 5.0, _fit_lines),
        Job("charge minimums of contracts", 60.0, _charge_minimums),
        Job("move what was drawn to unbilled, daily", 600.0, _accrue, LONG_TURN_S),
        Job("close months", 15.0, _close_months, LONG_TURN_S),
        Job("close accounts", 5.0, _close_accounts),
        Job("seal the ledger", 10.0, _seal),
        Job("check the books", 60.0, _CheckBooks()),
        Job("check all of the books", 600.0, _check_all_books, LONG_TURN_S),
        Job("make usage months", 3600.0, _make_months),
        Job("ask for a month's documents", 300.0, month or RequestMonth()),
        Job("issue documents", 3.0, documents or IssueDocuments()),
        Job("send mails", 1.0, mails or SendMails(None)),
        Job("forget old mails", 3600.0, forget_mails),
        Job("raise alerts of spending", 10.0, raise_alerts),
        Job("send webhooks", 1.0, webhooks or SendWebhooks()),
        Job("forget old alerts", 3600.0, forget_alerts),
        Job("make and drop weeks of explanations", 3600.0, _rotate_weeks),
        Job("sum usage", 2.0, _sum_usage, LONG_TURN_S),
        Job("sum statistics of endpoints", 60.0, _sum_statistics),
        Job("forget old statistics", 3600.0, _forget_statistics),
        Job("forget old outcomes", 600.0, _delete_expired),
        Job("write exports", 1.0, partial(_write_exports, own_data or OwnData()), LONG_TURN_S),
        Job("remove exports that expired", 600.0, _remove_exports),
        *_stripe_table(stripe or StripeJobs(None)),
        Job("reconcile with providers", 5.0, _reconcile_providers, LONG_TURN_S),
        # Three run side by side, so that endpoints that do not answer delay only one of them.
        Job("probe endpoints", 5.0, _probe),
        Job("probe endpoints that answer", 5.0, _check_responsive),
        Job("probe endpoints that answer, too", 5.0, _check_responsive),
    ]
