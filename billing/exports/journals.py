"""Writes the ledger's entries of a span of time as a journal for another program.

Plain-text accounting gets a file for each month, the balances before it, and what they must be after it; the others get
cents, and codes of their mapping. What the mapping lacks is refused before a byte is written.
"""

import asyncio
from collections.abc import Iterator
from datetime import date, datetime, timedelta

from billing.exports import plain_text, postings, programs
from billing.exports.cents import Journal, carried
from billing.exports.datev import AmountTooLarge
from billing.exports.formats import PLAIN_TEXT, Grain
from billing.exports.mapping import Mapping, MappingRefused, check_complete, read_mapping
from billing.exports.plain_text import EXTENSION, Transactions, account_name
from billing.exports.postings import Balance, Moved
from billing.exports.programs import ProgramFile
from billing.exports.storage import HashingFile
from billing.exports.work import ExportRefused, Part, Work, period_label

BLOCK_BYTES = 1 << 20
OPENING, POSTINGS, CLOSING, MAIN, PROGRAM = "opening", "postings", "closing", "main", "program"


async def plan(work: Work) -> list[Part]:
    """The files. Raises :class:`ExportRefused` for what cannot be written."""
    export = work.export
    label = period_label(export.since, export.until)
    if export.format not in PLAIN_TEXT:
        files = await _program_files(work)
        return [
            Part(number, file.name, PROGRAM, export.since, export.until, file.rows)
            for number, file in enumerate(files, start=1)
        ]
    ending = EXTENSION[export.format]
    months = list(_months(export.since, export.until))
    named = [
        (f"opening-{label}.{ending}", OPENING, export.since, export.until),
        *((f"journal-{period_label(since, until)}.{ending}", POSTINGS, since, until) for since, until in months),
        (f"closing-{label}.{ending}", CLOSING, export.since, export.until),
        (f"main-{label}.{ending}", MAIN, export.since, export.until),
    ]
    return [Part(number, *facts, 0) for number, facts in enumerate(named, start=1)]


async def write(work: Work, part: Part, file: HashingFile) -> tuple[int, dict[str, str]]:
    """Write one file; returns its rows, and of a program's file its debits."""
    if part.content == PROGRAM:
        found = next((one for one in await _program_files(work) if one.name == part.name), None)
        if found is None:
            raise ExportRefused("The ledger has changed since the export was begun: request it again.")
        file.write(found.data)
        work.count(found.rows)
        return found.rows, {"debit_usd": programs.decimal(found.debit_cents)}
    if part.content == POSTINGS:
        return await _write_postings(work, part, file), {}
    text, rows = await _short_text(work, part)
    file.write(text.encode())
    return rows, {}


async def _write_postings(work: Work, part: Part, file: HashingFile) -> int:
    export = work.export
    transactions = Transactions(export.format, await _names(work))
    block = bytearray()

    def render(data: bytes) -> None:
        legs = (line.split(",") for line in data.decode().splitlines())
        file.write(transactions.write(legs).encode())

    async def flush() -> None:
        data = bytes(block)
        block.clear()
        await asyncio.to_thread(render, data)
        work.count(data.count(b"\n"))

    async def take(rows: bytes) -> None:
        block.extend(rows)
        if len(block) >= BLOCK_BYTES:
            await flush()

    grain = export.filters.grain or Grain.DAY
    count = await postings.copy_legs(work.connection, part.since, part.until, grain, export.filters.account_id, take)
    await flush()
    return count


async def _short_text(work: Work, part: Part) -> tuple[str, int]:
    """The text of the opening, the closing, or the file that includes all, and how many balances it has."""
    export = work.export
    label, ending = period_label(export.since, export.until), EXTENSION[export.format]
    if part.content == MAIN:
        months = [f"journal-{period_label(*month)}.{ending}" for month in _months(export.since, export.until)]
        files = [f"opening-{label}.{ending}", *months, f"closing-{label}.{ending}"]
        return plain_text.main(export.format, label, files), 0
    names = await _names(work)
    found = await _balances(work)
    if part.content == OPENING:
        before = (export.since - timedelta(days=1)).date()
        rows = [(names[one.account], one.opening) for one in found if one.opening]
        return plain_text.opening(export.format, before, rows), len(rows)
    rows = [(names[one.account], one.closing) for one in found]
    return plain_text.closing(export.format, _day_after(export.until), rows), len(rows)


def _day_after(until: datetime) -> date:
    """The first day of which nothing is in the journal."""
    return (
        until.date() if until.time().replace(tzinfo=None) == datetime.min.time() else until.date() + timedelta(days=1)
    )


async def _balances(work: Work) -> list[Balance]:
    """The balances at both ends, read once in a run."""
    export = work.export
    if "balances" not in work.memo:
        read = postings.balances(work.connection, export.since, export.until, export.filters.account_id)
        work.memo["balances"] = await read
    balances: list[Balance] = work.memo["balances"]
    return balances


async def _names(work: Work) -> dict[str, str]:
    if "names" not in work.memo:
        found = await postings.ledger_accounts(work.connection)
        work.memo["names"] = {one.id: account_name(one.kind, one.detail, one.account) for one in found}
    names: dict[str, str] = work.memo["names"]
    return names


async def _program_files(work: Work) -> list[ProgramFile]:
    """The files of a program, made once in a run. Raises :class:`ExportRefused`."""
    export = work.export
    if "files" not in work.memo:
        grain = export.filters.grain or Grain.MONTH
        try:
            mapping = read_mapping(export.filters.mapping, export.format)
            journals = await _journals(work, mapping, grain)
            work.memo["files"] = programs.write_files(
                export.format,
                journals,
                mapping,
                grain=grain,
                label=period_label(export.since, export.until),
                made_at=export.requested_at,
            )
        except (MappingRefused, programs.TooManyLines, AmountTooLarge) as refused:
            raise ExportRefused(str(refused)) from None
    files: list[ProgramFile] = work.memo["files"]
    return files


async def _journals(work: Work, mapping: Mapping, grain: Grain) -> list[Journal]:
    export = work.export
    before = await postings.moved_before(work.connection, export.since)
    days = await postings.moved_by_day(work.connection, export.since, export.until)
    check_complete(mapping, {*before, *(account for _, moved in days for account in moved)})
    steps: dict[date, dict[str, int]] = {}
    for day, moved in days:
        _add(steps.setdefault(day if grain is Grain.DAY else _last_day_of_month(day), {}), moved, mapping)
    opening: dict[str, int] = {}
    _add(opening, before, mapping)
    rounding = mapping.account("rounding", "")
    assert rounding is not None, "the mapping was found complete; this is a bug"
    return carried(opening, steps.items(), rounding.code)


def _add(balances: dict[str, int], moved: Moved, mapping: Mapping) -> None:
    for (kind, detail), amount in moved.items():
        account = mapping.account(kind, detail)
        assert account is not None, "the mapping was found complete; this is a bug"
        balances[account.code] = balances.get(account.code, 0) + amount


def _months(since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The span, cut at the beginnings of months."""
    while since < until:
        following = (since.replace(day=1, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=32)).replace(
            day=1
        )
        yield since, min(following, until)
        since = following


def _last_day_of_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1) - timedelta(days=1)
