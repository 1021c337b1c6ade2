"""What happens in the product is mailed to whom it concerns, once, in the transaction in which it happens."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from billing import books
from billing.low_credit import notify_low
from catalog import launch_mails, models, votes
from catalog.values import Status
from router.admin.launch import launch_model, move_model
from router.admin.model_impact import measure_move
from router.admin.prices import set_price
from router.changes.audit import Actor
from router.changes.transaction import UnitOfWork, transact
from router.identity.key_commands import create_key, revoke_key, rotate_key
from router.identity.key_endings import notify_ending
from router.identity.key_views import KeySpec
from router.identity.members import Role, add_member
from router.registry.endpoints import list_endpoints, move_endpoint
from router.registry.specs import EndpointSpec, ProviderSpec
from router.values import EndpointState, QuarantineCause
from store.ids import AccountId, MemberId, wire
from store.postgres import Database
from tests.builders.database import add_account, add_credit, add_endpoint, add_model, make_live

pytestmark = pytest.mark.anyio

HOUSE = Actor("cli:test")
MAILS = text("SELECT kind, coalesce(staff, '') AS staff, account_id, facts FROM mails ORDER BY created_at, id")


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url, as_owner=True)
    yield database
    await database.close()


async def mails(db: Database) -> list[Any]:
    async with db.transaction() as tx:
        return list((await tx.execute(MAILS)).all())


async def test_what_happens_to_a_key_is_mailed_and_who_did_it_is_named(db: Database) -> None:
    async def open_account(work: UnitOfWork) -> Actor:
        account = await add_account(work.connection, 0)
        member = await add_member(work, account, "ann@customer.example", Role.OWNER)
        await create_key(work, account, KeySpec(name="by the house"))
        return Actor(wire(MemberId, MemberId(member.id)))

    async def by_ann(work: UnitOfWork) -> None:
        account = (await work.connection.execute(text("SELECT id FROM accounts"))).scalar_one()
        soon = work.now + timedelta(days=20)
        made = await create_key(work, account, KeySpec(name="nightly", expires_at=soon))
        await rotate_key(work, made.view.id, timedelta(hours=1))
        await rotate_key(work, made.view.id, timedelta())
        revoked = await create_key(work, account, KeySpec(name="quiet"), is_mailed=False)
        await revoke_key(work, revoked.view.id)

    async def by_us(work: UnitOfWork) -> None:
        key = (await work.connection.execute(text("SELECT id FROM keys WHERE name = 'by the house'"))).scalar_one()
        await revoke_key(work, key)

    ann = await transact(db, HOUSE, open_account)
    await transact(db, ann, by_ann)
    await transact(db, HOUSE, by_us, dry_run=True)
    await transact(db, HOUSE, by_us)
    now = db.clock.now()
    for day in (1, 5, 7, 8, 18, 19, 19, 20):
        await notify_ending(db, now + timedelta(days=day, hours=1))
    found = await mails(db)
    assert [row.kind for row in found] == [
        "key_created",
        "key_created",
        "key_rotated",
        "key_rotated",
        "key_revoked",
        "key_expiring",
        "key_expiring",
    ]
    assert [row.facts.get("by") for row in found[:4]] == ["gigarouter", *["ann@customer.example"] * 3]
    assert [bool(row.facts["old_until"]) for row in found[2:4]] == [True, False]
    assert all("…" in row.facts["prefix"] for row in found), "no mail has a secret"


async def test_a_launch_is_mailed_to_who_chose_it_and_an_endpoint_that_fell_out_to_ops(db: Database) -> None:
    async def prepare(work: UnitOfWork) -> None:
        model = await add_model(work.connection, "tests/small", nano_per_mtok=8_000_000, batch_nano_per_mtok=4_000_000)
        endpoint, spec = EndpointSpec(upstream_model=model), ProviderSpec(base_url="https://up.example")
        await add_endpoint(work, None, model, "alpha", "sandbox", spec, endpoint)
        for number in range(2):
            voter = await add_account(work.connection, 0, name=f"voter {number}")
            await launch_mails.choose(work.connection, model, voter)
        await votes.vote(work.connection, model, await add_account(work.connection, 0, name="no mail, please"))
        await add_account(work.connection, 0, name="nobody")
        before = await models.get(work.connection, model)
        impact = await measure_move(work.connection, before, Status.LIVE, work.now)
        assert {user.account_name for user in impact.users if user.is_mailed} == {"voter 0", "voter 1"}
        await launch_model(work, model)

    async def fall(work: UnitOfWork) -> None:
        [view] = await list_endpoints(work.connection)
        for _ in range(2):
            cause = QuarantineCause.CREDENTIAL_REFUSED
            await move_endpoint(work, view.endpoint.id, EndpointState.QUARANTINED, "401 from upstream", cause=cause)
            await move_endpoint(work, view.endpoint.id, EndpointState.PROBING)
            await move_endpoint(work, view.endpoint.id, EndpointState.LIVE)

    await transact(db, HOUSE, prepare)
    await transact(db, HOUSE, fall)
    found = await mails(db)
    assert [row.kind for row in found] == ["model_launched", "model_launched", "provider_down"]
    assert (found[0].facts["price_usd"], found[0].facts["batch_price_usd"]) == ("0.008", "0.004")
    assert len({row.account_id for row in found[:2]} - {None}) == 2
    assert (found[2].staff, found[2].facts["provider"], found[2].facts["reason"]) == (
        "ops",
        "alpha",
        "401 from upstream",
    )


COLUMNS = text("""
    SELECT column_name AS name, data_type AS type FROM information_schema.columns WHERE table_name = 'usage_by_day'
