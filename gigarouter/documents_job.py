"""Issues the documents that are asked for: renders, checks, numbers and stores them (:mod:`billing.documents`).

Its tools take 200 MB and come with the extra ``finance``, so they are imported when the first document is wanted. Where
they are not installed, requests wait, and the log says so.
"""

from datetime import UTC, timedelta
from importlib.util import find_spec
from typing import Any

import msgspec
import structlog
from sqlalchemy import text

from billing.documents import store
from billing.documents.document import month_bounds
from billing.documents.drafts import SETTLED_AFTER
from billing.documents.months import list_wanted
from billing.documents.profiles import find_only_seller
from billing.periods import is_open
from billing.stripe import search
from gigarouter.stripe_jobs import StripeJobs
from router.admin.closing import ACTOR
from router.admin.documents import ask_for_all
from router.changes.transaction import transact
from router.context import RouterContext

log = structlog.get_logger("jobs")

NEEDED = ("typst", "facturx", "saxonche")
# Documents and payments of earlier releases whose words are made in one turn, as long as there are any.
WORDS_AT_MOST = 2_000
_WAITING = text("SELECT count(*) FROM document_requests WHERE state = 'waiting' AND run_after <= now()")
# So many documents, and other jobs' turns are not delayed; the next turn is seconds away.
AT_MOST = 200


class RequestMonth:
    """Asks for last month's documents of all accounts, once it has been over for an hour, where there is one seller."""

    def __init__(self, *, is_on: bool = True) -> None:
        self._is_on = is_on

    async def __call__(self, context: RouterContext) -> None:
        """One turn. What was asked for before is not asked for again, and a month that is closed has its documents."""
        now = context.db.clock.now().astimezone(UTC)
        period = (now.date().replace(day=1) - timedelta(days=1)).replace(day=1)
        if not self._is_on or now < month_bounds(period)[1] + SETTLED_AFTER:
            return
        async with context.db.transaction() as tx:
            seller = await find_only_seller(tx)
            if not seller or not await is_open(tx, period) or not await list_wanted(tx, period, seller):
                return
        requested = await transact(context.db, ACTOR, lambda work: ask_for_all(work, period, seller))
        log.info("month_requested", month=f"{period:%Y-%m}", **msgspec.structs.asdict(requested))


class IssueDocuments:
    """Issues what waits; keeps the renderer, which took seconds to make, for the next turn."""

    def __init__(self, stripe: StripeJobs | None = None) -> None:
        self._stripe = stripe or StripeJobs(None)
        self._renderer: Any = None
        self._has_words = False

    def close(self) -> None:
        """End the process that renders, if there is one."""
        if self._renderer is not None:
            self._renderer.close()

    async def __call__(self, context: RouterContext) -> None:
        """One turn."""
        if not self._has_words:
            async with context.db.transaction() as tx:
                filled = await store.fill_words(tx, WORDS_AT_MOST) + await search.fill_words(tx, WORDS_AT_MOST)
            self._has_words = filled == 0
        async with context.db.transaction() as tx:
            waiting = int(await tx.scalar(_WAITING) or 0)
        if not waiting:
            return
        if missing := [name for name in NEEDED if find_spec(name) is None]:
            log.error("documents_wait", requests=waiting, missing=missing, install="pip install '.[finance]'")
            return
        from billing.documents.issue import issue_waiting
        from billing.documents.render import Renderer

        self._renderer = self._renderer or Renderer()
        provider = self._stripe.payment_provider(context)
        if issued := await issue_waiting(context.db, self._renderer, at_most=AT_MOST, provider=provider):
            log.info("documents_decided", requests=issued)
