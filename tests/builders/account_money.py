"""Builds an account whose pages of money have something to show: bought and free credit, and a statement."""

import asyncio

from billing.documents.document import DocumentKind
from billing.documents.issue import issue_waiting
from billing.documents.profiles import write_profile, write_seller
from billing.documents.render import Renderer
from billing.documents.requests import request_month
from store.ids import AccountId
from store.postgres import Database
from tests.builders.billed_month import BY, last_month
from tests.builders.database import DatabaseBuilder
from tests.builders.documents import a_buyer, a_seller

HOSTILE = "<b>Acme</b> & Söhne \u202e"
BOUGHT_NANO, FREE_NANO = 7_000_000_021, 500_000_000


def an_account_with_papers(build: DatabaseBuilder) -> AccountId:
    """Its payer's name is what somebody would try."""
    account = build.an_account(BOUGHT_NANO, "Rich")
    build.a_gift(account, FREE_NANO)
    asyncio.run(_issue(build.url, account))
    return account


async def _issue(url: str, account: AccountId) -> None:
    db, renderer = Database(url), Renderer()
    try:
        async with db.transaction() as tx:
            await write_seller(tx, a_seller(), BY)
            await write_profile(tx, account, a_buyer(legal_name=HOSTILE), BY)
            await request_month(tx, DocumentKind.STATEMENT, account, last_month(), "acme", BY)
        await issue_waiting(db, renderer)
    finally:
        renderer.close()
        await db.close()
