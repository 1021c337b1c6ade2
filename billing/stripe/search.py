"""Builds the conditions by which payments, refunds and disputes are found: account, state, time, and what is typed.

What is typed is the beginning or the end of an id (ours or Stripe's), beginnings of words of the account's name, a
reason or a problem, or an amount: the table ``payment_words`` has them, written by triggers, with an index.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from store.ids import AccountId

# As with documents: a rare word is found by the index of words; where more than so many rows have the words, a page of
# the newest is found sooner by walking from the newest on.
FEW = 2_000
_FOUND = text("""
    SELECT id FROM payment_words
    WHERE kind = :kind AND words @@ payment_question(CAST(:search AS text)) LIMIT :most
""")
_FILL = text("SELECT fill_payment_words(:most)")


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for; a field that is None asks nothing. ``since`` up to ``until``."""

    account_id: AccountId | None = None
    status: StrEnum | None = None
    search: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Searched(msgspec.Struct, frozen=True):
    """A table that is looked through: its name in ``payment_words``, and its columns of the id and of the time."""

    kind: str
    id_type: str
    at: str


ALL = Wanted()


async def conditions(tx: AsyncConnection, wanted: Wanted, table: Searched) -> tuple[str, dict[str, Any]]:
    """The conditions that are asked for, each after an ``AND``, and their values."""
    parts: list[str] = []
    values: dict[str, Any] = {}
    for name, part in (
        ("account_id", "account_id = :account_id"),
        ("status", "status = :status"),
        ("since", f"{table.at} >= :since"),
        ("until", f"{table.at} < :until"),
    ):
        if (value := getattr(wanted, name)) is not None:
            parts.append(part)
            values[name] = value.value if isinstance(value, StrEnum) else value
    if wanted.search is not None:
        which = {"kind": table.kind, "search": wanted.search}
        few = list((await tx.execute(_FOUND, {**which, "most": FEW + 1})).scalars())
        if len(few) <= FEW:
            parts.append(f"id = ANY(CAST(CAST(:few AS text[]) AS {table.id_type}[]))")
            values["few"] = few
        else:
            parts.append(
                "EXISTS (SELECT FROM payment_words w WHERE w.kind = :kind AND w.id = CAST(listed.id AS text)"
                " AND w.words @@ payment_question(CAST(:search AS text)))"
            )
            values |= which
    return "".join(f" AND {part}" for part in parts), values


async def fill_words(tx: AsyncConnection, most: int) -> int:
    """Write the words of rows of earlier releases, up to ``most`` of each kind; 0: all have theirs."""
    return int(await tx.scalar(_FILL, {"most": most}) or 0)
