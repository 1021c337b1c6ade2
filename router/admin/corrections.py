"""Lets a customer have an issued invoice name them as their billing details say today: taken back, and issued anew.

Calls and amounts stay; only an invoice of which nothing was paid yet, because what was paid is finance's to move.
"""

import msgspec

from billing.documents.document import DocumentKind
from billing.documents.parties import BillingProfile
from billing.documents.profiles import read_profile
from billing.documents.requests import DocumentRequest
from billing.documents.store import StoredDocument, count_credited
from billing.receivables import find_receivable
from router.admin.documents import ask_for_credit_note, require_document
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, NotFound
from store.ids import AccountId

REASON = "The customer corrected who is billed."
# So often a month's invoice is corrected by its customer.
CORRECTIONS_MAX = 5
FIELDS = ("legal_name", "address", "tax_ids", "po_number", "language")


class DetailChange(msgspec.Struct, frozen=True):
    """One of the details, as the document has it and as the new one will."""

    field: str
    before: str
    after: str


class Correction(msgspec.Struct, frozen=True):
    """What is requested, and what changes by it."""

    request: DocumentRequest
    changes: tuple[DetailChange, ...]


async def correct_document(work: UnitOfWork, account_id: AccountId, number: str) -> Correction:
    """Have an invoice corrected. Raises ``NotFound``, and ``Conflict`` with what stands in the way."""
    stored = await require_document(work, number)
    if stored.account_id != account_id:
        raise NotFound("This account has no such document.", param="number")
    profile = await read_profile(work.connection, account_id)
    changes = () if profile is None else differences(stored.document.draft.buyer, profile.profile)
    await _require_correctable(work, stored, has_changes=bool(changes))
    request = await ask_for_credit_note(work, number, REASON, reissues=True)
    return Correction(request, changes)


def differences(before: BillingProfile, after: BillingProfile) -> tuple[DetailChange, ...]:
    """What of the details is another."""
    pairs = ((name, _text(before, name), _text(after, name)) for name in FIELDS)
    return tuple(DetailChange(name, was, is_now) for name, was, is_now in pairs if was != is_now)


async def _require_correctable(work: UnitOfWork, stored: StoredDocument, *, has_changes: bool) -> None:
    number, draft = stored.document.name, stored.document.draft
    if draft.kind is not DocumentKind.INVOICE:
        raise Conflict(f"{number} is a {draft.kind.value}: only a month's invoice can be corrected.", param="number")
    if stored.corrected_by is not None:
        raise Conflict(f"{number} was taken back by {stored.corrected_by}.", param="number")
    if not has_changes:
        raise Conflict(f"{number} says what the billing details say: correct those first.", param="number")
    receivable = await find_receivable(work.connection, number)
    if receivable is not None and receivable.open != receivable.total:
        raise Conflict(f"Something of {number} was paid or credited: write to who issued it.", param="number")
    seller, kind = draft.seller.id, draft.kind
    if await count_credited(work.connection, stored.account_id, kind, draft.since, seller) >= CORRECTIONS_MAX:
        raise Conflict(f"The month's invoice was corrected {CORRECTIONS_MAX} times: write to who issued it.")


def _text(profile: BillingProfile, name: str) -> str:
    if name == "address":
        address = profile.address
        parts = (address.line1, address.line2, address.postcode, address.city, address.region, address.country)
        return ", ".join(part for part in parts if part)
    if name == "tax_ids":
        return ", ".join(one.value for one in profile.tax_ids)
    return str(getattr(profile, name))
