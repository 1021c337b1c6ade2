"""An audit row has money as the API has it: decimal text in USD; so do rows that an earlier release wrote."""

from typing import Any

import pytest
from sqlalchemy import text

from billing.money import NanoUSD
from billing.values import Cap, CapPeriod
from router.admin.caps import set_account_caps
from router.changes.amounts import facts_in_usd
from router.changes.audit import Actor, list_changes
from router.changes.own_audit import OwnFilter, list_own_changes
from router.changes.transaction import transact
from store.ids import AccountId, wire
from store.postgres import Database
from tests.builders.audit_facts import FACTS
from tests.builders.database import add_account

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("action", "facts", "shown"), FACTS, ids=[action for action, _, _ in FACTS])
def test_amounts_are_text_in_usd(action: str, facts: Any, shown: Any) -> None:
    assert facts_in_usd(action, facts) == shown
    assert facts_in_usd(action, shown) == shown


async def test_new_rows_and_old_ones_read_the_same(db: Database) -> None:
    async with db.transaction() as tx:
        account = await add_account(tx, 0, "Acme")

    async def command(work: Any) -> AccountId:
        await set_account_caps(work, account, [Cap(NanoUSD(2_000_000_000), CapPeriod.DAY)])
        return account

    await transact(db, Actor("cli:ops"), command)
    async with db.transaction() as tx:
        # What a release before this one wrote.
        await tx.execute(
            text(
                "INSERT INTO audit (id, actor, action, subject, account_id, after, reason) VALUES (gen_random_uuid(),"
                " :actor, 'caps.set', :subject, :account, '{\"day\": 2000000000}', '')"
            ),
            {"subject": wire(AccountId, account), "account": account, "actor": f"key_{account.hex}"},
        )
        new, old = [one.change.after for one in await list_changes(tx, account_id=account)]
        own = await list_own_changes(tx, OwnFilter(account_id=account), before=None, most=10)
        stored = await tx.scalar(text("SELECT after::text FROM audit WHERE actor = 'cli:ops'"))
    assert new == old == {"day_usd": "2.00"}
    assert "day_usd" in str(stored)
    assert {"day_usd": "2.00"} in [one.after for one in own]
