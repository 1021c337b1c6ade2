"""The page of one thing of finance: its facts, the ways to its writes, and tables of what belongs to it."""

from typing import Any, ClassVar

import msgspec

from web.answers import Page
from web.finance.facts import Fact
from web.finance.listing import Cell, Way
from web.parts.tables import Column

Json = dict[str, Any]


class Section(msgspec.Struct, frozen=True):
    """A table with its heading; ``empty`` is the sentence where it has no rows."""

    title: str
    caption: str
    head: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    empty: str


class ThingPage(Page, frozen=True, kw_only=True):
    """One thing. ``notice`` is what to know about it first."""

    template: ClassVar[str] = "finance/thing.html"

    facts: tuple[Fact, ...]
    ways: tuple[Way, ...]
    sections: tuple[Section, ...] = ()
    notice: str = ""
    is_done: bool = False
