"""Loads the catalogue from Postgres into memory, where every call reads it; a change replaces it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, Select, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog.errors import ModelUnknown
from catalog.model_columns import facts_in
from catalog.tables import (
    LicenseClaimRow,
    LicenseResolutionRow,
    LicenseWaiverRow,
    ModelAliasRow,
    ModelRow,
    ModelVoteRow,
)
from catalog.values import Claim, Model, Resolution, Signer, Status, Term, Waiver
from store.ids import ClaimId, ModelId, ResolutionId, WaiverId

# A longer name is no near miss of anything, and comparing it would cost the event loop time.
NAME_COMPARED = 80
LIKENESS = 0.4


class Catalog:
    """Every model, announced and retired ones too, by id and by alias."""

    __slots__ = ("_by_name", "_models")

    def __init__(self, models: Iterable[Model] = ()) -> None:
        self.replace(models)

    def replace(self, models: Iterable[Model]) -> None:
        """Replace all models; readers see the old ones or the new ones, never half of each."""
        ordered = tuple(sorted(models, key=lambda model: model.id))
        by_name: dict[str, Model] = {alias: model for model in ordered for alias in model.aliases}
        by_name.update({model.id: model for model in ordered})
        self._models, self._by_name = ordered, by_name

    def get(self, name: str) -> Model | None:
        """The model of exactly this id or alias."""
        return self._by_name.get(name)

    def all(self) -> tuple[Model, ...]:
        """All models in the order of their ids."""
        return self._models

    def nearest(self, name: str, among: frozenset[ModelId] = frozenset(), n: int = 3) -> list[str]:
        """The ids that look most like a name, best first; of ``among`` alone where it is not empty."""
        matcher = SequenceMatcher(autojunk=False)
        matcher.set_seq2(name[:NAME_COMPARED].lower())
        scored: list[tuple[float, str]] = []
        for model in self._models:
            if among and model.id not in among:
                continue
            likeness = max(
                _likeness(matcher, other) for other in (model.id, model.id.partition("/")[2], *model.aliases)
            )
            if likeness >= LIKENESS:
                scored.append((-likeness, model.id))
        return [model_id for _, model_id in sorted(scored)[:n]]


def _likeness(matcher: SequenceMatcher[str], other: str) -> float:
    matcher.set_seq1(other.lower())
    # The bound is much cheaper than the ratio, and most names fail it.
    return matcher.ratio() if matcher.quick_ratio() >= LIKENESS else 0.0


async def load(db: AsyncConnection) -> Catalog:
    """Load the whole catalogue as it is committed now."""
    return Catalog(await load_models(db))


async def get(db: AsyncConnection, model_id: str) -> Model:
    """Load one model as it is committed now. Raises ``ModelUnknown``, naming the nearest."""
    models = await load_models(db, model_id)
    if not models:
        raise ModelUnknown(model_id, (await load(db)).nearest(model_id))
    return models[0]


async def lock(db: AsyncConnection, model_id: str, *, shared: bool = False) -> None:
    """Lock a model and its license record against changes until this transaction ends. Raises ``ModelUnknown``.

    ``shared`` locks its facts alone; rows that only refer to the model (prices, claims) may still be written.
    """
    if await db.scalar(select(ModelRow.id).where(ModelRow.id == model_id).with_for_update(read=shared)) is None:
        raise ModelUnknown(model_id, [])


async def load_models(db: AsyncConnection, model_id: str | None = None) -> list[Model]:
    """Load all models, or the one of an id; none where there is no such model."""
    models = _with_lists()
    if model_id is not None:
        models = models.where(ModelRow.id == model_id)
    claims = await _by_model(db, select(LicenseClaimRow.__table__).order_by(LicenseClaimRow.id), model_id)
    rulings = await _by_model(
        db,
        select(LicenseResolutionRow.__table__).order_by(LicenseResolutionRow.decided_at, LicenseResolutionRow.id),
        model_id,
    )
    waivers = await _by_model(
        db,
        select(LicenseWaiverRow.__table__).where(LicenseWaiverRow.revoked_at.is_(None)).order_by(LicenseWaiverRow.id),
        model_id,
    )
    return [
        _model(row, claims[row["id"]], rulings[row["id"]], waivers[row["id"]])
        for row in (await db.execute(models)).mappings()
    ]


def _with_lists() -> Select[*tuple[Any, ...]]:
    """Models, each with its ``aliases`` and how many ``votes`` it has."""
    aliases = (
        select(
            ModelAliasRow.model_id,
            func.array_agg(aggregate_order_by(ModelAliasRow.alias, ModelAliasRow.alias)).label("aliases"),
        )
        .group_by(ModelAliasRow.model_id)
        .subquery()
    )
    votes = select(ModelVoteRow.model_id, func.count().label("votes")).group_by(ModelVoteRow.model_id).subquery()
    return (
        select(ModelRow.__table__, aliases.c.aliases, votes.c.votes)
        .outerjoin(aliases, aliases.c.model_id == ModelRow.id)
        .outerjoin(votes, votes.c.model_id == ModelRow.id)
    )


async def _by_model(
    db: AsyncConnection, query: Select[*tuple[Any, ...]], model_id: str | None
) -> Mapping[str, list[RowMapping]]:
    if model_id is not None:
        query = query.where(query.selected_columns.model_id == model_id)
    rows: defaultdict[str, list[RowMapping]] = defaultdict(list)
    for row in (await db.execute(query)).mappings():
        rows[row["model_id"]].append(row)
    return rows


def _model(row: RowMapping, claims: list[RowMapping], rulings: list[RowMapping], waivers: list[RowMapping]) -> Model:
    ruling = rulings[-1] if rulings else None
    settled: frozenset[UUID] = frozenset(ruling["settles"]) if ruling is not None else frozenset()
    return Model(
        **facts_in(row, row["aliases"] or ()),
        status=Status(row["status"]),
        space=row["space"],
        successor=row["successor"],
        claims=tuple(_claim(claim, settled) for claim in claims),
        waivers=tuple(waiver_of(waiver) for waiver in waivers),
        resolution=None if ruling is None else resolution_of(ruling),
        votes=row["votes"] or 0,
    )


def _claim(row: RowMapping, settled: frozenset[UUID]) -> Claim:
    return Claim(
        id=ClaimId(row["id"]),
        license=row["license"],
        source=row["source"],
        evidence=row["evidence"],
        claimed_on=row["claimed_on"],
        resolved=row["id"] in settled,
    )


def resolution_of(row: RowMapping) -> Resolution:
    """The value of a row of the license record."""
    return Resolution(
        id=ResolutionId(row["id"]),
        license=row["license"],
        reason=row["reason"],
        evidence=row["evidence"],
        decided_by=row["decided_by"],
        decided_at=row["decided_at"],
    )


def waiver_of(row: RowMapping) -> Waiver:
    """The value of a row of the license record."""
    return Waiver(
        id=WaiverId(row["id"]),
        term=Term(row["term"]),
        signed_by=row["signed_by"],
        evidence=row["evidence"],
        signed_at=row["signed_at"],
        signer=Signer(row["signer"]),
        expires_at=row["expires_at"],
    )
