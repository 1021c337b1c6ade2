"""The one write path: a change and its audit row are one, and neither can be undone quietly."""

import asyncio
from functools import partial

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from router.changes.audit import Actor, Change, list_changes
from router.changes.transaction import UnitOfWork, transact
from store.postgres import Database

pytestmark = pytest.mark.anyio
OPS = Actor("cli:ops")


async def add_operator(work: UnitOfWork, email: str = "ada@example.com") -> str:
    await work.connection.execute(
        text("INSERT INTO members (id, email, role) VALUES (gen_random_uuid(), :email, 'ops')"), {"email": email}
    )
    work.record_change(Change("member.add", "mem_x", after={"email": email}))
    return email


async def count(db: Database, table: str) -> int:
    async with db.transaction() as connection:
        return int((await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one())


async def test_a_change_says_who_made_it_and_what_it_was(db: Database) -> None:
    assert await transact(db, OPS, add_operator) == "ada@example.com"
    async with db.transaction() as connection:
        (row,) = await list_changes(connection)
    assert (row.actor, row.change.action, row.change.after) == ("cli:ops", "member.add", {"email": "ada@example.com"})


async def test_a_failed_command_leaves_neither_change_nor_audit_row(db: Database) -> None:
    async def fails(work: UnitOfWork) -> None:
        await add_operator(work)
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError):
        await transact(db, OPS, fails)
    assert (await count(db, "members"), await count(db, "audit")) == (0, 0)


async def test_a_dry_run_tells_the_outcome_and_leaves_nothing(db: Database) -> None:
    assert await transact(db, OPS, add_operator, dry_run=True) == "ada@example.com"
    assert (await count(db, "members"), await count(db, "audit")) == (0, 0)


async def test_a_command_that_does_not_say_what_it_changed_is_a_bug(db: Database) -> None:
    async def silent(work: UnitOfWork) -> None:
        await work.connection.execute(text("SELECT 1"))

    with pytest.raises(AssertionError, match="bug"):
        await transact(db, OPS, silent)


@pytest.mark.parametrize("statement", ["UPDATE audit SET actor = 'nobody'", "DELETE FROM audit", "TRUNCATE audit"])
@pytest.mark.parametrize("as_owner", [False, True])
async def test_the_audit_log_can_only_grow_even_for_its_owner(db: Database, statement: str, as_owner: bool) -> None:
    await transact(db, OPS, add_operator)
    owner = Database(db.url, as_owner=as_owner)
    try:
        with pytest.raises(DBAPIError, match="append-only" if as_owner else "permission denied"):
            async with owner.transaction() as connection:
                await connection.execute(text(statement))
    finally:
        await owner.close()
    assert await count(db, "audit") == 1


async def test_commands_that_deadlock_are_run_again_and_both_succeed(db: Database) -> None:
    for name in ("a", "b"):
        await transact(db, OPS, partial(add_operator, email=f"{name}@example.com"))
    both_hold_one = asyncio.Barrier(2)
    tries = 0

    async def touch(work: UnitOfWork, first: str, second: str) -> None:
        nonlocal tries
        tries += 1
        update = text("UPDATE members SET name = name || '+' WHERE email = :email")
        await work.connection.execute(update, {"email": f"{first}@example.com"})
        if tries <= 2:
            await both_hold_one.wait()
        await work.connection.execute(update, {"email": f"{second}@example.com"})
        work.record_change(Change("member.touch", "mem_x"))

    async with asyncio.TaskGroup() as group:
        group.create_task(transact(db, OPS, lambda work: touch(work, "a", "b")))
        group.create_task(transact(db, OPS, lambda work: touch(work, "b", "a")))
    async with db.transaction() as connection:
        names = (await connection.execute(text("SELECT name FROM members"))).scalars().all()
    assert (names, tries) == (["++", "++"], 3)
