"""Pure. The catalogue's values: a model with everything that a call, a page or a decision needs to know."""

from datetime import date, datetime
from enum import StrEnum

import msgspec

from catalog.descriptions import Benchmark, Downloads, Statement, Text
from store.ids import ClaimId, ModelId, ResolutionId, WaiverId

_NANO_PER_USD = 1_000_000_000


class Status(StrEnum):
    """Where a model stands; :mod:`catalog.lifecycle` has the allowed moves."""

    COMING_SOON = "coming_soon"
    LIVE = "live"
    DEPRECATED = "deprecated"
    RETIRED = "retired"


class Use(StrEnum):
    """What a key declares that its calls are for."""

    COMMERCIAL = "commercial"
    NON_COMMERCIAL = "non_commercial"
    RESEARCH = "research"


class Term(StrEnum):
    """What a license permits or demands, term by term: a refusal names one, a waiver lifts one."""

    COMMERCIAL_USE = "commercial_use"
    NON_COMMERCIAL_USE = "non_commercial_use"
    RESEARCH_USE = "research_use"
    CHARGING = "charging"
    DERIVATIVES = "derivatives"
    ACCEPTANCE = "acceptance"
    REGION = "region"
    KNOWN_LICENSE = "known_license"


class Signer(StrEnum):
    """Whose signature a waiver bears."""

    LICENSOR = "licensor"
    OPERATOR = "operator"


# Hashes are kept: the decision of every call is looked up by these values.
class Claim(msgspec.Struct, frozen=True, cache_hash=True):
    """One source's statement of a model's license. ``license`` is an SPDX id or a ``LicenseRef-…``.

    ``resolved`` says that the model's resolution has settled the claim; until then it binds.
    """

    id: ClaimId
    license: str
    source: str
    evidence: str
    claimed_on: date
    resolved: bool = False


class Resolution(msgspec.Struct, frozen=True, cache_hash=True):
    """An operator's ruling, with evidence, on which license holds; it settles the claims that were recorded then."""

    id: ResolutionId
    license: str
    reason: str
    evidence: str
    decided_by: str
    decided_at: datetime


class Waiver(msgspec.Struct, frozen=True, cache_hash=True):
    """A signed lifting of one term: the licensor's or the operator's own decision, with its evidence.

    It is in force from ``signed_at`` until ``expires_at``, or for good where that is None.
    """

    id: WaiverId
    term: Term
    signed_by: str
    evidence: str
    signed_at: datetime
    signer: Signer = Signer.OPERATOR
    expires_at: datetime | None = None


class Estimate(msgspec.Struct, frozen=True):
    """What a model is said to cost, in nano-USD per million tokens, before it has a price of ours.

    ``is_list_price`` tells its maker's public list price from a guess. It is shown to people and never charged.
    """

    nano_per_mtok: int
    source: str
    stated_on: date
    is_list_price: bool = False
    note: str = ""

    def sentence(self) -> str:
        """One sentence for a page: ``$0.008 per 1M tokens, estimated (…)``."""
        kind = "list price of its maker" if self.is_list_price else "estimated"
        stated = f"{kind} ({self.source}, {self.stated_on.isoformat()})"
        price = f"{_usd(self.nano_per_mtok)} per 1M tokens, {stated}."
        return f"{price} {self.note}" if self.note else price


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is stated of a model, by the shipped catalogue, the manifest or an operator.

    Whoever adds a fact adds it here, as a column in :mod:`catalog.tables` with its migration, and to the admin API's
    model; bounds stand in :mod:`catalog.model_edits`. The manifest and the shipped catalogue read these fields.

    ``published_on`` is None where the day is not known. ``dimensions`` is the width where a call asks for none;
    ``trained_dimensions`` the Matryoshka points that the model was trained for, empty where it cannot be shortened;
    ``only_trained_dimensions`` says that no other width may be asked for. ``normalized`` promises vectors of length 1.
    ``aliases`` are other names for ``id`` in a request. ``vocabulary_size`` is None where we do not declare the
    tokenizer, and then token ids are refused; else every id below it is the tokenizer's. ``special_tokens`` are those
    that the tokenizer adds to each input, and ``max_input_tokens`` counts them; ``max_input_tokens_ceiling`` is what
    the architecture could take. ``prompts`` maps ``query`` and ``document`` to the text put before an input.
    ``updated_on`` is a day, or a month where no day is known. ``language_codes`` are the natural languages of the
    sentence in ``languages`` that are known one by one (BCP 47). :mod:`catalog.descriptions` explains the rest.
    """

    id: ModelId
    owned_by: str
    summary: str
    published_on: date | None
    dimensions: int
    max_input_tokens: int
    normalized: bool
    aliases: tuple[str, ...] = ()
    trained_dimensions: tuple[int, ...] = ()
    only_trained_dimensions: bool = False
    max_input_tokens_ceiling: int | None = None
    pooling: str = "undisclosed"
    numerics: str = "undisclosed"
    tokenizer: str | None = None
    vocabulary_size: int | None = None
    special_tokens: int = 0
    prompts: dict[str, str] = {}
    revision: str | None = None
    parameters: int | None = None
    languages: str = ""
    estimate: Estimate | None = None
    note: str = ""
    updated_on: str | None = None
    downloads: Downloads | None = None
    task: str = "embedding"
    architecture: str | None = None
    language_codes: tuple[str, ...] = ()
    programming_languages: tuple[str, ...] = ()
    statements: tuple[Statement, ...] = ()
    benchmarks: tuple[Benchmark, ...] = ()
    texts: tuple[Text, ...] = ()


class Model(ModelFacts, frozen=True, kw_only=True):
    """A model of the catalogue: its facts, where it stands, and its license record.

    ``space`` is the vector space that a route may not leave. ``votes`` is how many accounts want the model while it is
    announced. ``successor`` takes its place, where it is deprecated or retired and one was named.
    """

    status: Status
    space: str
    claims: tuple[Claim, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    resolution: Resolution | None = None
    votes: int = 0
    successor: ModelId | None = None

    @property
    def estimated_nano_per_mtok(self) -> int | None:
        """The estimated price in nano-USD per million tokens; None where there is no estimate."""
        return None if self.estimate is None else self.estimate.nano_per_mtok


def _usd(nano: int) -> str:
    whole, fraction = divmod(nano, _NANO_PER_USD)
    return f"${whole}.{f'{fraction:09d}'.rstrip('0').ljust(2, '0')}"


class Decision(msgspec.Struct, frozen=True):
    """The answer of a license rule, with its grounds: the API, the pages and the audit log print the same."""

    allowed: bool
    license: str
    reasons: tuple[str, ...] = ()
    term: str | None = None
    lifted_by: str = ""
    conflict: bool = False
    attribution: str | None = None
