"""An alert is raised once, with the mail and the deliveries that tell of it, whoever looks and whoever dies."""

import asyncio

from sqlalchemy import text

from billing.alerts.budgets import BudgetSpec, add_budget
from billing.alerts.raising import raise_due
from billing.alerts.webhooks import add_webhook
from billing.money import NanoUSD
from billing.values import CapPeriod, Hold
from store.ids import AccountId, WebhookId, new_id
from store.postgres import Database
from tests.builders.billing import an_account, billing
from tests.builders.values import a_payer
from tests.harness.crashes import Dies

WRITTEN = text("""
    SELECT (SELECT count(*) FROM spend_alerts WHERE account_id = :account) AS alerts,
        (SELECT count(*) FROM mails WHERE account_id = :account) AS mails,
        (SELECT count(*) FROM webhook_deliveries d JOIN webhooks w ON w.id = d.webhook_id
            WHERE w.account_id = :account) AS deliveries
""")


async def written(db: Database, account: AccountId) -> tuple[int, int, int]:
    async with db.transaction() as tx:
        row = (await tx.execute(WRITTEN, {"account": account})).one()
        return row.alerts, row.mails, row.deliveries


def test_an_alert_is_written_once_by_processes_at_once_and_whole_by_one_that_dies_at_any_await(
    database_url: str, redis_url: str
) -> None:
    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await an_account(b.db, 10_000)
            hold = await b.admit(a_payer(account), 100)
            assert isinstance(hold, Hold)
            await b.charge(hold, 100)
            async with b.db.transaction() as tx:
                for _ in range(2):
                    await add_webhook(tx, account, WebhookId(new_id()), "https://example.com", b"sealed", "tests")
            amounts = 0
            dies_after, whole = 0, False
            # Each round has a budget of its own, at half of which alone it is; the last round comes to its end.
            while not whole:
                amounts += 1
                dies_after += 1
                async with b.db.transaction() as tx:
                    spec = BudgetSpec("tests", CapPeriod.TOTAL, NanoUSD(200 - amounts))
                    await add_budget(tx, account, spec, "tests")
                whole = await Dies(dies_after).run(raise_due(b.db, b.db.clock.now()))
                alerts, mails, deliveries = await written(b.db, account)
                assert (mails, deliveries) == (alerts, 2 * alerts), f"it died after {dies_after} awaits"
                raised = await asyncio.gather(*(raise_due(b.db, b.db.clock.now()) for _ in range(4)))
                assert await written(b.db, account) == (amounts, amounts, 2 * amounts)
                assert sum(raised) <= 1
            assert amounts > 10, "it has that many awaits"

    asyncio.run(story())
