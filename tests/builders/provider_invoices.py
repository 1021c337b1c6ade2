"""Builds a provider with a call of today, and an invoice of it that has a line which nothing explains."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import msgspec
from sqlalchemy import text

from billing.money import NanoUSD
from billing.reconciliation.invoices import ProviderInvoice, list_invoices
from billing.values import Hold
from router.admin.provider_invoices import Import, import_invoice, pay, settle, store_map
from router.changes.transaction import transact
from router.errors import Conflict
from store.ids import AccountId, ProviderId
from store.postgres import Database
from tests.builders.billing import Billing, usage_of
from tests.builders.database import ACTOR
from tests.builders.values import a_payer

MAP = '[columns]\nday = "day"\nmodel = "model"\namount = "usd"\n'


async def a_billed_provider(b: Billing, account: AccountId, cost: int, billed: int) -> Import:
    """A call costs ``cost`` nano-USD at a new provider, which bills ``billed`` for a model that we do not know."""
    provider, today = ProviderId(uuid4()), datetime.now(UTC).date()
    owner = Database(b.db.url, as_owner=True)
    async with owner.transaction() as tx:
        facts = {"id": provider, "name": f"p-{provider.hex[:12]}"}
        await tx.execute(text("INSERT INTO providers (id, name, kind) VALUES (:id, :name, 'sandbox')"), facts)
    await owner.close()
    await transact(b.db, ACTOR, lambda work: store_map(work, provider, MAP))
    hold = await b.admit(a_payer(account), 1)
    assert isinstance(hold, Hold), hold
    usage = msgspec.structs.replace(usage_of(1), provider_id=provider, provider_cost=NanoUSD(cost))
    await b.charging.charge(hold, usage)
    await b.settle()
    content = f"day,model,usd\n{today},unknown,{billed / 10**9:.9f}\n".encode()
    return Import(provider, "R-1", today, today + timedelta(days=1), NanoUSD(billed), content)


async def file_and_pay(db: Database, order: Import) -> None:
    """Import the invoice, settle it with a reason, and record its payment; what was done before is refused."""
    with suppress(Conflict):
        await transact(db, ACTOR, lambda work: import_invoice(work, order))
    invoice = await filed(db, order)
    with suppress(Conflict):
        await transact(db, ACTOR, lambda work: settle(work, invoice.id, "known"))
    with suppress(Conflict):
        await transact(db, ACTOR, lambda work: pay(work, invoice.id, "wire"))


async def filed(db: Database, order: Import) -> ProviderInvoice:
    """The invoice of a provider, which has one."""
    async with db.transaction() as tx:
        [invoice] = await list_invoices(tx, order.provider_id, None, 9)
    return invoice
