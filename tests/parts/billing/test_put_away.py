"""A closed month goes into a file and out of the database: sums stay, the chain holds, and a changed byte shows."""

import asyncio
import csv
import gzip
import hashlib
import io
import json
import zipfile
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from billing import seal as sealing
from billing.archives import file_name, list_archives
from billing.books import check_all, check_frequently
from billing.exports import run
from billing.exports.storage import ExportFolder
from billing.ledger import trial_balance
from billing.movements import list_movements, read_span
from billing.put_away import CannotPutAway, archive, drop
from billing.seal import Verdict, seal, verify
from billing.usage import find_usage
from gigarouter.commands import main
from router.admin.own_data import OwnData
from router.admin.own_exports import order_own_export
from router.api.movements import SingleMovementOut, single
from router.changes.transaction import transact
from router.errors import NotFound
from store.ids import AccountId, ExportId, RequestId, new_id, wire
from store.postgres import Database
from tests.builders.billing import an_account
from tests.builders.database import ACTOR

THIS_MONTH = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
IN_MONTH = THIS_MONTH - timedelta(days=3)
MONTH = IN_MONTH.date().replace(day=1)
NAME = f"{MONTH:%Y-%m}"
CHARGE = f"SELECT * FROM charge_leased_calls({', '.join(f'${n}' for n in range(1, 26))})"
CLOSE = """
    INSERT INTO periods (period, state, frozen_at, closed_at, head_batch, head_digest, pack)
    SELECT $1, 'closed', now(), now(), number, digest, '{}' FROM sealed_batches ORDER BY number DESC LIMIT 1
"""


