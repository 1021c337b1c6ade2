"""Whom another price touches: the dry run, the list, the page and the command line's answer have the same figures."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from billing.contracts.store import NewTerm
from billing.rollups.fill import add_before, add_pending
from router.admin.prices import set_price
from router.identity.members import Role
from router.registry.indexes import SANDBOX_PROVIDER
from store.ids import AccountId, ModelId, new_id, wire
from store.postgres import Database
from tests.builders.contracts import a_past_contract
from tests.builders.database import DatabaseBuilder
from tests.harness.pages import Pages, an_operator
from tests.harness.reading import Reader, words_of

pytestmark = pytest.mark.anyio

MODEL = ModelId("tests/touched")
CHARGE = """
WITH ended AS (INSERT INTO ended_calls (request_id, outcome, account_id, occurred_at) VALUES ($1, 'charged', $3, $2))
INSERT INTO usage_events (request_id, occurred_at, account_id, key_id, model_id, provider_id, endpoint_id, space,
    inputs, tokens, price_id, nano_per_mtok, cost_nano, charged_nano, overdraft_nano, held_nano, provider_cost_nano,
    latency_ms, attempts)
VALUES ($1, $2, $3, $1, $4, $5, $1, 's', 1, $6, $7, $8, $9, $9, 0, $9, 0, 90, 1)
"""


class Used:
    """Accounts that used one model: at the list price, with a percentage off, at their own price, long ago."""

    def __init__(self, build: DatabaseBuilder) -> None:
        build.a_model(MODEL)
        build.an_endpoint(MODEL, "http://127.0.0.1:1", name="near", cost_nano_per_mtok=4_000_000)
        [row] = build.rows("SELECT id, provider_id FROM endpoints WHERE model_id = $1", MODEL)
        self.endpoint, self.provider = row["id"], row["provider_id"]
        price = build.as_app(lambda work: set_price(work, MODEL, 10_000_000, batch_nano_per_mtok=5_000_000))
        self.accounts = {name: build.an_account(0, name) for name in ("listed", "less", "agreed", "gone")}
        now = datetime.now(UTC)
        for number in range(12):
            for name, account in self.accounts.items():
                at = now - (timedelta(days=31) if name == "gone" else timedelta(hours=11 * number))
                lane = price.batch_nano_per_mtok if name == "listed" and number % 3 == 0 else price.nano_per_mtok
                request = new_id(at)
                paid = 1_000 * (lane or 0) // 1_000_000
                build.rows(CHARGE, request, at, account, MODEL, self.provider, 1_000, price.id, lane, paid)
            # A test key's, which costs nothing at any price.
            build.rows(
                CHARGE, new_id(now), now, self.accounts["listed"], MODEL, SANDBOX_PROVIDER, 9_999, price.id, 0, 0
            )


@pytest.fixture(scope="module")
def used(build: DatabaseBuilder) -> Used:
    return Used(build)


@pytest.fixture
async def contracts(pages: Pages, used: Used) -> AsyncIterator[None]:
    db, since = Database(pages.context.writes.db.url), datetime.now(UTC) - timedelta(days=40)
    async with db.transaction() as tx:
        have = await tx.exec_driver_sql("SELECT count(*) FROM contracts")
        is_new = have.scalar_one() == 0
    if is_new:
        await a_past_contract(db, used.accounts["less"], since, NewTerm(None, percent_off=5_000))
        await a_past_contract(db, used.accounts["agreed"], since, NewTerm(MODEL, 7_000_000))
        await add_pending(db)
        await add_before(db, within_s=60)
    yield
    await db.close()


async def test_a_price_says_whom_it_touches_before_it_is_set(pages: Pages, used: Used, contracts: None) -> None:
    del contracts
    finance = Reader(pages.reader(an_operator(Role.FINANCE_ADMIN, now=pages.now)))
    form = await finance.open(f"/ops/prices/new?model={MODEL}")
    proposed = await finance.send(form, usd_per_mtok="0.02", batch_usd_per_mtok="0.015")
    seen = words_of(proposed)
    # 8,000 tokens at 0.01 and 4,000 at 0.005, then at 0.02 and 0.015; 12,000 at half of 0.01, then of 0.02.
    assert "2 accounts, 24 calls, 24,000 tokens. USD 0.00016 now, 0.00034 then, a difference of 0.00018" in seen
    assert "listed 12 12,000 0.0001 0.0001 0.00022 0.00012" in seen
    assert "less 12 12,000 0.00012 0.00006 0.00012 0.00006" in seen
    assert "1 more account is not touched, since a contract says the price: 12 calls, USD 0.00012" in seen
    assert "gone" not in seen
    assert "near draft 0.004 0.006 0.016" in seen or "near live 0.004 0.006 0.016" in seen
    assert f'href="/ops/accounts/{wire(AccountId, used.accounts["listed"])}"' in proposed.text
    # The list by itself has the same rows, and a price that touches nobody says so.
    listed = await finance.open(f"/ops/prices/impact?model={MODEL}&usd_per_mtok=0.02&batch_usd_per_mtok=0.015")
    with pages.counted() as statements:
        listed = await finance.open(str(listed.url))
    assert "listed 12 12,000 0.0001 0.0001 0.00022 0.00012" in words_of(listed)
    assert len([one for one in statements if "set_config" not in one]) <= 6
    assert "aria-invalid" in (await finance.open(f"/ops/prices/impact?model={MODEL}&usd_per_mtok=x", 400)).text
    # Set, its answer says nothing of whom: only a dry run asks.
    assert "It is done" in words_of(await finance.confirm(proposed))


async def test_a_cost_says_whose_calls_it_touches_and_what_is_left(pages: Pages, used: Used, contracts: None) -> None:
    del contracts
    ops = Reader(pages.reader(an_operator(now=pages.now)))
    endpoint = f"/ops/endpoints/ep_{used.endpoint.hex}"
    form = await ops.open(f"{endpoint}/edit")
    seen = words_of(await ops.send(form, cost_usd_per_mtok="0.03"))
    assert "3 accounts, 36 calls, 36,000 tokens. USD 0.000144 now, 0.00108 then, a difference of 0.000936" in seen
    assert "below cost" in seen
    assert "Whom it touches" not in words_of(await ops.send(form, priority="7"))
