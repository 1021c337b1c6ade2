"""What waits is one page and one operation: late, in time or unknown, each with a section on what to do."""

import asyncio
import re
from datetime import timedelta
from functools import partial

import pytest

from gigarouter.job_runs import JobRuns
from gigarouter.jobs import table
from router.identity.members import Role
from router.queues.read import note_job_runs, read_job_runs, read_queues
from router.queues.table import JOBS, QUEUES, STARTER
from router.queues.values import JobRun, Lateness, Queue, lateness_of
from store.postgres import Database
from tests.builders.database import DatabaseBuilder
from tests.builders.values import NOW
from tests.harness.pages import Pages, an_operator
from tests.harness.reading import Reader, words_of
from tests.house.source import ROOT
from web.finance.manual import guide_href
from web.ops.queues import MANUAL
from web.route import RouteTable
from web.routes import ROUTES

pytestmark = pytest.mark.anyio
PEOPLE = {STARTER, "operations", "finance", "a second person", "a launch", "serve"}
WAITING = """
INSERT INTO usage_pending (request_ids, account_ids, since, until)
VALUES (ARRAY[gen_random_uuid(), gen_random_uuid()], ARRAY[gen_random_uuid()], now() - interval '2 minutes', now())
"""
JOBS_RUN = "INSERT INTO processes (id, kind) VALUES (gen_random_uuid(), 'jobs')"
FAILED = """
INSERT INTO mails (id, dedupe, address, kind, locale, zone, facts, message_id, priority, state, until, created_at)
VALUES (gen_random_uuid(), 'd', 'a@example.com', 'welcome', 'en', 'UTC', '{}', 'm', 5, 'failed', now(),
    now() - interval '26 hours')
"""


def test_each_queue_has_a_section_a_page_and_who_moves_it() -> None:
    sections = re.findall(r"^## (.+)$", (ROOT / "docs" / "queues.md").read_text(), re.MULTILINE)
    assert sorted(sections) == sorted(queue.runbook.partition("#")[2] for queue in QUEUES)
    names, pages = {job.name for job in table()} | PEOPLE, RouteTable(ROUTES)
    for queue in QUEUES:
        assert queue.moved_by in names, queue
        assert pages.find(queue.page.partition("#")[0]), queue
        assert guide_href(queue.runbook) == f"{MANUAL}#{queue.runbook.partition('#')[2]}"


def test_what_is_not_known_is_never_in_time() -> None:
    queue = Queue("q", "Q", "things", timedelta(minutes=1), "x", JOBS, "")
    stands = partial(lateness_of, queue, now=NOW, is_known=True)
    assert stands(0, None) is Lateness.IN_TIME
    assert stands(None, None) is Lateness.UNKNOWN
    assert lateness_of(queue, 0, None, NOW, is_known=False) is Lateness.UNKNOWN
    assert [stands(1, NOW - timedelta(seconds=s)) for s in (60, 61)] == [Lateness.IN_TIME, Lateness.LATE]
    job = JobRun(name="j", every_s=1.0, limit_s=60.0)
    assert job.lateness(NOW) is Lateness.UNKNOWN
    late = JobRun(name="j", every_s=1.0, limit_s=60.0, ran_at=NOW - timedelta(seconds=61))
    assert late.lateness(NOW) is Lateness.LATE


async def test_the_page_says_what_is_late_and_what_is_unknown(pages: Pages, build: DatabaseBuilder) -> None:
    ops = Reader(pages.reader(an_operator(now=pages.now), "olga"))
    empty = words_of(await ops.open("/ops/queues"))
    assert "✓ in time : none is late." not in empty
    assert "? unknown : none is late of what is known." in empty
    assert "Processes that run jobs 0 alive ? unknown" in empty
    assert "No job has run" in empty
    await asyncio.to_thread(lambda: [build.rows(statement) for statement in (WAITING, FAILED, JOBS_RUN)])
    db: Database = pages.context.writes.db
    runs = JobRuns(db)
    runs.note("sum usage", 2.0, 124.0, "")
    runs.note("send mails", 1.0, 122.0, "StoreUnavailable")
    async with db.transaction() as tx:
        await note_job_runs(tx, runs.take())
    runs.note("send mails", 1.0, 122.0, "StoreUnavailable")
    async with db.transaction() as tx:
        await note_job_runs(tx, runs.take())
        jobs = {run.name: run for run in await read_job_runs(tx)}
        by_name = {one.queue.name: one for one in await read_queues(tx, db.clock.now())}
    assert (jobs["send mails"].failures, jobs["send mails"].fault) == (2, "StoreUnavailable")
    assert (by_name["usage_sums"].waiting, by_name["usage_sums"].lateness) == (2, Lateness.LATE)
    assert by_name["exports"].lateness is Lateness.IN_TIME
    with pages.counted() as statements:
        page = await ops.open("/ops/queues")
    assert len(statements) <= 6
    said = words_of(page)
    assert f"⚠ late : 2 of {len(QUEUES)} queues, 1 of 2 jobs." in said
    assert "Sums of usage behind the ledger ⚠ late 2 calls" in said
    assert re.search(r"Mails that were given up ⚠ late 1 mails \S+ \S+ UTC 1 d 2 h not at all operations", said)
    assert re.search(r"Processes that run jobs 1 alive ✓ in time not counted", said)
    assert re.search(r"send mails ⚠ late never 2 min 2 s 2 StoreUnavailable", said)
    runbook = await ops.open("/finance/manual/queues")
    assert 'id="usage-sums"' in runbook.text
    async with pages.reader(an_operator(Role.FINANCE_ADMIN, now=pages.now), "fred") as reads:
        assert (await reads.get("/ops/queues")).status_code == 200
