"""Changes who pays and who sells through the one write path. The audit names versions, never a person's facts."""

from sqlalchemy.exc import IntegrityError

from billing.documents import profiles
from billing.documents.parties import BillingProfile, Seller, TaxId, TaxIdInvalid, tax_id_of
from billing.documents.profiles import ExchangeRate, StoredProfile, StoredSeller
from billing.documents.requests import retry_refused
from billing.documents.tax_rates import EU
from billing.stripe.recharges import erase_consents
from router.admin.accounts import require_account
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, InvalidRequest, NotFound
from store.ids import AccountId, wire


async def set_profile(work: UnitOfWork, account_id: AccountId, profile: BillingProfile) -> StoredProfile:
    """Give an account a new version of its billing profile. Raises ``NotFound``.

    Documents that were refused, mostly for what is in it, are tried again.
    """
    await require_account(work, account_id)
    written = await profiles.write_profile(work.connection, account_id, profile, work.actor)
    await retry_refused(work.connection, account_id)
    subject = wire(AccountId, account_id)
    work.record_change(Change("billing_profile.set", subject, account_id, after={"version": written.version}))
    return written


async def erase_profile(work: UnitOfWork, account_id: AccountId, reason: str) -> int:
    """Delete all versions of an account's billing profile, and the names of who consented; how many versions.

    Raises ``NotFound`` where there is none.
    """
    await require_account(work, account_id)
    versions = await profiles.erase_profile(work.connection, account_id)
    if not versions:
        raise NotFound("The account has no billing profile.", param="account")
    await erase_consents(work.connection, account_id)
    change = Change(
        "billing_profile.erase", wire(AccountId, account_id), account_id, {"versions": versions}, None, reason
    )
    work.record_change(change)
    return versions


async def set_seller(work: UnitOfWork, seller: Seller) -> StoredSeller:
    """Add a seller, or a version of one. Raises ``Conflict`` for a prefix that another has, or that would change."""
    try:
        written = await profiles.write_seller(work.connection, seller, work.actor)
    except IntegrityError as fault:
        raise Conflict("A seller keeps its prefix, and no two sellers have one.", param="prefix") from fault
    work.record_change(Change("seller.set", seller.id, after={"version": written.version, "prefix": seller.prefix}))
    return written


async def add_rate(work: UnitOfWork, rate: ExchangeRate) -> ExchangeRate:
    """Add a day's exchange rate. Raises ``Conflict`` for a day that has one: documents may rest on it."""
    try:
        await profiles.add_rate(work.connection, rate)
    except IntegrityError as fault:
        raise Conflict(f"There is a rate of {rate.currency} on {rate.on_day} already.", param="on_day") from fault
    facts: dict[str, object] = {"per_usd": rate.per_usd, "source": rate.source}
    work.record_change(Change("exchange_rate.add", f"{rate.currency} {rate.on_day}", after=facts))
    return rate


def read_tax_ids(texts: tuple[str, ...], country: str) -> tuple[TaxId, ...]:
    """Read tax ids: one that begins with an EU country's letters is of that country, any other of the address's.

    Raises ``InvalidRequest`` for one that has not its country's form.
    """
    found = []
    for place, text in enumerate(texts):
        letters = text.strip()[:2].upper().replace("EL", "GR")
        try:
            found.append(tax_id_of(letters if letters in EU else country, text))
        except TaxIdInvalid as wrong:
            raise InvalidRequest(str(wrong), param=f"tax_ids[{place}]") from wrong
    return tuple(found)
