"""What an attempt may become, and what is done about its invoice: as tables, and as the database enforces them."""

import asyncio

import pytest
from sqlalchemy import TextClause, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.stripe.recharge_rules import MOVES, UNDER_WAY, RechargeStatus, Step, next_step
from tests.builders.billing import an_account
from tests.builders.stripe import payments

# status | tries | due | wanted | what is done about an invoice that is open
STEPS = """
new        | 0 | yes | yes | pay
open       | 0 | yes | yes | pay
open       | 0 | yes | no  | cancel
declined   | 1 | no  | yes | wait
declined   | 1 | yes | yes | pay
declined   | 2 | no  | no  | cancel
declined   | 3 | no  | yes | give_up
declined   | 3 | no  | no  | give_up
action     | 0 | no  | yes | wait
action     | 0 | no  | no  | cancel
action     | 1 | yes | yes | give_up
processing | 0 | yes | no  | wait
"""


@pytest.mark.parametrize("line", STEPS.strip().splitlines())
def test_what_is_done_next_is_this_table(line: str) -> None:
    status, tries, due, wanted, expected = (cell.strip() for cell in line.split("|"))
    step = next_step(RechargeStatus(status), tries=int(tries), is_due=due == "yes", is_wanted=wanted == "yes")
    assert step is Step(expected)


ORDER = text("""
    INSERT INTO topups (id, account_id, idempotency_key, amount_cents, save_card, is_recharge, actor)
    SELECT id, :account, id::text, 2500, false, true, 'tests' FROM (SELECT gen_random_uuid() AS id) new RETURNING id
""")
ATTEMPT = text("""
    INSERT INTO recharges (topup_id, account_id, rule_version, credit_nano, status)
    VALUES (:id, :account, 1, 0, :status)
""")
MOVE = text("UPDATE recharges SET status = :status WHERE topup_id = :id")


async def is_taken(tx: AsyncConnection, *statements: tuple[TextClause, dict[str, object]]) -> bool:
    """Whether the database takes these; none of it stays."""
    savepoint = await tx.begin_nested()
    try:
        for statement, facts in statements:
            await tx.execute(statement, facts)
    except DBAPIError:
        return False
    finally:
        await savepoint.rollback()
    return True


def test_the_database_has_the_moves_of_the_rules_and_one_attempt_under_way(database_url: str, redis_url: str) -> None:
    async def running() -> None:
        async with payments(database_url, redis_url) as p:
            account = await an_account(p.db, 0)
            await p.save(account, 3_000)
            await p.consent(account, 1_000, 2_500, 6_000)
            async with p.db.transaction() as tx:
                one, other = [(await tx.execute(ORDER, {"account": account})).scalar_one() for _ in range(2)]
                facts = {"id": one, "account": account}
                for before in RechargeStatus:
                    begun = (ATTEMPT, {**facts, "status": before.value})
                    moves = {
                        after
                        for after in RechargeStatus
                        if after is not before and await is_taken(tx, begun, (MOVE, {"id": one, "status": after.value}))
                    }
                    assert moves == MOVES[before], before
                    is_second_taken = await is_taken(tx, begun, (ATTEMPT, {**facts, "id": other, "status": "new"}))
                    assert is_second_taken == (before not in UNDER_WAY), before

    asyncio.run(running())
