"""The values of the catalogue as a buyer reads it: a row for each model, with figures. Pure."""

from datetime import date
from enum import StrEnum
from typing import Final

import msgspec

from catalog.descriptions import Benchmark
from catalog.values import Estimate
from catalog.verdict import Chip
from store.ids import ModelId


class Standing(StrEnum):
    """How a model, or one endpoint, stands now, in a reader's words."""

    LIVE = "live"
    DEGRADED = "degraded"
    COLD = "cold"
    COMING_SOON = "coming soon"
    DEPRECATED = "deprecated"
    RETIRED = "retired"

    @property
    def sign(self) -> str:
        """The sign before the word."""
        return _SIGNS[self]

    @property
    def css(self) -> str:
        """The word as a class."""
        return self.value.replace(" ", "-")


_SIGNS: Final = dict(zip(Standing, "●◐○◌⊘⊘", strict=True))


class Figures(msgspec.Struct, frozen=True):
    """What was measured; None: too few calls to say. Milliseconds are of the last day."""

    p50_ms: float | None = None
    p95_ms: float | None = None
    availability_24h: float | None = None
    availability_7d: float | None = None
    availability_30d: float | None = None


UNKNOWN_FIGURES: Final = Figures()


class CatalogueRow(msgspec.Struct, frozen=True, kw_only=True):
    """One model in the catalogue. ``price_nano`` is the list price in force, else None; amounts are per million tokens.

    ``lang`` are its languages as codes, ``languages`` the sentence. ``shortens`` says that vectors can be shortened,
    ``widths`` to which. ``may_charge`` is False where an estimate is no offer.
    """

    id: ModelId
    name: str
    owner: str
    aliases: tuple[str, ...]
    summary: str
    status: Standing
    price_nano: int | None
    batch_nano: int | None
    estimate: Estimate | None
    dimensions: int
    widths: tuple[int, ...]
    input_tokens: int
    lang: tuple[str, ...]
    languages: str
    parameters: int | None
    benchmark: Benchmark | None
    figures: Figures
    providers: tuple[str, ...]
    regions: tuple[str, ...]
    chip: Chip
    votes: int
    published_on: date | None
    space: str

    @property
    def shortens(self) -> bool:
        """Whether its vectors can be shortened."""
        return bool(self.widths)

    @property
    def shown_nano(self) -> int | None:
        """The price that a list shows: in force, else the estimate; what it is stands beside it."""
        if self.price_nano is not None or self.estimate is None:
            return self.price_nano
        return self.estimate.nano_per_mtok

    @property
    def paid_batch_nano(self) -> int | None:
        """What a batch call pays: the list price where there is no other."""
        return self.price_nano if self.batch_nano is None else self.batch_nano

    @property
    def is_estimate(self) -> bool:
        """Whether what is shown is no price in force."""
        return self.price_nano is None and self.estimate is not None

    @property
    def score(self) -> float | None:
        """The first benchmark's value."""
        return None if self.benchmark is None else float(self.benchmark.value)
