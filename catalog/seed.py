"""Imports the shipped catalogue, ``seed/*.toml``, into the database, repeatedly, without undoing an operator's work.

A model that an operator has changed, or that has ever left *coming soon*, is the operator's, and the seed does not
change it. Claims are different: evidence is added to every model.
"""

import tomllib
from collections.abc import Mapping
from datetime import date
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

import msgspec
from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog.errors import SeedInvalid
from catalog.model_columns import columns_of
from catalog.tables import LicenseClaimRow, ModelAliasRow, ModelRow
from catalog.terms import find, normalize
from catalog.values import ModelFacts, Status
from store.ids import new_id

RECORDED_BY = "seed"
_ADDED_UP = ("statements", "benchmarks", "texts")
# Columns that came after the first release, with what stands in them where nothing is stated.
_YOUNGER: Mapping[str, object] = {
    **dict.fromkeys(("updated_on", "downloads", "architecture")),
    "task": "embedding",
    **{name: [] for name in ("language_codes", "programming_languages", *_ADDED_UP)},
}


class SeedClaim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A license claim as a seed file states it."""

    license: str
    source: str
    evidence: str
    claimed_on: date


class SeedModel(ModelFacts, frozen=True, kw_only=True):
    """A model as a seed file states it: its facts and the license claims that come with it."""

    claim: tuple[SeedClaim, ...]


class Summary(msgspec.Struct, frozen=True):
    """What an import did, by model id; ``kept`` are those that the seed would have changed and may not."""

    added: tuple[str, ...]
    updated: tuple[str, ...]
    unchanged: tuple[str, ...]
    kept: tuple[str, ...]
    claims_added: int

    def sentence(self) -> str:
        """What was done, in one line for people."""
        return (
            f"catalogue: {len(self.added)} models added, {len(self.updated)} updated, {len(self.unchanged)} unchanged, "
            f"{len(self.kept)} kept as an operator left them; {self.claims_added} license claims added"
        )


@cache
def shipped() -> tuple[SeedModel, ...]:
    """Read every model of the seed files, by id. Raises ``SeedInvalid``."""
    folder = files("catalog").joinpath("seed")
    texts = {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir() if file.name.endswith(".toml")}
    return read(texts)


def read(texts: Mapping[str, str]) -> tuple[SeedModel, ...]:
    """Read models from seed files by name; ``[defaults]`` hold for each model of a file. Raises ``SeedInvalid``."""
    models: dict[str, SeedModel] = {}
    names: dict[str, str] = {}
    for file, text in sorted(texts.items()):
        parsed = tomllib.loads(text)
        for entry in parsed.get("model", ()):
            try:
                model = msgspec.convert(_with_defaults(entry, parsed.get("defaults", {})), SeedModel)
            except msgspec.ValidationError as error:
                raise SeedInvalid(f"{file}, {entry.get('id', 'a model without id')}: {error}") from error
            for name in (model.id, *model.aliases):
                if (owner := names.setdefault(name, model.id)) != model.id or model.id in models:
                    raise SeedInvalid(f"{file}: {name} of {model.id} is taken by {owner}")
            for claim in model.claim:
                if find(normalize(claim.license)) is None:
                    raise SeedInvalid(f"{file}: {model.id} claims {claim.license}, whose terms are not in terms.toml")
            models[model.id] = model
    return tuple(sorted(models.values(), key=lambda model: model.id))


def _with_defaults(entry: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """A model with what holds for each of its file; of what is said of them, the model's own comes last."""
    both = {name: [*defaults.get(name, ()), *entry.get(name, ())] for name in _ADDED_UP}
    return {**defaults, **entry, **{name: values for name, values in both.items() if values}}


async def import_seed(db: AsyncConnection, models: tuple[SeedModel, ...] | None = None) -> Summary:
    """Import the shipped catalogue into the database; a second import changes nothing."""
    # Of two processes that start at once, the second finds the import done.
    await db.execute(select(func.pg_advisory_xact_lock(func.hashtext("catalog.seed"))))
    rows = await _load_rows(db)
    outcomes: dict[str, list[str]] = {"added": [], "updated": [], "unchanged": [], "kept": []}
    claims_added = 0
    for model in models if models is not None else shipped():
        outcomes[await _import_model(db, model, rows.get(model.id))].append(model.id)
        claims_added += await _import_claims(db, model)
    return Summary(**{outcome: tuple(ids) for outcome, ids in outcomes.items()}, claims_added=claims_added)


class _Row(msgspec.Struct, frozen=True):
    """A model in the database: its status, its digest when it was seeded, and the digest of its facts now."""

    status: Status
    seeded: str | None
    digest: str


async def _import_model(db: AsyncConnection, model: SeedModel, row: _Row | None) -> str:
    columns = columns_of(model)
    digest = _digest(columns, model.aliases)
    if row is None:
        await db.execute(insert(ModelRow).values(id=model.id, seed_digest=digest, **columns))
        await _write_aliases(db, model)
        return "added"
    if row.digest == digest:
        return "unchanged"
    if row.digest != row.seeded or row.status is not Status.COMING_SOON:
        return "kept"
    await db.execute(update(ModelRow).where(ModelRow.id == model.id).values(seed_digest=digest, **columns))
    await db.execute(delete(ModelAliasRow).where(ModelAliasRow.model_id == model.id))
    await _write_aliases(db, model)
    return "updated"


async def _write_aliases(db: AsyncConnection, model: SeedModel) -> None:
    for alias in model.aliases:
        # An operator may have given the name to another model: theirs stays.
        await db.execute(insert(ModelAliasRow).values(alias=alias, model_id=model.id).on_conflict_do_nothing())


async def _import_claims(db: AsyncConnection, model: SeedModel) -> int:
    added = 0
    for claim in model.claim:
        statement = insert(LicenseClaimRow).values(
            id=new_id(),
            model_id=model.id,
            license=normalize(claim.license),
            source=claim.source,
            evidence=claim.evidence,
            claimed_on=claim.claimed_on,
            recorded_by=RECORDED_BY,
        )
        written = await db.execute(
            statement.on_conflict_do_nothing(index_elements=["model_id", "license", "source"]).returning(
                LicenseClaimRow.id
            )
        )
        added += len(written.all())
    return added


async def _load_rows(db: AsyncConnection) -> dict[str, _Row]:
    aliases: dict[str, list[str]] = {}
    for alias, model_id in await db.execute(select(ModelAliasRow.alias, ModelAliasRow.model_id)):
        aliases.setdefault(model_id, []).append(alias)
    rows = (await db.execute(select(ModelRow.__table__))).mappings().all()
    names = columns_of(shipped()[0]).keys()
    return {
        row["id"]: _Row(
            status=Status(row["status"]),
            seeded=row["seed_digest"],
            digest=_digest({name: row[name] for name in names}, tuple(aliases.get(row["id"], ()))),
        )
        for row in rows
    }


def _digest(facts: Mapping[str, Any], aliases: tuple[str, ...]) -> str:
    """The digest of the values themselves, so that a row and a seed entry with the same facts have the same one.

    A younger fact that says nothing is left out: a row of an older release keeps the digest that was written with it.
    """
    facts = {name: value for name, value in facts.items() if name not in _YOUNGER or value != _YOUNGER[name]}
    return sha256(msgspec.json.encode([facts, sorted(aliases)], order="sorted")).hexdigest()
