"""``/admin/v1/books``: what each check of the books found the last time, and the head of the ledger's chain."""

from typing import ClassVar, Literal

from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.books import Check, read_results
from billing.seal import Batch, last_batch
from router.api.admin.request import Read
from router.api.fields import Instant
from router.api.forms import Answer
from router.api.operation import ALL, V1, Operations

operations = Operations("books", f"{V1}/books")


class CheckRow(Answer):
    """The last result of one check."""

    columns: ClassVar[tuple[str, ...]] = ("check", "ok", "wrong", "message", "checked_at")

    check: Check
    ok: bool = Field(description="Nothing is wrong, and the check ran as lately as it should have.")
    wrong: int | None = Field(description="How much is wrong; null: the check never ran. Is `gigarouter jobs` running?")
    message: str
    checked_at: Instant | None


class HeadOut(Answer):
    """The last sealed batch. Who keeps its digest can prove later that nothing before it was changed."""

    batch: int
    digest: str = Field(description="SHA-256, in hexadecimal digits.")
    sealed_at: Instant


class BooksOut(Answer):
    """All checks of the books."""

    columns: ClassVar[tuple[str, ...]] = ("ok", "head")

    data: list[CheckRow]
    ok: bool
    head: HeadOut | None = Field(description="Null where nothing is sealed yet.")
    object: Literal["books"] = "books"


@operations.get("", verb="show", name="books", summary="Are the books right?", roles=ALL)
async def show(admin: Read) -> BooksOut:
    """What the checks of `gigarouter jobs` found: most run every minute, those that read all that was booked daily."""

    async def ask(connection: AsyncConnection) -> BooksOut:
        rows = [
            CheckRow(
                check=result.check,
                ok=result.wrong == 0 and result.is_fresh(admin.exchange.now),
                wrong=result.wrong,
                message=result.message,
                checked_at=result.checked_at,
            )
            for result in await read_results(connection)
        ]
        return BooksOut(data=rows, ok=all(row.ok for row in rows), head=head_of(await last_batch(connection)))

    return await admin.read(ask)


def head_of(batch: Batch | None) -> HeadOut | None:
    """A batch as operators see it."""
    return None if batch is None else HeadOut(batch=batch.number, digest=batch.digest.hex(), sealed_at=batch.sealed_at)
