"""Lists every queue and lag of the product, a row each: its name, limit, who moves it, and where it is handled.

docs/queues.md has a section on each, which a test holds to this list.
"""

from datetime import timedelta
from typing import Final

from router.queues import statements as sql
from router.queues.statements import FAILED_ONCE, rows
from router.queues.values import Queue

AT_ONCE, ALIVE, MINUTE = timedelta(0), timedelta(seconds=10), timedelta(minutes=1)
MINUTES, HOUR, DAY = timedelta(minutes=15), timedelta(hours=1), timedelta(days=1)
# Where jobs stand with their last runs.
JOBS = "/ops/queues#jobs"
PAYMENTS, BOOKS, ORDERS = "/finance/payments", "/finance/books", "/finance/document-requests"
STARTER, OPS, FINANCE = "whoever starts it", "operations", "finance"
STRIPE_JOB = "act on what Stripe says"

_PROCESSES = (
    Queue("serve", "Processes that answer calls", "", ALIVE, STARTER, JOBS, sql.process("serve")),
    Queue("jobs", "Processes that run jobs", "", ALIVE, STARTER, JOBS, sql.process("jobs")),
)
_LEDGER = (
    Queue("usage_sums", "Sums of usage behind the ledger", "calls", MINUTE, "sum usage", JOBS, sql.SUMS),
    Queue("call_log", "Log of calls behind the ledger", "calls", MINUTE, "serve", JOBS, sql.LOG),
    Queue(
        *("statistics", "Age of the statistics", "", timedelta(minutes=3), "sum statistics of endpoints", "/status"),
        sql.STATISTICS,
    ),
    Queue("seal", "Entries that are not sealed", "entries", timedelta(minutes=5), "seal the ledger", BOOKS, sql.SEAL),
    Queue(
        *("books", "Checks of the books, by the minute", "wrong", timedelta(minutes=10), "check the books", BOOKS),
        sql.books("NOT IN"),
        counts_faults=True,
    ),
    Queue(
        *("books_nightly", "Checks of all of the books", "wrong", timedelta(hours=30), "check all of the books", BOOKS),
        sql.books("IN"),
        counts_faults=True,
    ),
    Queue("months", "Months that are being closed", "months", HOUR, "close months", "/finance/close", sql.MONTHS),
)
_SERVING = (
    Queue("probes", "Endpoints due to be verified", "endpoints", MINUTES, "probe endpoints", "/ops/spaces", sql.PROBES),
    Queue(
        *("evidence", "Evidence about licenses", "pieces", timedelta(days=3), OPS, "/ops/licenses"),
        rows("license_evidence", "state = 'open'", "sent_at"),
    ),
    Queue("launch_mails", "Mails that wait for a launch", "mails", None, "a launch", "/ops/votes", sql.LAUNCHES),
)
_MESSAGES = (
    Queue(
        *("mails", "Mails that wait", "mails", MINUTES, "send mails", JOBS),
        rows("mails", "state = 'waiting'", "created_at", FAILED_ONCE),
    ),
    Queue(
        *("mails_failed", "Mails that were given up", "mails", AT_ONCE, OPS, JOBS),
        rows("mails", "state = 'failed'", "created_at"),
    ),
    Queue(
        *("webhooks", "Deliveries to customers' webhooks", "deliveries", HOUR, "send webhooks", JOBS),
        rows("webhook_deliveries", "state = 'waiting'", "created_at", sql.GIVEN_UP),
    ),
)
_PAYMENTS = (
    Queue("stripe", "What Stripe said and nobody acted on", "objects", MINUTES, STRIPE_JOB, PAYMENTS, sql.STRIPE),
    Queue("recharges", "Recharges to look at", "recharges", MINUTES, "recharge accounts", PAYMENTS, sql.RECHARGES),
    Queue(
        *("refunds", "Refunds under way", "refunds", DAY, STRIPE_JOB, "/finance/refunds"),
        rows("refunds", "status IN ('requested', 'taken', 'sent')", "created_at"),
    ),
    Queue(
        *("reviews", "Payments that need a person", "payments", DAY, FINANCE, "/finance/reviews"),
        rows("payment_reviews", "resolved_at IS NULL", "opened_at"),
    ),
    Queue(
        *("meters", "Days that Stripe's meters lack", "days", HOUR, "tell Stripe's meters of mirrored usage", JOBS),
        sql.METERS,
    ),
)
_FINANCE = (
    Queue(
        *("documents", "Documents to issue", "documents", MINUTES, "issue documents", ORDERS),
        rows("document_requests", "state = 'waiting'", "created_at"),
    ),
    Queue(
        *("documents_refused", "Documents that were refused", "documents", AT_ONCE, FINANCE, ORDERS),
        rows("document_requests", "state = 'refused'", "created_at"),
    ),
    Queue("exports", "Exports that wait or run", "exports", HOUR, "write exports", "/finance/exports", sql.EXPORTS),
    Queue(
        *("reconciliations", "Comparisons that wait", "comparisons", HOUR, "reconcile with providers"),
        "/finance/reconciliations",
        rows("reconciliations", "state = 'queued'", "requested_at"),
    ),
    Queue(
        *("differences", "Differences that nobody explained", "differences", timedelta(days=7), FINANCE),
        "/finance/differences",
        sql.DIFFERENCES,
    ),
    Queue(
        *("proposals", "Proposals for a second person", "proposals", DAY, "a second person", "/ops"),
        rows("proposals", "state = 'open' AND expires_at > now()", "proposed_at"),
    ),
    Queue(
        "closings", "Accounts that are being closed", "accounts", DAY, "close accounts", "/ops/accounts", sql.CLOSINGS
    ),
)
QUEUES: Final[tuple[Queue, ...]] = (*_PROCESSES, *_LEDGER, *_SERVING, *_MESSAGES, *_PAYMENTS, *_FINANCE)
