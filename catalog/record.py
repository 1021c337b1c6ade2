"""Reads the license record as it was written, with what no longer holds: it shows what a past call rested on.

What holds now is in :class:`catalog.values.Model`; :mod:`catalog.licenses` writes the record.
"""

from datetime import datetime
from enum import StrEnum
from itertools import zip_longest
from typing import Any

import msgspec
from sqlalchemy import RowMapping, Select, select
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog.models import resolution_of, waiver_of
from catalog.tables import LicenseAcceptanceRow, LicenseResolutionRow, LicenseWaiverRow
from catalog.terms import acceptance_token
from catalog.values import Resolution, Waiver
from store.ids import AcceptanceId, AccountId, ClaimId, ModelId, ResolutionId, WaiverId


class RecordStatus(StrEnum):
    """Whether an entry of the record is in force, or what ended it."""

    IN_FORCE = "in_force"
    REPLACED = "replaced"
    EXPIRED = "expired"
    REVOKED = "revoked"


class ResolutionRecord(msgspec.Struct, frozen=True):
    """A past or present resolution: the claims that it settled, and when the next one replaced it, if any did."""

    model_id: ModelId
    resolution: Resolution
    settles: tuple[ClaimId, ...]
    replaced_at: datetime | None

    @property
    def id(self) -> ResolutionId:
        """The resolution's id."""
        return self.resolution.id

    @property
    def status(self) -> RecordStatus:
        """Whether it is the newest of its model, which holds."""
        return RecordStatus.IN_FORCE if self.replaced_at is None else RecordStatus.REPLACED


class WaiverRecord(msgspec.Struct, frozen=True):
    """A past or present waiver, and who ended it when."""

    model_id: ModelId
    waiver: Waiver
    revoked_at: datetime | None
    revoked_by: str | None

    @property
    def id(self) -> WaiverId:
        """The waiver's id."""
        return self.waiver.id

    def status(self, now: datetime) -> RecordStatus:
        """Whether it is in force at ``now``, or what ended it first."""
        ends = self.waiver.expires_at
        if self.revoked_at is not None and (ends is None or self.revoked_at < ends):
            return RecordStatus.REVOKED
        return RecordStatus.IN_FORCE if ends is None or now < ends else RecordStatus.EXPIRED


class Acceptance(msgspec.Struct, frozen=True):
    """An account's acceptance of one version of a license text."""

    id: AcceptanceId
    account_id: AccountId
    license: str
    text_version: str
    accepted_by: str
    accepted_at: datetime

    @property
    def text(self) -> str:
        """License and version in one token, as keys carry it."""
        return acceptance_token(self.license, self.text_version)


async def resolutions(db: AsyncConnection, model_id: str | None = None) -> list[ResolutionRecord]:
    """All resolutions, or a model's, each model's oldest first."""
    table = LicenseResolutionRow
    query = select(table.__table__).order_by(table.model_id, table.decided_at, table.id)
    rows = await _rows(db, query if model_id is None else query.where(table.model_id == model_id))
    return [
        ResolutionRecord(
            ModelId(row["model_id"]),
            resolution_of(row),
            tuple(ClaimId(claim) for claim in row["settles"]),
            after["decided_at"] if after is not None and after["model_id"] == row["model_id"] else None,
        )
        for row, after in zip_longest(rows, rows[1:])
    ]


async def waivers(db: AsyncConnection, model_id: str | None = None) -> list[WaiverRecord]:
    """All waivers, or a model's, the oldest first."""
    query = select(LicenseWaiverRow.__table__).order_by(LicenseWaiverRow.id)
    rows = await _rows(db, query if model_id is None else query.where(LicenseWaiverRow.model_id == model_id))
    return [
        WaiverRecord(ModelId(row["model_id"]), waiver_of(row), row["revoked_at"], row["revoked_by"]) for row in rows
    ]


async def acceptances(
    db: AsyncConnection,
    *,
    account_id: AccountId | None = None,
    after: AcceptanceId | None = None,
    limit: int | None = None,
) -> list[Acceptance]:
    """All accounts' acceptances, or one account's, the oldest first; those that follow ``after``."""
    query = select(LicenseAcceptanceRow.__table__).order_by(LicenseAcceptanceRow.id).limit(limit)
    if account_id is not None:
        query = query.where(LicenseAcceptanceRow.account_id == account_id)
    if after is not None:
        query = query.where(LicenseAcceptanceRow.id > after)
    return [_acceptance(row) for row in await _rows(db, query)]


async def find_acceptance(db: AsyncConnection, acceptance_id: AcceptanceId) -> Acceptance | None:
    """The acceptance of this id, if any."""
    query = select(LicenseAcceptanceRow.__table__).where(LicenseAcceptanceRow.id == acceptance_id)
    return next((_acceptance(row) for row in await _rows(db, query)), None)


def _acceptance(row: RowMapping) -> Acceptance:
    return Acceptance(**{name: row[name] for name in Acceptance.__struct_fields__})


async def _rows(db: AsyncConnection, query: Select[*tuple[Any, ...]]) -> list[RowMapping]:
    return list((await db.execute(query)).mappings())
