"""An outsider keeps our books: other programs read the journal, and their balances are ours, to the nano-dollar."""

import asyncio
import csv
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from beancount import loader
from beancount.core import data
from sqlalchemy import text

from billing.chart import LedgerKind
from billing.credits import GrantKind
from billing.exports import run
from billing.exports.formats import ExportFormat, ExportKind, Grain
from billing.exports.plain_text import account_name
from billing.exports.requests import Export, ExportState, Filters, find_export, request_export
from billing.exports.storage import ExportFolder
from billing.ledger import Posting, post
from billing.money import NanoUSD
from router.api.periods import month_of
from store.ids import AccountId
from store.postgres import Database
from tests.builders.billing import charge_as_older_release
from tests.builders.database import add_account, add_credit

NOW = datetime.now(UTC)
THIS = month_of(NOW)
LAST = month_of(THIS.since - timedelta(days=1))
MAPPED = {kind: f'{kind.value} = {{code = "{1000 + number}", tax = "0"}}' for number, kind in enumerate(LedgerKind)}
MAPPING = "\n".join(["[accounts]", *MAPPED.values(), '[datev]\nconsultant = 1\nclient = 1\nclearing = "1590"'])
BALANCES = text("""
    SELECT l.kind, l.detail, coalesce(replace(l.account_id::text, '-', ''), '') AS account, sum(p.amount_nano) AS amount
    FROM postings p JOIN ledger_accounts l ON l.id = p.ledger_account_id GROUP BY 1, 2, 3
""")


@pytest.fixture
def folder(tmp_path: Path) -> ExportFolder:
    return ExportFolder(tmp_path / "exports", 1 << 30, timedelta(days=7))


@asynccontextmanager
async def a_ledger(url: str) -> AsyncIterator[tuple[Database, AccountId]]:
    """Two months: gifts and sold credit, usage beyond it, tax by jurisdiction, an odd nano in every account."""
    db = Database(url)
    try:
        yield db, await fill(db)
    finally:
        await db.close()


async def fill(db: Database) -> AccountId:
    accounts = []
    for number in range(3):
        async with db.transaction() as tx:
            account = await add_account(tx, 2_345_678_901 + number, name=f"=Acme {number}")
            await add_credit(tx, account, 33_333_333, GrantKind.PROMOTIONAL)
        accounts.append(account)
        calls = [(234_567_891 + n, at) for n, at in enumerate((LAST.since, LAST.until - timedelta(seconds=1), NOW))]
        await charge_as_older_release(db, account, calls)
    await charge_as_older_release(db, accounts[0], [(2_000_000_003, NOW)])
    async with db.transaction() as tx:
        for number, jurisdiction in enumerate(("DE", "FR: Île-de-France")):
            legs = [
                Posting(LedgerKind.BANK, NanoUSD(-19_000_001 - number)),
                Posting(LedgerKind.TAX_PAYABLE, NanoUSD(19_000_001 + number), detail=jurisdiction),
            ]
            await post(tx, "correction", f"tax:{number}", legs)
    return accounts[0]


