"""What finance exports is what the ledger has: rows, sums, hashes; resumed after a kill, stopped when cancelled."""

import asyncio
import csv
import gzip
import hashlib
import io
import json
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from billing.chart import LedgerKind
from billing.documents.files import DocumentFile
from billing.documents.store import store_document
from billing.exports import rows, run
from billing.exports.cells import harmless
from billing.exports.formats import ExportFormat, ExportKind
from billing.exports.requests import (
    Export,
    ExportState,
    Filters,
    cancel,
    claim,
    expire,
    find_export,
    find_manifest,
    list_files,
    request_export,
)
from billing.exports.storage import MANIFEST, ExportFolder
from billing.ledger import Posting, post
from billing.money import NanoUSD
from billing.usage import UsageFilter, sum_usage
from router.api.usage_report import totals_of
from store.ids import ExportId, KeyId, new_id
from store.postgres import Database
from tests.builders.billing import an_account, charge_as_older_release
from tests.builders.database import add_account, add_credit
from tests.builders.documents import a_buyer, a_document, an_invoice_draft

NAMES = ["=1+1", '北京公司, "quoted"', "شركة\nline", "@SUM(A1)", "-12.50", " \uff1dHYPERLINK()"]
NOW = datetime.now(UTC)
SINCE, UNTIL = NOW - timedelta(days=2), NOW + timedelta(days=1)


@pytest.fixture
def folder(tmp_path: Path) -> ExportFolder:
    return ExportFolder(tmp_path / "exports", 1 << 30, timedelta(days=7))


@asynccontextmanager
async def a_ledger(url: str) -> AsyncIterator[Database]:
    """Accounts with names of all scripts, credit and usage of two days."""
    db = Database(url)
    try:
        for number, name in enumerate(NAMES):
            async with db.transaction() as tx:
                account = await add_account(tx, 1_000 + number, name=name)
            await charge_as_older_release(db, account, [(70 + n, NOW - timedelta(hours=5 * n)) for n in range(8)])
        yield db
    finally:
        await db.close()


async def requested(db: Database, kind: ExportKind, format: ExportFormat, filters: Filters = Filters()) -> ExportId:  # noqa: B008
    async with db.transaction() as tx:
        return (await request_export(tx, kind, format, SINCE, UNTIL, filters, "cli:test")).id


async def exported(db: Database, folder: ExportFolder, kind: ExportKind, format: ExportFormat, **filters: Any) -> Path:
    export_id = await requested(db, kind, format, Filters(**filters))
    assert await run.run_next(db, folder)
    found = await state_of(db, export_id)
    assert found.state is ExportState.DONE, found.failure
    return folder.of(export_id)


async def state_of(db: Database, export_id: ExportId) -> Export:
    async with db.transaction() as tx:
        found = await find_export(tx, export_id)
    assert found is not None
    return found


def manifest_in(path: Path) -> Any:
    return json.loads((path / MANIFEST).read_text())