class Ledger:
    """A ledger with calls of last month and of this one, sealed in batches of three."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.accounts: list[AccountId] = []
        self.calls: list[RequestId] = []
        self.file = folder / file_name(MONTH)

    async def fill(self) -> None:
        db, owner = Database(self.url), await asyncpg.connect(self.url)
        await owner.execute("SELECT make_usage_months($1, 1)", MONTH)
        self.accounts = [await an_account(db, 1_000) for _ in range(2)]
        lease = new_id()
        await owner.execute("INSERT INTO charge_leases VALUES ($1, 1)", lease)
        for at in (IN_MONTH, IN_MONTH, IN_MONTH, datetime.now(UTC)):
            for account in self.accounts:
                self.calls.append(RequestId(new_id(at)))
                same = [account, new_id(at), account, "m", account, account, "space", 1, 7, None, account, 1_000, 7, 3]
                same += [at, 20, 1, None, None, None, None, 9]
                await owner.fetch(CHARGE, lease, 1, [self.calls[-1]], *([value] for value in same))
        # What was booked in the month, as the ids say: a grant, too.
        await owner.execute("SET session_replication_role = replica")
        await owner.execute("UPDATE entries SET booked_at = $1 WHERE id < first_id_at($2)", IN_MONTH, THIS_MONTH)
        assert await seal(db) > 8
        await owner.execute(CLOSE, MONTH)
        await owner.close()
        await db.close()

    async def facts(self) -> dict[str, Any]:
        """What every report is made of."""
        db = Database(self.url)
        months = ((IN_MONTH - timedelta(days=9), THIS_MONTH), (THIS_MONTH, THIS_MONTH + timedelta(days=32)))
        async with db.transaction(snapshot=True) as tx:
            told: dict[str, Any] = {"trial": {line.kind: line.amount for line in await trial_balance(tx)}}
            for account in self.accounts:
                for since, until in months:
                    span = await read_span(tx, account, since, until)
                    moved = await list_movements(tx, account, span, span.start, 100)
                    used = sum(one.balance_change for one in moved if one.kind == "usage")
                    balances = span.opening_balance, span.closing_balance, span.opening_debt, span.closing_debt
                    told[f"{account} {since}"] = (*balances, used, moved[-1].balance)
                    shares = [share for one in moved for share in one.paid_by]
                    told[f"{account} {since} paid"] = sum(share.amount for share in shares)
            told["calls"] = [(await find_usage(tx, call)) is not None for call in self.calls]
        wrong = [found for found in (*await check_frequently(db), *await check_all(db)) if found.wrong]
        await db.close()
        assert wrong == []
        return told

    async def verify(self, **how: Any) -> Verdict:
        db = Database(self.url)
        async with db.transaction(snapshot=True) as tx:
            found = await verify(tx, **{"archives": self.folder, **how})
        await db.close()
        return found

    async def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        owner = await asyncpg.connect(self.url)
        try:
            await owner.execute("SET session_replication_role = replica")
            return [tuple(row) for row in await owner.fetch(query, *values)]
        finally:
            await owner.close()

    async def step(self, work: Any, period: date = MONTH) -> None:
        db = Database(self.url, as_owner=True)
        try:
            await work(db, period, self.folder)
        finally:
            await db.close()


@pytest.fixture
def ledger(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setattr(sealing, "BATCH_ENTRIES_MAX", 3)
    made = Ledger(database_url, tmp_path)
    asyncio.run(made.fill())
    return made


def test_a_month_is_put_away_and_every_sum_and_the_chain_stay_as_they_were(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def put_away() -> None:
        before, chain = await ledger.facts(), await ledger.verify()
        assert chain.wrong_batch is None
        with pytest.raises(CannotPutAway, match="in no file yet"):
            await ledger.step(drop)
        with pytest.raises(CannotPutAway, match="is not closed"):
            await ledger.step(archive, THIS_MONTH.date())
        await ledger.step(archive)
        assert await ledger.facts() == before, "the database has all of it until the second step"
        await ledger.step(drop)
        assert await ledger.facts() == before
        found = await ledger.verify()
        assert (found.wrong_batch, found.message) == (None, "")
        assert (found.entries, found.postings, found.head) == (chain.entries, chain.postings, chain.head)
        assert await ledger.rows("SELECT count(*) FROM entries WHERE id < first_id_at($1)", THIS_MONTH) == [(2,)]
        behind = await ledger.verify(archives=None)
        assert (behind.wrong_batch, "are in files" in behind.message) == (None, True)
        with pytest.raises(CannotPutAway, match="dropped before"):
            await ledger.step(archive)
        await the_month_says_where_it_is_and_takes_nothing(ledger)
        await an_owner_s_archive_has_the_month(ledger)

    asyncio.run(put_away())
    monkeypatch.setenv("DATABASE_URL", ledger.url)
    main_exits(0, "ledger", "verify", "--archives", str(ledger.folder))
    assert "The head is batch" in capsys.readouterr().out
    ledger.file.write_bytes(ledger.file.read_bytes()[:-9])
    main_exits(1, "ledger", "verify", "--archives", str(ledger.folder))
    assert "is wrong" in capsys.readouterr().err


def main_exits(code: int, *arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == code


async def the_month_says_where_it_is_and_takes_nothing(ledger: Ledger) -> None:
    notes = await ledger.rows("SELECT source_ref, note FROM entries WHERE id < first_id_at($1) ORDER BY 1", THIS_MONTH)
    assert [ref for ref, _ in notes] == sorted(f"archive:{NAME}:{account}" for account in ledger.accounts)
    assert {note for _, note in notes} == {f"The calls of {NAME} are in {ledger.file.name}"}
    # A call of the month cannot end twice; a hold of it, from an old copy of Redis, is freed; jobs make no such month.
    with pytest.raises(asyncpg.CheckViolationError, match="no partition"):
        await ledger.rows(
            "INSERT INTO ended_calls VALUES ($1, 'released', $2, NULL, now())", ledger.calls[0], ledger.accounts[0]
        )
    release = "SELECT outcome FROM release_overdue_calls(ARRAY[$1::uuid], ARRAY[$2::uuid], ARRAY[now()])"
    assert await ledger.rows(release, ledger.calls[0], ledger.accounts[0]) == [("charged",)]
    assert await ledger.rows("SELECT make_ledger_months($1, 1)", MONTH) == [(0,)]
    ((gone,),) = await ledger.rows("SELECT entry_id FROM usage_events WHERE request_id = $1", ledger.calls[0])
    db = Database(ledger.url)
    async with db.transaction() as tx:
        with pytest.raises(NotFound, match=f"was put away, in {ledger.file.name}"):
            await single(tx, ledger.accounts[0], gone, SingleMovementOut)
    await db.close()
    (made,) = await archives_of(ledger)
    assert (made.month, made.entries, made.calls, made.dropped_at is None) == (NAME, 6, 6, False)


async def an_owner_s_archive_has_the_month(ledger: Ledger) -> None:
    """Movement by movement, as they were sealed; or it says in which file they are, and that it is not here."""
    file = zipfile.ZipFile(io.BytesIO(await own_archive(ledger, ledger.folder)))
    [month] = json.loads(file.read("put-away.json"))
    digest = hashlib.sha256(ledger.file.read_bytes()).hexdigest()
    assert month == {
        **{"month": NAME, "file": ledger.file.name, "sha256": digest},
        **{"movements": f"movements-{NAME}.csv", "rows": 3, "why": ""},
    }
    of_all, of_month = (
        list(csv.DictReader(io.StringIO(file.read(f"movements{end}.csv").decode()))) for end in ("", f"-{NAME}")
    )
    [stand_in] = [row for row in of_all if row["reference"].startswith("archive:")]
    assert of_all[0].keys() == of_month[0].keys()
    assert [row["balance_change_usd"] for row in of_month] == ["-0.000000007"] * 3
    for column in ("balance_change_usd", "debt_change_usd"):
        assert sum(Decimal(row[column]) for row in of_month) == Decimal(stand_in[column])
    entries = {f"entry_{entry.hex}" for (entry,) in await ledger.rows("SELECT entry_id FROM usage_events")}
    assert {row["entry"] for row in of_month} < entries
    assert all(row["at"].startswith(NAME) and row["kind"] == "usage" for row in of_month)
    for folder, content, why in (
        (None, None, "no folder of such files is set"),
        (ledger.folder / "elsewhere", None, "the file is not here"),
        (ledger.folder, FILES["an amount"](ledger.file.read_bytes()), "the file here is not the one that was written"),
    ):
        before = ledger.file.read_bytes()
        ledger.file.write_bytes(content or before)
        file = zipfile.ZipFile(io.BytesIO(await own_archive(ledger, folder)))
        ledger.file.write_bytes(before)
        [missing] = json.loads(file.read("put-away.json"))
        assert missing == {**month, "movements": None, "rows": 0, "why": why}
        assert f"movements-{NAME}.csv" not in file.namelist()


async def own_archive(ledger: Ledger, archives: Path | None) -> bytes:
    db = Database(ledger.url)
    folder = ExportFolder(ledger.folder / "exports", 1 << 30, timedelta(days=1), timedelta(days=1))
    try:
        export = await transact(db, ACTOR, lambda work: order_own_export(work, ledger.accounts[0]))
        assert await run.run_next(db, folder, OwnData(archives))
        [written] = (folder.path / wire(ExportId, export.id)).glob("*.zip")
        return written.read_bytes()
    finally:
        await db.close()


async def archives_of(ledger: Ledger) -> list[Any]:
    db = Database(ledger.url)
    async with db.transaction() as tx:
        found = await list_archives(tx)
    await db.close()
    return found


def in_text(old: bytes, new: bytes) -> Any:
    def change(content: bytes) -> bytes:
        inside = gzip.decompress(content)
        assert old in inside
        return gzip.compress(inside.replace(old, new, 1))

    return change


FILES = {
    "an amount": in_text(b", -7, ", b", -8, "),
    "a fact": in_text(b"usage:", b"Usage:"),
    "a missing entry": lambda content: gzip.compress(
        b"\n".join(line for n, line in enumerate(gzip.decompress(content).split(b"\n")) if n != 1)
    ),
    "a byte of the compressed file": lambda content: content[:200] + bytes([content[200] ^ 1]) + content[201:],
    "the end": lambda content: content[:-30],
    "a use of a grant": in_text(b'", 7]]\t', b'", 6]]\t'),
    "an ended call": in_text(b"charged", b"Charged"),
    "another month": in_text(NAME.encode(), b"2001-01"),
    "no file": lambda _: None,
}
ROWS = {
    "a sum": "UPDATE postings SET amount_nano = amount_nano + sign(amount_nano) WHERE version IS NULL AND entry_id IN"
    " (SELECT id FROM entries WHERE source_ref LIKE 'archive:%')",
    "a sum that is gone": "DELETE FROM postings WHERE entry_id IN"
    " (SELECT min(id::text)::uuid FROM entries WHERE source_ref LIKE 'archive:%')",
    "an entry that hides as a sum": "WITH e AS (INSERT INTO entries (id, kind, source_ref, xact) SELECT id_of, 'usage',"
    " 'archive:2001-01:x', NULL FROM (SELECT overlay(id::text PLACING '000000000001' FROM 25)::uuid AS id_of FROM"
    " entries LIMIT 1) x RETURNING id) INSERT INTO postings (entry_id, leg, ledger_account_id, amount_nano)"
    " SELECT id, 1, '00000000-0000-7000-8000-000000000001', 5 FROM e",
    "an entry of this month": "UPDATE entries SET note = 'x' WHERE xact IS NOT NULL",
}


def test_whatever_is_changed_in_a_file_or_beside_it_shows(ledger: Ledger) -> None:
    async def story() -> None:
        await ledger.step(archive)
        content = ledger.file.read_bytes()
        # Before it is dropped, too: such a file is not trusted with the month.
        ledger.file.write_bytes(FILES["an amount"](content))
        with pytest.raises(CannotPutAway, match="not the file that was written"):
            await ledger.step(drop)
        ledger.file.write_bytes(content)
        await ledger.step(drop)
        first = await first_batch(ledger)
        for what, change in FILES.items():
            changed = change(content)
            ledger.file.unlink() if changed is None else ledger.file.write_bytes(changed)
            found = await ledger.verify()
            assert found.wrong_batch is not None, what
            assert found.message, what
            if what in ("an amount", "a fact", "a missing entry"):
                assert found.wrong_batch == first, what
            ledger.file.write_bytes(content)
        assert (await ledger.verify()).wrong_batch is None
        for what, statement in ROWS.items():
            await ledger.rows("CREATE TABLE copy_e AS TABLE entries")
            await ledger.rows("CREATE TABLE copy_p AS TABLE postings")
            await ledger.rows(statement)
            assert (await ledger.verify()).wrong_batch is not None, what
            for undo in (
                *("DELETE FROM postings", "DELETE FROM entries"),
                *("INSERT INTO entries SELECT * FROM copy_e", "INSERT INTO postings SELECT * FROM copy_p"),
                *("DROP TABLE copy_e", "DROP TABLE copy_p"),
            ):
                await ledger.rows(undo)
            assert (await ledger.verify()).wrong_batch is None, what

    asyncio.run(story())


async def first_batch(ledger: Ledger) -> int:
    """The batch that has the first entry of the file."""
    xact = gzip.decompress(ledger.file.read_bytes()).split(b"\n")[1].split(b"\t")[1].decode()
    query = "SELECT min(number) FROM sealed_batches WHERE last_xact >= $1::text::xid8"
    return int((await ledger.rows(query, xact))[0][0])
