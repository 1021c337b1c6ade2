"""A process that dies at any await of issuing leaves no gap, and nothing is issued or booked twice."""

import asyncio
import random

import pytest
from sqlalchemy import text

from billing.documents.document import DocumentKind
from billing.documents.issue import issue
from billing.documents.render import Renderer
from billing.documents.requests import DocumentRequest, request_month
from billing.documents.store import list_documents
from billing.documents.verify import verify
from tests.builders.billed_month import BY, add_seller, an_account_with_a_month, last_month, make_month
from tests.builders.billing import Billing, billing
from tests.harness.crashes import Dies

# Every other await is tried, beginning with the first or the second.
STEP = 2


@pytest.fixture
def randomly_first() -> int:
    """The first await that is tried; the order's seed repeats it."""
    return random.choice([1, 2])


async def an_invoice_request(b: Billing) -> DocumentRequest:
    account = await an_account_with_a_month(b, [12_345_678], line=10**9)
    async with b.db.transaction() as tx:
        return await request_month(tx, DocumentKind.INVOICE, account, last_month(), "acme", BY)


def test_numbers_have_no_gap_and_nothing_is_there_twice(
    database_url: str, redis_url: str, renderer: Renderer, randomly_first: int
) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            await make_month(b.db)
            await add_seller(b.db)
            after, deaths, issued = randomly_first, 0, False
            while not issued:
                request = await an_invoice_request(b)
                issued = await Dies(after).run(issue(b.db, renderer, request))
                deaths, after = deaths + (not issued), after + STEP
                await issue(b.db, renderer, request)
                await issue(b.db, renderer, request)
                async with b.db.transaction() as tx:
                    [stored] = await list_documents(tx, account_id=request.account_id)
                    assert (await verify(tx, stored)).faults == ()
            assert deaths > 10
            async with b.db.transaction() as tx:
                documents, last = (
                    await tx.execute(text("SELECT count(*), max(number) FROM documents WHERE kind = 'invoice'"))
                ).one()
            assert documents == last == deaths + 1
            await b.assert_books_are_right()

    asyncio.run(story())
