"""At a month's end each account gets its document, once: an invoice where its line was drawn, else a statement."""

from datetime import UTC, datetime
from typing import cast

import msgspec
import pytest
from sqlalchemy import text

from billing.documents.months import list_wanted
from gigarouter.documents_job import RequestMonth
from router.admin.documents import MonthRequested, ask_for_all
from router.changes.audit import Actor
from router.changes.transaction import UnitOfWork, transact
from router.context import RouterContext
from router.errors import InvalidRequest
from tests.builders.billed_month import an_account_with_a_month, last_month
from tests.builders.billing import Billing

pytestmark = pytest.mark.anyio
CENT = 10**7


class Context(msgspec.Struct):
    """What the job takes of its process."""

    db: object


async def requests_of(b: Billing) -> list[tuple[str, str]]:
    async with b.db.transaction() as tx:
        rows = await tx.execute(text("SELECT account_id::text, kind FROM document_requests ORDER BY 1, 2"))
        return [(account, kind) for account, kind in rows]


async def test_a_months_documents_are_requested_of_all_accounts_once(b: Billing) -> None:
    drawn = await an_account_with_a_month(b, [3 * CENT], line=10**9)
    unnamed = await an_account_with_a_month(b, [2 * CENT], line=10**9, has_profile=False)
    prepaid = await an_account_with_a_month(b, [CENT], purchased=10**9, line=10**9)
    # Nothing moved, or nobody is known to whom it would be told.
    await an_account_with_a_month(b, [])
    await an_account_with_a_month(b, [CENT], purchased=10**9, has_profile=False)
    wanted = {(str(drawn), "invoice"), (str(unnamed), "invoice"), (str(prepaid), "statement")}

    async def ask(work: UnitOfWork) -> MonthRequested:
        return await ask_for_all(work, last_month(), "")

    assert await transact(b.db, Actor("cli:ann"), ask, dry_run=True) == MonthRequested(2, 1)
    assert await requests_of(b) == []
    job, context = RequestMonth(), cast(RouterContext, Context(b.db))
    await RequestMonth(is_on=False)(context)
    assert await requests_of(b) == []
    for _ in range(2):
        await job(context)
    assert set(await requests_of(b)) == wanted
    assert await transact(b.db, Actor("cli:ann"), ask) == MonthRequested(0, 0)
    async with b.db.transaction() as tx:
        audited = list(await tx.execute(text("SELECT actor FROM audit WHERE action = 'document.request_month'")))
        assert await list_wanted(tx, last_month(), "another") != [], "another seller's are others"
    assert [actor for (actor,) in audited] == ["process:jobs", "cli:ann"]
    for refused in (
        lambda w: ask_for_all(w, datetime.now(UTC).date().replace(day=1), ""),
        lambda w: ask_for_all(w, last_month(), "none"),
    ):
        with pytest.raises(InvalidRequest):
            await transact(b.db, Actor("cli:ann"), refused)
