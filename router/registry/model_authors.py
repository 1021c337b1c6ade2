"""Finds who wrote what stands in a model's entry, and when, from the audit: one statement, whatever stands there.

What came with a release of the product before any change has nobody.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Final, TypeAlias

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from store.ids import ModelId

# The latest changes are looked through; what is older than so many of them has nobody.
CHANGES_MAX: Final = 200


class Author(msgspec.Struct, frozen=True):
    """Who wrote it, as the audit names them, and when."""

    actor: str
    at: datetime


# A fact's name and 0; or the name of a list and a record's place in it, from 1 on.
Place: TypeAlias = tuple[str, int]

_AUTHORS: Final = text("""
WITH changes AS (
    SELECT at, actor, before, after FROM audit
    WHERE subject = :model AND action IN ('model.add', 'model.edit', 'model.import') AND after IS NOT NULL
    ORDER BY at DESC LIMIT :most
), lists AS (
    SELECT unnest(ARRAY['statements', 'benchmarks', 'texts']) AS field
), added AS (
    SELECT at, actor, field, record FROM changes, lists, jsonb_array_elements(after -> field) AS record
    EXCEPT
    SELECT at, actor, field, record FROM changes, lists, jsonb_array_elements(before -> field) AS record
), stated AS (
    SELECT field, place, record FROM models,
        LATERAL (VALUES ('statements', statements), ('benchmarks', benchmarks), ('texts', texts)) AS l(field, list),
        jsonb_array_elements(list) WITH ORDINALITY AS r(record, place)
    WHERE models.id = :model
)
(SELECT DISTINCT ON (field) field, 0 AS place, at, actor FROM changes, jsonb_object_keys(after) AS field
    ORDER BY field, at DESC)
UNION ALL
(SELECT DISTINCT ON (field, place) field, place, at, actor FROM stated JOIN added USING (field, record)
    ORDER BY field, place, at DESC)
""")


async def list_authors(connection: AsyncConnection, model_id: ModelId) -> Mapping[Place, Author]:
    """Who wrote each fact, and each record of the lists, of a model."""
    rows = await connection.execute(_AUTHORS, {"model": model_id, "most": CHANGES_MAX})
    return {(row.field, row.place): Author(row.actor, row.at) for row in rows}
