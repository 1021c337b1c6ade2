"""Pure. Which term of a contract makes a model's price, what that price is, and which months have a minimum.

A percentage is taken off the list price per million tokens, of each lane, and rounded once, by half-even, to a
nano-dollar: what is published is what each call is charged at. A call's cost is then made of that price alone.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from enum import StrEnum
from uuid import uuid5

import msgspec

from billing.money import Agreement, NanoUSD, Price, half_even
from store.ids import AccountId, ContractId, ModelId, PriceId, TermId

# Percentages are hundredths of a percent.
WHOLE = 10_000
# The name from which the id of a negotiated price is computed; one of a percentage is computed from its list price.
NEGOTIATED = "negotiated"


class Unused(StrEnum):
    """What becomes of the rest of a commitment when its contract ends."""

    EXPIRES = "expires"
    STAYS = "stays"


class Term(msgspec.Struct, frozen=True):
    """What a contract says about one model's price, or without a model about all that no term names.

    Either ``nano_per_mtok`` (and ``batch_nano_per_mtok``) or ``percent_off``, in hundredths of a percent.
    """

    id: TermId
    contract_id: ContractId
    account_id: AccountId
    model_id: ModelId | None
    nano_per_mtok: int | None
    batch_nano_per_mtok: int | None
    percent_off: int | None
    effective_at: datetime
    until: datetime | None

    def is_in_force(self, at: datetime) -> bool:
        """Whether the contract holds at an instant."""
        return self.effective_at <= at and (self.until is None or at < self.until)


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """A contract with its terms; ``until`` is the earliest end that was agreed or set since."""

    id: ContractId
    account_id: AccountId
    effective_at: datetime
    until: datetime | None
    minimum: NanoUSD | None
    commitment: NanoUSD | None
    unused: Unused
    note: str
    reason: str
    end_reason: str
    created_at: datetime
    terms: tuple[Term, ...]

    def overlaps(self, effective_at: datetime, until: datetime | None) -> bool:
        """Whether both hold at some instant."""
        return (until is None or self.effective_at < until) and (self.until is None or effective_at < self.until)


def discounted(nano_per_mtok: int, percent_off: int) -> int:
    """A price per million tokens less a percentage, to the nearest nano-dollar, half-even."""
    return half_even(nano_per_mtok * (WHOLE - percent_off), WHOLE)


def term_for(terms: Mapping[ModelId | None, Iterable[Term]], model_id: ModelId, at: datetime) -> Term | None:
    """The term that makes a model's price at an instant: one that names it goes before one for all models."""
    for scope in (model_id, None):
        for term in terms.get(scope, ()):
            if term.is_in_force(at):
                return term
    return None


def by_scope(terms: Iterable[Term]) -> dict[ModelId | None, list[Term]]:
    """Terms of one account by the model that they name."""
    found: dict[ModelId | None, list[Term]] = {}
    for term in terms:
        found.setdefault(term.model_id, []).append(term)
    return found


def price_under(term: Term, listed: Price | None) -> Price | None:
    """The account's price by a term; None for a percentage off a model that has no list price."""
    if term.percent_off is None:
        assert term.nano_per_mtok is not None, "a term is a price or a percentage; this is a bug"
        assert term.model_id is not None, "a negotiated price names its model; this is a bug"
        agreement = Agreement(term.contract_id, term.id)
        known = PriceId(uuid5(term.id, NEGOTIATED))
        return Price(known, term.model_id, term.nano_per_mtok, term.effective_at, term.batch_nano_per_mtok, agreement)
    if listed is None:
        return None
    batch = listed.batch_nano_per_mtok
    return Price(
        PriceId(uuid5(term.id, listed.id.hex)),
        listed.model_id,
        discounted(listed.nano_per_mtok, term.percent_off),
        max(term.effective_at, listed.effective_at),
        None if batch is None else discounted(batch, term.percent_off),
        Agreement(term.contract_id, term.id, term.percent_off, listed.nano_per_mtok, batch),
    )


def whole_months(effective_at: datetime, until: datetime | None, before: date) -> Iterator[date]:
    """The UTC months, by their first days, that lie wholly within a contract and begin before ``before``."""
    start = effective_at.astimezone(UTC)
    year, month = start.year, start.month
    while date(year, month, 1) < before:
        following = (year + month // 12, month % 12 + 1)
        begins, ends = (datetime(*first, 1, tzinfo=UTC) for first in ((year, month), following))
        if effective_at <= begins and (until is None or ends <= until):
            yield begins.date()
        year, month = following


def percent_text(percent_off: int) -> str:
    """Hundredths of a percent as text: 1500 is ``15``, 1250 is ``12.5``."""
    whole, rest = divmod(percent_off, 100)
    return f"{whole}.{rest:02d}".rstrip("0").rstrip(".")


def read_percent(text: str) -> int:
    """Hundredths of a percent from text such as ``12.5``. Raises ``ValueError`` unless it is 0.01 to 100."""
    whole, point, rest = text.partition(".")
    digits = whole + rest
    if not (digits.isascii() and digits.isdigit() and whole) or len(whole) > 3 or len(rest) > 2 or (point and not rest):
        raise ValueError(f"{text!r} is not a percentage with at most two decimals")
    found = int(whole) * 100 + int(rest.ljust(2, "0"))
    if not 0 < found <= WHOLE:
        raise ValueError("a percentage is 0.01 to 100")
    return found
