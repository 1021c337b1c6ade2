"""``/accounts/{account}/licenses``: the license texts that have to be accepted, and which the account has."""

from datetime import datetime
from typing import ClassVar

import msgspec

from web.answers import Page
from web.request import PageRequest

ROWS = {"limit": "100"}


class _License(msgspec.Struct, frozen=True):
    id: str
    name: str
    text_version: str | None


class _Licenses(msgspec.Struct, frozen=True):
    data: list[_License]


class _Acceptance(msgspec.Struct, frozen=True):
    license: str
    text_version: str
    accepted_by: str
    accepted_at: datetime


class _Acceptances(msgspec.Struct, frozen=True):
    data: list[_Acceptance]


class LicenseRow(msgspec.Struct, frozen=True):
    """A license whose text has to be accepted. ``accepted_by`` is empty where the text as it is now is not."""

    name: str
    href: str
    text_version: str
    accepted_by: str = ""
    accepted_at: datetime | None = None
    earlier: tuple[str, ...] = ()


class AcceptancesPage(Page, frozen=True, kw_only=True):
    """The list."""

    template: ClassVar[str] = "customer/acceptances.html"

    rows: tuple[LicenseRow, ...]


async def show(request: PageRequest) -> AcceptancesPage:
    """The licenses, those that are not accepted first."""
    licenses = (await request.run("list_licenses", _Licenses, query=ROWS)).value.data
    accepted = (await request.run("list_own_acceptances", _Acceptances, query=ROWS)).value.data
    base = f"/accounts/{request.values['account']}/licenses"
    rows = [_row(one, one.text_version, accepted, base) for one in licenses if one.text_version is not None]
    return AcceptancesPage(
        title="Licenses to accept", rows=tuple(sorted(rows, key=lambda row: (bool(row.accepted_by), row.name)))
    )


def _row(one: _License, version: str, accepted: list[_Acceptance], base: str) -> LicenseRow:
    own = [row for row in accepted if row.license == one.id]
    now = next((row for row in own if row.text_version == version), None)
    return LicenseRow(
        name=one.name,
        href=f"{base}/{one.id}",
        text_version=version,
        accepted_by=now.accepted_by if now else "",
        accepted_at=now.accepted_at if now else None,
        earlier=tuple(row.text_version for row in own if row.text_version != version),
    )
