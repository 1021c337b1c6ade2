"""Builds the conditions by which payments, refunds and disputes are found: account, state, time, and what is typed.

What is typed is a part of an id (ours or Stripe's), of the account's name, a reason or a problem, or an amount.
"""

import re
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from store.ids import AccountId

_AMOUNT = re.compile(r"(\d{1,12}|\d{1,3}(,\d{3}){1,3})(\.(\d{2}))?")


# Of LIKE.
_SPECIAL, _ESCAPED = re.compile(r"([\\%_])"), r"\\\1"


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for; a field that is None asks nothing. ``since`` up to ``until``."""

    account_id: AccountId | None = None
    status: StrEnum | None = None
    search: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Searched(msgspec.Struct, frozen=True):
    """Where a table has what can be looked for: SQL expressions of ours."""

    words: str
    amounts: tuple[str, ...]
    at: str


ALL = Wanted()


def conditions(wanted: Wanted, table: Searched) -> tuple[str, dict[str, Any]]:
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
        places = [
            f"({table.words}) ILIKE :like",
            "account_id IN (SELECT a.id FROM accounts a WHERE a.name ILIKE :like)",
        ]
        values["like"] = f"%{_SPECIAL.sub(_ESCAPED, wanted.search.strip())}%"
        if (cents := cents_of(wanted.search)) is not None:
            places += [f"{column} = :cents" for column in table.amounts]
            values["cents"] = cents
        parts.append(f"({' OR '.join(places)})")
    return "".join(f" AND {part}" for part in parts), values


def cents_of(typed: str) -> int | None:
    """An amount of USD as somebody types it, in cents; None for what is none."""
    found = _AMOUNT.fullmatch(typed.strip())
    if found is None or not typed.isascii():
        return None
    return int(found[1].replace(",", "")) * 100 + int(found[4] or 0)
