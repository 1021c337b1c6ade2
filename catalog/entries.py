"""Models as operators add and edit them; the shipped ones come by :mod:`catalog.seed`. No lifecycle is set here."""

from sqlalchemy import delete, insert, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog.errors import FactsInvalid
from catalog.seed import SeedModel
from catalog.tables import ModelAliasRow, ModelRow


async def add(db: AsyncConnection, entry: SeedModel) -> None:
    """A new model, coming soon; its claims are recorded apart. Raises ``FactsInvalid``."""
    try:
        await db.execute(insert(ModelRow).values(id=entry.id, **entry.facts()))
        await _write_aliases(db, entry)
    except IntegrityError as error:
        raise _invalid(entry, error) from error


async def edit(db: AsyncConnection, entry: SeedModel, *, keeps_space: bool) -> None:
    """Replace all facts. ``keeps_space``: its vector space keeps the name it was given. Raises ``FactsInvalid``."""
    facts = entry.facts()
    if keeps_space:
        del facts["space"]
    try:
        await db.execute(update(ModelRow).where(ModelRow.id == entry.id).values(**facts))
        await db.execute(delete(ModelAliasRow).where(ModelAliasRow.model_id == entry.id))
        await _write_aliases(db, entry)
    except IntegrityError as error:
        raise _invalid(entry, error) from error


async def _write_aliases(db: AsyncConnection, entry: SeedModel) -> None:
    for alias in entry.aliases:
        await db.execute(insert(ModelAliasRow).values(alias=alias, model_id=entry.id))


def _invalid(entry: SeedModel, error: IntegrityError) -> FactsInvalid:
    rule = getattr(getattr(error.orig, "__cause__", None), "constraint_name", None) or "the catalogue's rules"
    if rule == "model_aliases_pkey":
        return FactsInvalid(f"An alias of {entry.id} is another model's: {', '.join(entry.aliases)}.")
    return FactsInvalid(f"The facts of {entry.id} cannot be: they break {rule}.")