def read_csv(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def story(url: str, tell: Callable[[Database], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with a_ledger(url) as db:
            await tell(db)

    asyncio.run(whole())


def test_usage_is_the_same_in_all_three_forms_and_an_outsider_finds_the_ledgers_sums(
    database_url: str, folder: ExportFolder
) -> None:
    async def tell(db: Database) -> None:
        paths = {form: await exported(db, folder, ExportKind.USAGE, form) for form in rows.BLOCK_BYTES}
        plain = (paths[ExportFormat.CSV] / f"usage-{label()}.csv").read_bytes()
        assert gzip.decompress((paths[ExportFormat.CSV_GZ] / f"usage-{label()}.csv.gz").read_bytes()) == plain
        table = read_csv(plain)
        async with db.transaction() as tx:
            sums = totals_of(await sum_usage(tx, UsageFilter(SINCE, UNTIL), ["day"]))
        parquet = paths[ExportFormat.PARQUET] / f"usage-{label()}.parquet"
        reader = duckdb.connect()
        query = (
            "SELECT count(*), sum(charged_usd), sum(debt_usd), sum(tokens), sum(provider_cost_usd) FROM read_parquet(?)"
        )
        found = reader.execute(query, [str(parquet)]).fetchone()
        expected = (sums.calls, *(Decimal(n) / 10**9 for n in (sums.charged, sums.overdraft)), sums.tokens)
        assert found == (*expected, Decimal(sums.provider_cost) / 10**9)
        assert sum(Decimal(row["charged_usd"]) for row in table) == expected[1]
        names = {
            name for (name,) in reader.execute("SELECT account_name FROM read_parquet(?)", [str(parquet)]).fetchall()
        }
        assert names == set(NAMES)
        # In CSV a name is no formula, and an amount is one still.
        assert {row["account_name"] for row in table} == {
            f"'{name}" if name[0] in "=@" or "\uff1d" in name else name for name in NAMES
        }
        types = dict(
            reader.execute(
                "SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM read_parquet(?))", [str(parquet)]
            ).fetchall()
        )
        assert (types["charged_usd"], types["at"]) == ("DECIMAL(28,9)", "TIMESTAMP WITH TIME ZONE")
        for path in paths.values():
            [file] = manifest_in(path)["files"]
            assert file["rows"] == len(table) == sums.calls
            assert file["sha256"] == hashlib.sha256((path / file["name"]).read_bytes()).hexdigest()
            assert Decimal(file["sums"]["charged_usd"]) == expected[1]

    story(database_url, tell)


def label() -> str:
    return f"{SINCE:%Y-%m-%d}_{UNTIL:%Y-%m-%d}"


def test_every_kind_has_its_rows_and_movements_lead_from_opening_to_closing(
    database_url: str, folder: ExportFolder
) -> None:
    async def tell(db: Database) -> None:
        path = await exported(db, folder, ExportKind.MOVEMENTS, ExportFormat.CSV)
        changes: dict[str, Decimal] = {}
        for row in read_csv((path / f"movements-{label()}.csv").read_bytes()):
            net = Decimal(row["balance_change_usd"]) - Decimal(row["debt_change_usd"])
            changes[row["account"]] = changes.get(row["account"], Decimal(0)) + net
        balances = read_csv((path / f"balances-{label()}.csv").read_bytes())
        assert len(balances) == len(NAMES)
        for row in balances:
            opening, closing = (
                Decimal(row[f"{end}_balance_usd"]) - Decimal(row[f"{end}_debt_usd"]) for end in ("opening", "closing")
            )
            assert opening + changes[row["account"]] == closing
        grants = read_csv(
            (await exported(db, folder, ExportKind.GRANTS, ExportFormat.CSV) / f"grants-{label()}.csv").read_bytes()
        )
        assert [Decimal(row["amount_usd"]) for row in grants] == [Decimal(1000 + n) / 10**9 for n in range(len(NAMES))]
        payments = manifest_in(await exported(db, folder, ExportKind.PAYMENTS, ExportFormat.PARQUET))
        assert payments["files"][0]["sums"]["debit_usd"] == str(sum(Decimal(row["amount_usd"]) for row in grants))
        for amount in (19, -4):
            legs = [
                Posting(LedgerKind.BANK, NanoUSD(-amount)),
                Posting(LedgerKind.TAX_PAYABLE, NanoUSD(amount), detail="DE"),
            ]
            async with db.transaction() as tx:
                await post(tx, "tax", f"tests:{amount}", legs)
        taxed = await exported(db, folder, ExportKind.TAX, ExportFormat.CSV)
        sums = manifest_in(taxed)["files"][0]["sums"]
        assert (sums["charged_usd"], sums["taken_off_usd"]) == ("0.000000019", "0.000000004")
        assert {row["jurisdiction"] for row in read_csv((taxed / f"tax-{label()}.csv").read_bytes())} == {"DE"}
        account = await an_account(db, 5)
        one = manifest_in(await exported(db, folder, ExportKind.GRANTS, ExportFormat.CSV_GZ, account_id=account))
        assert (one["rows"], one["filters"]["account_id"]) == (1, str(account))
        none = await exported(db, folder, ExportKind.USAGE, ExportFormat.PARQUET, key_id=KeyId(new_id()))
        assert duckdb.connect().execute(
            "SELECT count(*) FROM read_parquet(?)", [str(next(none.glob("*.parquet")))]
        ).fetchone() == (0,)
        # The audit has money in one form, whichever release wrote the row.
        async with db.transaction() as tx:
            for facts in ('{"day": 5, "total": null}', '{"day_usd": "0.000000005", "total_usd": null}'):
                await tx.execute(
                    text(
                        "INSERT INTO audit (id, at, actor, action, subject, before) VALUES (gen_random_uuid(), :at,"
                        " 'tests', 'caps.set', 'one', CAST(:facts AS jsonb))"
                    ),
                    {"at": SINCE, "facts": facts},
                )
        path = await exported(db, folder, ExportKind.AUDIT, ExportFormat.CSV)
        audited = read_csv((path / f"audit-{label()}.csv").read_bytes())
        assert [row["before"] for row in audited] == ['{"day_usd": "0.000000005", "total_usd": null}'] * 2

    story(database_url, tell)


def test_documents_come_with_their_lines_and_the_very_files_that_were_issued(
    database_url: str, folder: ExportFolder
) -> None:
    async def tell(db: Database) -> None:
        account = await an_account(db, 0)
        document = a_document(an_invoice_draft(buyer=a_buyer(legal_name="=北京公司")), number=1)
        files = [
            DocumentFile(
                form, "application/octet-stream", form.encode() * 9, hashlib.sha256(form.encode() * 9).digest()
            )
            for form in ("pdf", "json", "csv", "ubl", "facturx")
        ]
        async with db.transaction() as tx:
            await store_document(tx, document, account, files, None)
        path = await exported(db, folder, ExportKind.DOCUMENTS, ExportFormat.CSV)
        [row] = read_csv((path / f"documents-{label()}.csv").read_bytes())
        draft = document.draft
        assert (row["document"], row["buyer"], row["seller"]) == (document.name, "'=北京公司", draft.seller.id)
        assert Decimal(row["total_usd"]) * 100 == draft.total_cents
        assert Decimal(row["net_usd"]) + Decimal(row["tax_usd"]) == Decimal(row["total_usd"])
        lines = read_csv((path / f"document_lines-{label()}.csv").read_bytes())
        assert [Decimal(line["amount_usd"]) * 10**9 for line in lines] == [line.amount_nano for line in draft.lines]
        assert sum(Decimal(line["billed_usd"]) * 100 for line in lines) == sum(line.cents for line in draft.lines)
        with zipfile.ZipFile(path / f"documents-{label()}.zip") as archive:
            assert archive.testzip() is None
            endings = ("pdf", "json", "csv", "ubl.xml", "facturx.pdf")
            assert {one: archive.read(one) for one in archive.namelist()} == {
                f"{document.name}.{ending}": file.content for ending, file in zip(endings, files, strict=True)
            }
        again = await exported(db, folder, ExportKind.DOCUMENTS, ExportFormat.PARQUET)
        assert manifest_in(again)["files"][2]["sha256"] == manifest_in(path)["files"][2]["sha256"]
        assert manifest_in(again)["files"][0]["sums"]["total_usd"] == row["total_usd"]

    story(database_url, tell)


def test_after_a_kill_another_process_writes_only_what_is_missing(
    database_url: str, folder: ExportFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a period that is over; of one that is not, everything is written anew."""
    monkeypatch.setattr(rows, "ROWS_MAX", 10)

    async def tell(db: Database) -> None:
        for until in (NOW - timedelta(hours=2), UNTIL):
            async with db.transaction() as tx:
                export = await request_export(
                    tx, ExportKind.USAGE, ExportFormat.CSV, SINCE, until, Filters(), "cli:test"
                )
            written: list[str] = []
            real = rows.write

            async def write(work: Any, part: Any, file: Any, real: Any = real, written: list[str] = written) -> Any:
                if len(written) == 2:
                    raise ConnectionResetError
                written.append(part.name)
                return await real(work, part, file)

            monkeypatch.setattr(rows, "write", write)
            with pytest.raises(ExceptionGroup):
                await run.run_next(db, folder)
            monkeypatch.setattr(rows, "write", real)
            assert (await state_of(db, export.id)).state is ExportState.RUNNING
            assert not await run.run_next(db, folder), "its lease is not over"
            before = {file.name: file.stat().st_mtime_ns for file in folder.of(export.id).glob("*.csv")}
            assert sorted(before) == sorted(written)
            await end_lease(db, export.id)
            assert await run.run_next(db, folder)
            async with db.transaction() as tx:
                files = await list_files(tx, export.id)
                sums = totals_of(await sum_usage(tx, UsageFilter(SINCE, until), ["day"]))
            assert sum(file.rows for file in files) == sums.calls
            assert sum(Decimal(file.sums["charged_usd"]) for file in files) == Decimal(sums.charged) / 10**9
            kept = {name for name, at in before.items() if (folder.of(export.id) / name).stat().st_mtime_ns == at}
            assert kept == (set(written) if until < NOW else set())

    story(database_url, tell)


async def end_lease(db: Database, export_id: ExportId) -> None:
    async with db.transaction() as tx:
        await tx.execute(
            text("UPDATE exports SET lease_until = now() - interval '1 s' WHERE id = :id"), {"id": export_id}
        )


def test_what_is_cancelled_fails_or_expires_leaves_no_files_and_no_two_write_one(
    database_url: str, folder: ExportFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "BEAT_S", 0.02)

    async def tell(db: Database) -> None:
        export_id = await requested(db, ExportKind.USAGE, ExportFormat.CSV)
        real = rows.write
        begun = asyncio.Event()

        async def slow(work: Any, part: Any, file: Any) -> Any:
            begun.set()
            await asyncio.sleep(60)

        monkeypatch.setattr(rows, "write", slow)
        running = asyncio.ensure_future(run.run_next(db, folder))
        await begun.wait()
        async with db.transaction() as tx:
            assert await claim(tx) is None
            assert await cancel(tx, export_id)
            assert not await cancel(tx, export_id)
        assert await running
        assert (await state_of(db, export_id)).state is ExportState.CANCELLED
        monkeypatch.setattr(rows, "write", real)

        small = ExportFolder(folder.path, 100, folder.kept)
        full = await requested(db, ExportKind.USAGE, ExportFormat.CSV)
        assert await run.run_next(db, small)
        failed = await state_of(db, full)
        assert failed.state is ExportState.FAILED
        assert "GIGAROUTER_EXPORTS_BYTES_MAX" in failed.failure
        assert not list(folder.path.iterdir())

        path = await exported(db, folder, ExportKind.GRANTS, ExportFormat.CSV)
        (folder.path / "notes.txt").write_text("not ours")
        async with db.transaction() as tx:
            assert await expire(tx) == 0
        short = await exported(
            db, ExportFolder(folder.path, 1 << 30, timedelta(0)), ExportKind.GRANTS, ExportFormat.CSV
        )
        async with db.transaction() as tx:
            assert await expire(tx) == 1
        await run.remove_old(db, folder)
        assert {one.name for one in folder.path.iterdir()} == {"notes.txt", path.name}
        async with db.transaction() as tx:
            assert await find_manifest(tx, ExportId(new_id())) is None
        assert not short.exists()
        with pytest.raises(IntegrityError, match="an export cannot go from failed to done"):
            async with db.transaction() as tx:
                await tx.execute(text("UPDATE exports SET state = 'done' WHERE state = 'failed'"))

    story(database_url, tell)


def test_the_database_makes_the_same_cells_harmless_as_we_do(database_url: str) -> None:
    cells = [
        f"{blank}{first}x"
        for blank in ("", " ", "\u00a0", "\u3000", "\ufeff", "\n", "a")
        for first in "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20a"
    ]
    cells += ["-1", "-1.5", "+2", "-1.", "--1", "", "1", "-1\n", "'=", "É", "٣"]

    async def whole() -> None:
        db = Database(database_url)
        async with db.transaction() as tx:
            await add_credit(tx, await add_account(tx, 0), 1)
            for cell in cells:
                assert await tx.scalar(text("SELECT csv_cell(:cell)"), {"cell": cell}) == harmless(cell), repr(cell)
        await db.close()

    asyncio.run(whole())
