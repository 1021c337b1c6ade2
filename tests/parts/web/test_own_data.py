"""An owner takes all that the account has, as one archive, and closes the account, seeing first what that does."""

import asyncio
import csv
import io
import json
import zipfile

import pytest
from pydantic import SecretStr

from billing.exports import run
from gigarouter.settings import Settings
from mail.kinds import OwnDataReady
from router.admin import own_data
from router.admin.closing import finish
from router.changes.transaction import UnitOfWork
from router.identity.key_commands import create_key
from router.identity.key_views import KeySpec
from router.identity.members import Role, add_member
from router.identity.people.values import OpenView
from store.ids import AccountId, AccountViewId, new_id, wire
from tests.builders.account_money import an_account_with_papers
from tests.builders.database import DatabaseBuilder
from tests.builders.mails import Inbox
from tests.harness.pages import Pages, a_member, an_operator
from tests.harness.reading import Reader, form_of, words_of

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def settings(build: DatabaseBuilder, secret_key: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("exports")
    return Settings(database_url=SecretStr(build.url), secret_keys=[SecretStr(secret_key)], exports_dir=folder)


@pytest.fixture(scope="module")
def rich(build: DatabaseBuilder) -> AccountId:
    account = an_account_with_papers(build)

    async def fill(work: UnitOfWork) -> str:
        await add_member(work, account, "ann@acme.example", Role.OWNER)
        return (await create_key(work, account, KeySpec("=1+1"))).text

    build.as_owner(fill)
    return account


async def test_one_archive_has_all_of_the_account_and_no_secret(pages: Pages, rich: AccountId) -> None:
    base = f"/accounts/{wire(AccountId, rich)}/data"
    owner = Reader(pages.reader(a_member(rich, now=pages.now)))
    ordered = await owner.send(await owner.open(base), status=303)
    page = await owner.open(ordered.headers["location"])
    assert "queued" in words_of(page)
    assert "Order an archive" not in words_of(page)
    assert await run.run_next(pages.context.writes.db, pages.context.reads.exports, own_data.OwnData())
    # Twice would be two runs of one export; the second has nothing to do.
    assert not await run.run_next(pages.context.writes.db, pages.context.reads.exports, own_data.OwnData())
    mails = [mail for _, mail in await Inbox(pages.context.writes.db).all()]
    ready = [mail for mail in mails if isinstance(mail, OwnDataReady)][-1]
    page = await owner.open(base)
    assert f"{ready.until:%Y-%m-%dT%H:%M}" in page.text
    [link] = [part.partition('"')[0] for part in page.text.split('href="') if part.startswith(base + "/export_")]
    file = await owner.open(link)
    assert file.headers["cache-control"] == "no-store"
    archive = zipfile.ZipFile(io.BytesIO(file.content))
    tables = {
        name.removesuffix(".csv"): list(csv.DictReader(io.StringIO(archive.read(name).decode())))
        for name in archive.namelist()
        if name.endswith(".csv") and "/" not in name
    }
    assert set(tables) == {*own_data.TABLES, "audit"}
    assert json.loads(archive.read("account.json"))["id"] == wire(AccountId, rich)
    assert "ann@acme.example" in {row["email"] for row in tables["people"]}
    assert "'=1+1" in {row["name"] for row in tables["keys"]}
    assert sum(float(row["balance_change_usd"]) for row in tables["movements"]) == pytest.approx(7.500000021)
    assert {f"documents/{row['number']}.pdf" for row in tables["documents"]} <= set(archive.namelist())
    assert "account.export" in {row["action"] for row in tables["audit"]}
    everything = b"".join(archive.read(name) for name in archive.namelist())
    assert b"gr_live_" not in everything
    assert b"digest" not in everything

    # Nobody else has it: a developer, another account, finance, an operator who sees the account as its owner.
    view = OpenView(AccountViewId(new_id()), rich, "Acme", pages.now)
    others = {
        403: a_member(rich, Role.DEVELOPER, now=pages.now),
        404: an_operator(now=pages.now, view=view),
    }
    for status, viewer in others.items():
        await Reader(pages.reader(viewer)).open(link, status=status)
    export = link.split("/")[-2]
    finance = Reader(pages.reader(an_operator(Role.FINANCE_ADMIN, now=pages.now)))
    await finance.open(f"/finance/exports/{export}", status=404)
    assert export not in (await finance.open("/finance/exports")).text
    stranger = AccountId(new_id())
    link = link.replace(wire(AccountId, rich), wire(AccountId, stranger))
    await Reader(pages.reader(a_member(stranger, now=pages.now))).open(link, status=404)


async def test_archives_are_few_at_once_and_few_a_day(pages: Pages, account: AccountId) -> None:
    base = f"/accounts/{wire(AccountId, account)}/data"
    owner = Reader(pages.reader(a_member(account, now=pages.now)))
    form = await owner.open(base)
    await owner.send(form, status=303)
    again = await owner.client.post(f"{base}/order", data={})
    assert (again.status_code, "is being written" in again.text) == (409, True)
    for _ in range(4):
        assert await run.run_next(pages.context.writes.db, pages.context.reads.exports, own_data.OwnData())
        await owner.send(await owner.open(base), status=303)
    assert await run.run_next(pages.context.writes.db, pages.context.reads.exports, own_data.OwnData())
    refused = await owner.send(await owner.open(base), status=409)
    assert "within a day" in words_of(refused)
    with pages.counted() as statements:
        await owner.open(base)
    assert len(statements) <= 6


async def test_an_account_is_closed_once_its_owner_has_seen_what_becomes_of_it(
    pages: Pages, build: DatabaseBuilder
) -> None:
    account = await build_account(build)
    base = f"/accounts/{wire(AccountId, account)}"
    owner = Reader(pages.reader(a_member(account, now=pages.now)))
    await owner.send(await owner.open(f"{base}/data"), status=303)
    assert await run.run_next(pages.context.writes.db, pages.context.reads.exports, own_data.OwnData())
    form = await owner.open(f"{base}/close")
    refused = await owner.send(form, status=400, reason="Too dear.")
    assert "25.00 USD of unused credit were paid for" in words_of(refused)
    assert form_of(refused).fields["reason"] == "Too dear."
    proposed = await owner.send(refused, forfeit="1")
    assert form_of(proposed).button == "Close Acme for good"
    assert "Credit that ends, USD none 25.00" in words_of(proposed)
    assert "active" in words_of(proposed)
    done = await owner.send(proposed)
    assert "All keys of Acme have ended." in words_of(done)
    twice = await owner.send(proposed, status=409)
    assert "is closed" in words_of(twice)
    assert "Acme is closing" in words_of(await owner.open(f"{base}/close"))
    ops = Reader(pages.reader(an_operator(now=pages.now), "ops"))
    assert "closed by the customer: Too dear." in words_of(
        await ops.open(f"/ops/audit?account={wire(AccountId, account)}")
    )
    # What jobs do at the end takes the archives with it, which have names of people.
    await finish(pages.context.writes.db, account)
    assert "expired" in words_of(await owner.open(f"{base}/data"))
    await run.remove_old(pages.context.writes.db, pages.context.reads.exports)


async def build_account(build: DatabaseBuilder) -> AccountId:
    account = await asyncio.to_thread(build.an_account, 25_000_000_000, "Leaving")
    await asyncio.to_thread(build.a_key, account)
    return account
