"""The catalogue's values: a model with everything that a call, a page or a decision needs to know. No I/O."""

from datetime import date, datetime
from enum import StrEnum

import msgspec

from store.ids import ClaimId, ModelId, WaiverId


class Status(StrEnum):
    """Where a model stands; the allowed moves are in :mod:`catalog.lifecycle`."""

    COMING_SOON = "coming_soon"
    LIVE = "live"
    DEPRECATED = "deprecated"
    RETIRED = "retired"


class Use(StrEnum):
    """What a key declares that it is for."""

    COMMERCIAL = "commercial"
    NON_COMMERCIAL = "non_commercial"
    RESEARCH = "research"


class Claim(msgspec.Struct, frozen=True):
    """One source's statement of a model's license. ``license`` is an SPDX id or a ``LicenseRef-…``."""

    id: ClaimId
    license: str
    source: str
    evidence: str
    claimed_on: date
    resolved: bool = False


class Waiver(msgspec.Struct, frozen=True):
    """A signed lifting of one term: the licensor's or the operator's own decision, with its evidence."""

    id: WaiverId
    term: str
    signed_by: str
    evidence: str
    signed_at: datetime


class Model(msgspec.Struct, frozen=True):
    """A catalogue entry.

    ``dimensions`` is the native width; ``trained_dimensions`` the Matryoshka points it was trained for, empty where
    the model cannot be shortened. ``vocabulary_size`` is None where we do not declare the tokenizer, and then token
    ids are refused. ``special_tokens`` are those that the tokenizer adds to each input. ``prompts`` maps
    ``query`` and ``document`` to the text put before an input. ``space`` is the vector space that a route may not
    leave.
    """

    id: ModelId
    owned_by: str
    summary: str
    status: Status
    dimensions: int
    max_input_tokens: int
    space: str
    published_on: date
    normalized: bool = True
    trained_dimensions: tuple[int, ...] = ()
    vocabulary_size: int | None = None
    tokenizer: str | None = None
    special_tokens: int = 0
    prompts: dict[str, str] = {}
    revision: str | None = None
    parameters: int | None = None
    languages: str = ""
    claims: tuple[Claim, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    estimated_nano_per_mtok: int | None = None
    note: str = ""


class Decision(msgspec.Struct, frozen=True):
    """The answer of a license rule, with what it rests on: the API, the pages and the audit log print the same."""

    allowed: bool
    license: str
    reasons: tuple[str, ...] = ()
    term: str | None = None
    lifted_by: str = ""
    conflict: bool = False
    attribution: str | None = None