""")
FILLERS = {"bigint": "0", "uuid": "gen_random_uuid()", "text": "''", "timestamp with time zone": "now()"}


async def use(work: UnitOfWork, account: AccountId, model: str) -> None:
    """The account has called the model today."""
    columns = {row.name: FILLERS[row.type] for row in await work.connection.execute(COLUMNS)}
    columns |= {"account_id": f"'{account}'", "model_id": f"'{model}'"}
    await work.connection.execute(
        text(f"INSERT INTO usage_by_day ({', '.join(columns)}) VALUES ({', '.join(columns.values())})")
    )


async def test_who_uses_a_model_is_mailed_its_new_prices_and_its_end(db: Database) -> None:
    async def story(work: UnitOfWork) -> None:
        model = await add_model(work.connection, "tests/small", nano_per_mtok=8_000_000)
        await make_live(work.connection, model)
        user, _ = await add_account(work.connection, 0, name="user"), await add_account(work.connection, 0)
        await use(work, user, model)
        await set_price(work, model, 9_000_000, work.now + timedelta(days=30), batch_nano_per_mtok=8_000_000)
        await move_model(work, model, Status.DEPRECATED, reason="a better one")
        await move_model(work, model, Status.RETIRED, reason="a better one")

    await transact(db, HOUSE, story)
    found = await mails(db)
    assert [(row.kind, row.facts.get("lane"), row.facts.get("after_usd")) for row in found] == [
        ("price_change", "standard", "0.009"),
        ("model_retiring", None, None),
        ("model_retiring", None, None),
    ]
    assert [bool(row.facts["at"]) for row in found] == [True, False, True]
    assert len({row.account_id for row in found}) == 1


async def test_credit_that_is_low_is_mailed_once_for_each_credit_to_who_spends(db: Database) -> None:
    async with db.transaction() as tx:
        spender, idle = await add_account(tx, 10_000_000_000), await add_account(tx, 10_000_000_000)
        spent = text("INSERT INTO key_spend (account_id, key_id, period, spent_nano) VALUES (:id, :key, :month, 1)")
        month = f"{db.clock.now():%Y-%m}"
        await tx.execute(spent, {"id": spender, "key": spender, "month": month})
        await tx.execute(text("UPDATE grants SET remaining_nano = 2000000000"))
    assert await notify_low(db, db.clock.now()) == 0, "a fifth is left"
    for left in (1_999_999_999, 1, 0):
        async with db.transaction() as tx:
            await tx.execute(text("UPDATE grants SET remaining_nano = :left"), {"left": left})
        await notify_low(db, db.clock.now())
    async with db.transaction() as tx:
        await add_credit(tx, spender, 1_000_000_000)
        await tx.execute(text("UPDATE grants SET remaining_nano = 0"))
    assert [await notify_low(db, db.clock.now()) for _ in range(2)] == [1, 0]
    found = await mails(db)
    assert [(row.kind, row.account_id, row.facts["left_usd"]) for row in found] == [
        ("balance_low", spender, "1.999999999"),
        ("balance_low", spender, "0.00"),
    ]
    assert idle != spender


async def test_a_check_that_found_something_is_mailed_to_finance_once_a_day(db: Database) -> None:
    checks = list(books.Check)
    async with db.transaction() as tx:
        for _ in range(3):
            await books.record(tx, [books.Finding(checks[0], 3, "three"), books.Finding(checks[1], 0, "")])
    [row] = await mails(db)
    assert (row.kind, row.staff, row.facts["check"], row.facts["wrong"]) == (
        "check_failed",
        "finance",
        checks[0].value,
        3,
    )