def story(url: str, tell: Callable[[Database, AccountId], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with a_ledger(url) as (db, account):
            await tell(db, account)

    asyncio.run(whole())


async def exported(
    db: Database, folder: ExportFolder, format: ExportFormat, since: datetime, filters: Filters
) -> tuple[Export, Path]:
    async with db.transaction() as tx:
        made = await request_export(tx, ExportKind.JOURNAL, format, since, THIS.until, filters, "cli:test")
    assert await run.run_next(db, folder)
    async with db.transaction() as tx:
        export = await find_export(tx, made.id)
    assert export is not None
    return export, folder.of(made.id)


async def ours(db: Database) -> dict[str, Decimal]:
    """Our balances, by the names that accounts have there; debit positive."""
    async with db.transaction() as tx:
        rows = (await tx.execute(BALANCES)).all()
    return {account_name(row.kind, row.detail, row.account): -Decimal(row.amount) / 10**9 for row in rows}


def read_by_beancount(path: Path) -> tuple[dict[str, Decimal], list[str]]:
    """The balances that beancount computes, and what it finds wrong."""
    entries, errors, _ = loader.load_file(str(path))
    balances: dict[str, Decimal] = {}
    for entry in entries:
        if isinstance(entry, data.Transaction):
            for posting in entry.postings:
                assert posting.units is not None
                assert posting.units.number is not None
                balances[posting.account] = balances.get(posting.account, Decimal(0)) + posting.units.number
    return balances, [error.message for error in errors]


def read_by_hledger(hledger: str, path: Path) -> dict[str, Decimal] | None:
    """The balances that hledger computes; None where it refuses the books."""
    if subprocess.run([hledger, "-f", str(path), "check"], check=False, capture_output=True).returncode:
        return None
    command = [hledger, "-f", str(path), "balance", "--flat", "-N", "-E", "--output-format", "csv"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows = list(csv.reader(printed.splitlines()[1:]))
    return {name: Decimal(amount.removesuffix(" USD")) for name, amount in rows}


@pytest.mark.parametrize("grain", [Grain.DAY, Grain.ENTRY])
@pytest.mark.parametrize("since", [LAST.since, THIS.since], ids=["two months", "one month"])
def test_beancount_keeps_our_books_and_refuses_them_with_one_leg_changed(
    database_url: str, folder: ExportFolder, grain: Grain, since: datetime
) -> None:
    async def tell(db: Database, account: AccountId) -> None:
        export, path = await exported(db, folder, ExportFormat.BEANCOUNT, since, Filters(grain=grain))
        assert export.state is ExportState.DONE, export.failure
        [main] = path.glob("main-*.beancount")
        balances, errors = read_by_beancount(main)
        assert errors == []
        assert balances == await ours(db)
        assert any(balance % Decimal("0.00000001") for balance in balances.values())

        # One nano-dollar in one leg, in the journal or in what was before it.
        for file in [*path.glob("journal-*"), *(path.glob("opening-*") if since is THIS.since else ())]:
            whole = file.read_text()
            first = next(line for line in whole.splitlines() if line.startswith("  "))
            name, amount, _ = first.split()
            changed = f"  {name}  {Decimal(amount) + Decimal('0.000000001')} USD"
            file.write_text(whole.replace(first, changed, 1))
            _, errors = read_by_beancount(main)
            assert any("does not balance" in error for error in errors)
            file.write_text(whole)
        # Two legs changed, which balance: the closing is another.
        [closing] = path.glob("closing-*")
        assert "balance" in closing.read_text()
        file = next(path.glob(f"journal-{THIS.since:%Y-%m}*"))
        income, expense = "Income:Usage", "Expenses:Providers"
        whole = file.read_text()
        legs = f"  {income}  0.000000001 USD\n  {expense}  -0.000000001 USD\n"
        file.write_text(f'{whole}\n{NOW:%Y-%m-%d} * "slipped in"\n{legs}')
        _, errors = read_by_beancount(main)
        assert len(errors) == 2
        assert all(error.startswith("Balance failed") for error in errors)

        # One customer's entries are books, too.
        export, path = await exported(
            db, folder, ExportFormat.BEANCOUNT, since, Filters(grain=grain, account_id=account)
        )
        [main] = path.glob("main-*.beancount")
        balances, errors = read_by_beancount(main)
        assert errors == []
        mine = {name: balance for name, balance in (await ours(db)).items() if account.hex in name}
        assert {name: balance for name, balance in balances.items() if "Customers" in name} == mine

    story(database_url, tell)


def test_hledger_keeps_our_books(database_url: str, folder: ExportFolder) -> None:
    hledger = shutil.which("hledger")

    async def tell(db: Database, account: AccountId) -> None:
        for grain in (Grain.DAY, Grain.ENTRY):
            export, path = await exported(db, folder, ExportFormat.HLEDGER, THIS.since, Filters(grain=grain))
            assert export.state is ExportState.DONE, export.failure
            [main] = path.glob("main-*.journal")
            if hledger is None:
                continue
            assert read_by_hledger(hledger, main) == await ours(db)
            [file] = path.glob("journal-*")
            file.write_text(file.read_text().replace("1 USD", "2 USD", 1))
            assert read_by_hledger(hledger, main) is None

    story(database_url, tell)
    if hledger is None:
        pytest.skip("hledger is not installed: its journal was written, and not read")


def test_cents_of_two_months_are_the_balances_and_what_has_no_code_is_refused_before_the_first_byte(
    database_url: str, folder: ExportFolder
) -> None:
    async def tell(db: Database, account: AccountId) -> None:
        both, path = await exported(db, folder, ExportFormat.GENERIC, LAST.since, Filters(mapping=MAPPING))
        assert both.state is ExportState.DONE, both.failure
        [file] = path.glob("generic-*.csv")
        lines = [line.split(",") for line in file.read_text().splitlines()[1:]]
        imported: dict[str, Decimal] = {}
        for _, day, code, _, debit, credit, *_ in lines:
            assert day in {f"{end - timedelta(days=1):%Y-%m-%d}" for end in (LAST.until, THIS.until)}
            imported[code] = imported.get(code, Decimal(0)) + Decimal(debit or 0) - Decimal(credit or 0)
        assert sum(imported.values()) == 0
        sums: dict[str, Decimal] = {}
        async with db.transaction() as tx:
            for row in await tx.execute(BALANCES):
                code = str(1000 + list(LedgerKind).index(LedgerKind(row.kind)))
                sums[code] = sums.get(code, Decimal(0)) - Decimal(row.amount) / 10**9
        for code, balance in sums.items():
            assert abs(imported.get(code, Decimal(0)) - balance) <= Decimal("0.005")
        # The second month alone goes on where the first ended.
        one, path = await exported(db, folder, ExportFormat.XERO, THIS.since, Filters(mapping=MAPPING))
        assert one.state is ExportState.DONE, one.failure
        [file] = path.glob("xero-*.csv")
        later = [line for line in lines if line[1] == f"{THIS.until - timedelta(days=1):%Y-%m-%d}"]
        amounts = {row[3]: Decimal(row[5]) for row in (line.split(",") for line in file.read_text().splitlines()[1:])}
        assert amounts == {row[2]: Decimal(row[4] or 0) - Decimal(row[5] or 0) for row in later}
        datev, path = await exported(db, folder, ExportFormat.DATEV, LAST.since, Filters(mapping=MAPPING))
        assert datev.state is ExportState.DONE, datev.failure
        assert len(list(path.glob("EXTF_*.csv"))) == 2

        incomplete = MAPPING.replace(MAPPED[LedgerKind.TAX_PAYABLE], "").replace(MAPPED[LedgerKind.BANK], "")
        failed, path = await exported(db, folder, ExportFormat.GENERIC, THIS.since, Filters(mapping=incomplete))
        assert failed.state is ExportState.FAILED
        assert failed.failure == "The mapping has no code for bank, tax_payable:DE, tax_payable:FR: Île-de-France."
        assert not path.exists()

    story(database_url, tell)
