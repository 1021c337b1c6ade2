"""All 720 orders of six events of one payment, which is refunded in part by hand, disputed and lost.

What is done about an event depends on what our rows are by then and on what Stripe says, and Stripe has said it all. So
the states that the rows can be in are found, with what each event makes of each of them; every order is a way through.
"""

import asyncio
import itertools
from typing import TypeAlias

import msgspec

from store.ids import AccountId
from tests.builders.billing import an_account
from tests.builders.stripe import Payments, payments
from tests.harness.stripe_world import Json

EVENTS = (
    "checkout.session.completed",
    "payment_intent.succeeded",
    "charge.succeeded",
    "refund.created",
    "charge.dispute.created",
    "charge.dispute.closed",
)
# All that is kept of a payment, without what differs between two of them: ids and instants.
STATE = """
SELECT 'topup', status, paid_cents::text, (intent_id IS NULL)::text, (charge_id IS NULL)::text FROM topups
    WHERE account_id = '{account}'
UNION ALL SELECT 'refund', status, credit_cents::text, tax_cents::text, (refund_id IS NULL)::text FROM refunds
    WHERE account_id = '{account}'
UNION ALL SELECT 'dispute', status, credit_cents::text, amount_cents::text, '' FROM disputes
    WHERE account_id = '{account}'
UNION ALL SELECT 'grant', kind, amount_nano::text, remaining_nano::text, '' FROM grants WHERE account_id = '{account}'
UNION ALL SELECT 'moved', type, net_cents::text, (booked_at IS NULL)::text, '' FROM stripe_transactions
    WHERE source = ANY('{objects}')
UNION ALL SELECT 'review', cause, left(subject, position(':' in subject)), '', '' FROM payment_reviews
    WHERE account_id = '{account}' OR split_part(subject, ':', 2) = ANY('{objects}')
UNION ALL SELECT 'ledger', l.kind, sum(p.amount_nano)::text, '', '' FROM entries e JOIN postings p ON p.entry_id = e.id
    JOIN ledger_accounts l ON l.id = p.ledger_account_id WHERE e.account_id = '{account}' GROUP BY l.kind
ORDER BY 1, 2, 3, 4, 5
"""
State: TypeAlias = tuple[tuple[object, ...], ...]
_numbers = itertools.count(1)


class Case(msgspec.Struct):
    """A payment at Stripe with all that came of it, of which we were told nothing yet."""

    account: AccountId
    events: dict[str, Json]

    async def hear(self, p: Payments, name: str) -> State:
        """Hear of it, however often it was heard of before, and act; what our rows are then."""
        await p.hear([{**self.events[name], "id": f"evt_again_{next(_numbers)}"}])
        return await self.state(p)

    async def state(self, p: Payments) -> State:
        objects = "{" + ",".join(event["data"]["object"]["id"] for event in self.events.values()) + "}"
        return tuple(await p.rows(STATE.format(account=self.account, objects=objects)))


async def a_case(p: Payments) -> Case:
    account = await an_account(p.db, 0)
    topup = await p.open(account, 1_000)
    first = len(p.world.events)
    session = p.world.pay(str(topup.session_id))
    charge = p.world.find("payment_intent", session["payment_intent"])["latest_charge"]
    p.world.refund_by_hand(charge, 300)
    p.world.close_dispute(p.world.dispute(charge)["id"], won=False)
    return Case(account, {one["type"]: one for one in p.world.events[first:]})


async def explore(p: Payments) -> tuple[State, dict[State, dict[str, State]]]:
    """The first state, and what each event makes of each state that can be reached."""
    start = await (await a_case(p)).state(p)
    graph: dict[State, dict[str, State]] = {start: {}}
    ways: dict[State, tuple[str, ...]] = {start: ()}
    while (state := next((one for one, known in graph.items() if len(known) < len(EVENTS)), None)) is not None:
        case = await a_case(p)
        for name in ways[state]:
            await case.hear(p, name)
        assert await case.state(p) == state, "the same events in the same order lead to the same rows"
        way = ways[state]
        while missing := [name for name in EVENTS if name not in graph[state]]:
            after = await case.hear(p, missing[0])
            graph[state][missing[0]] = after
            way = (*way, missing[0]) if after != state else way
            ways.setdefault(after, way)
            graph.setdefault(after, {})
            state = after
    return start, graph


def test_all_orders_of_six_events_lead_to_the_same_books(database_url: str, redis_url: str) -> None:
    async def running() -> None:
        async with payments(database_url, redis_url) as p:
            start, graph = await explore(p)
            ends: set[State] = set()
            for order in itertools.permutations(EVENTS):
                state = start
                for name in order:
                    state = graph[state][name]
                ends.add(state)
            (end,) = ends
            assert set(graph[end].values()) == {end}
            facts = {row[:3] for row in end}
            assert facts >= {
                ("topup", "paid", "1000"),
                ("refund", "succeeded", "300"),
                ("dispute", "lost", "700"),
                ("grant", "purchased", "10000000000"),
            }
            left = await p.rows("SELECT sum(remaining_nano)::bigint FROM grants")
            owed = await p.rows("SELECT posted_nano FROM ledger_accounts WHERE kind = 'customer_overdraft'")
            assert (left, {row[0] for row in owed} - {None}) == ([(0,)], {0})
            await p.assert_right()

    asyncio.run(running())
