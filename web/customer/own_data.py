"""``/accounts/{account}/data``: an owner orders and downloads an archive of all that the account has, or closes it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import ClassVar

import msgspec

from router.api.in_process import OperationRefused
from store.ids import ExportId, new_id, parse
from web.answers import Answer, File, Page, Redirect
from web.faults import NotFound
from web.forms import Form
from web.request import PageRequest

ROWS = {"limit": "20"}
CHUNK = 256 * 1024


class Archive(msgspec.Struct, frozen=True):
    """An archive, as the operation answers."""

    id: str
    state: str
    failure: str
    rows: int
    file: str | None
    bytes: int | None
    sha256: str | None
    requested_at: datetime
    expires_at: datetime | None


class _Archives(msgspec.Struct, frozen=True):
    data: list[Archive]


class OwnDataPage(Page, frozen=True, kw_only=True):
    """The archives, the button that orders one, and the way to closing the account."""

    template: ClassVar[str] = "customer/own_data.html"

    base: str
    archives: tuple[Archive, ...]
    form: Form
    once: str
    is_under_way: bool


class OrderForm(msgspec.Struct, frozen=True):
    """A button alone."""

    once: str = ""


async def show(request: PageRequest) -> OwnDataPage:
    """The archives, the newest first."""
    return await _page(request, Form())


async def order(request: PageRequest) -> Answer:
    """Order an archive."""
    form = request.form_as(OrderForm)
    try:
        await request.run("create_own_export", Archive, idempotency_key=form.once or None)
    except OperationRefused as refused:
        return await _page(request, Form(fault=refused.error.message), refused.status)
    return Redirect(to=f"/accounts/{request.values['account']}/data")


async def download(request: PageRequest) -> File:
    """The archive, as it is read from the folder. Raises ``NotFound``."""
    try:
        path = {"export_id": request.values["export"]}
        archive = (await request.run("retrieve_own_export", Archive, path=path)).value
    except OperationRefused as refused:
        if refused.status in (400, 404):
            raise NotFound from None
        raise
    if archive.file is None:
        raise NotFound
    file = request.context.reads.exports.of(ExportId(parse(ExportId, archive.id))) / archive.file
    # A folder that this process does not reach has no such file.
    if not await asyncio.to_thread(file.is_file):
        raise NotFound
    return File(body=_pieces(file), media="application/zip", name=file.name, holds_secret=True)


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as file:
        while piece := await asyncio.to_thread(file.read, CHUNK):
            yield piece


async def _page(request: PageRequest, form: Form, status: int = 200) -> OwnDataPage:
    archives = (await request.run("list_own_exports", _Archives, query=ROWS)).value.data
    return OwnDataPage(
        title="Your data",
        base=f"/accounts/{request.values['account']}",
        archives=tuple(archives),
        form=form,
        once=str(new_id()),
        is_under_way=any(one.state in ("queued", "running") for one in archives),
        status=status,
    )
