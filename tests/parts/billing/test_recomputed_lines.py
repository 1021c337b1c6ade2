"""An invoice line can be computed again from usage events: cost from tokens, price and hold, revenue by model."""

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from sqlalchemy import text

from billing.credits import GrantKind, list_grants
from billing.money import NanoUSD, cost_ceil
from billing.usage import UsageFilter, sum_usage
from billing.values import Hold
from store.ids import ModelId
from tests.builders.billing import an_account, billing, usage_of
from tests.builders.database import add_credit
from tests.builders.values import a_payer

MODELS = [ModelId(f"test/{name}") for name in "abc"]
GIFTS = {GrantKind.PROMOTIONAL: 1_700, GrantKind.GOODWILL: 900, GrantKind.PURCHASED: 1_000_000}
EVENTS = text("""
    SELECT entry_id, model_id, tokens, nano_per_mtok, cost_nano, held_nano, charged_nano,
        promotional_nano, goodwill_nano
    FROM usage_events ORDER BY entry_id, request_id
""")
USES = text("""
    SELECT u.entry_id, coalesce(sum(u.amount_nano) FILTER (WHERE g.kind = 'promotional'), 0) AS promotional,
        coalesce(sum(u.amount_nano) FILTER (WHERE g.kind = 'goodwill'), 0) AS goodwill
    FROM grant_uses u JOIN grants g ON g.id = u.grant_id GROUP BY 1
""")


@pytest.mark.parametrize("seed", range(4))
def test_what_each_call_paid_from_gifts_can_be_computed_again(database_url: str, redis_url: str, seed: int) -> None:
    chance = random.Random(seed)

    async def story() -> None:
        async with billing(database_url, redis_url) as b:
            account = await an_account(b.db, GIFTS[GrantKind.PURCHASED])
            async with b.db.transaction() as tx:
                await add_credit(tx, account, GIFTS[GrantKind.GOODWILL], GrantKind.GOODWILL)
                await add_credit(tx, account, GIFTS[GrantKind.PROMOTIONAL], GrantKind.PROMOTIONAL)
            holds = await asyncio.gather(*(b.admit(a_payer(account), chance.randrange(1, 90)) for _ in range(150)))
            charges = []
            for hold in holds:
                assert isinstance(hold, Hold)
                # Some answers have more tokens than the hold has room for: those calls cost what they held.
                usage = usage_of(tokens := chance.randrange(120))
                cost = NanoUSD(min(tokens, hold.quote.amount_max))
                named = msgspec.structs.replace(usage, cost=cost, model_id=chance.choice(MODELS))
                charges.append(b.charging.charge(hold, named))
            await asyncio.gather(*charges)

            async with b.db.transaction() as tx:
                events = (await tx.execute(EVENTS)).all()
                uses = {row.entry_id: row for row in await tx.execute(USES)}
                left = {grant.kind: grant.remaining for grant in await list_grants(tx, account)}
                span = UsageFilter(datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(hours=1))
                sums = await sum_usage(tx, span, ["model"])
                revenue = await tx.scalar(
                    text(
                        "SELECT sum(p.amount_nano) FROM postings p JOIN ledger_accounts l ON l.id = p.ledger_account_id"
                        " WHERE l.kind = 'revenue'"
                    )
                )
            assert all(e.cost_nano == min(cost_ceil(e.tokens, e.nano_per_mtok), e.held_nano) for e in events)
            assert any(e.cost_nano == e.held_nano < e.tokens for e in events)
            # In the order of ids the calls of an entry use promotional credit up, then goodwill, then what was sold.
            gifts = {entry: [use.promotional, use.goodwill] for entry, use in uses.items()}
            expected: Counter[str] = Counter()
            for e in events:
                promotional = min(e.charged_nano, gifts[e.entry_id][0]) if e.entry_id else 0
                goodwill = min(e.charged_nano - promotional, gifts[e.entry_id][1]) if e.entry_id else 0
                assert (e.promotional_nano, e.goodwill_nano) == (promotional, goodwill)
                gifts[e.entry_id][0] -= promotional
                gifts[e.entry_id][1] -= goodwill
                expected[e.model_id] += e.cost_nano - promotional - goodwill
            assert all(rest == [0, 0] for rest in gifts.values())
            assert {row.model_id: row.revenue for row in sums} == expected
            assert sum(expected.values()) == revenue
            assert (left[GrantKind.PROMOTIONAL], left[GrantKind.GOODWILL]) == (0, 0)

    asyncio.run(story())
