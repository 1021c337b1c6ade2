"""Records payments of commitments through the one write path: credit, tax, and the request for the invoice."""

from datetime import date

from sqlalchemy.exc import IntegrityError

from billing.chart import LedgerKind
from billing.contracts import store
from billing.contracts.rules import Contract, Unused
from billing.credits import GrantKind, grant
from billing.documents.profiles import list_sellers, read_profile
from billing.documents.requests import issue_topup_document
from billing.documents.rounding import NANO_PER_CENT, tax_cents
from billing.documents.tax import TaxDecision, TaxUndecided, decide_tax
from billing.ledger import CreditTooLarge, Posting, post
from billing.money import NanoUSD, to_usd
from billing.receivables import NO_TAX
from router.admin.accounts import require_open_account
from router.admin.contracts import require_contract
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork, violated_constraint
from router.errors import Conflict, InvalidRequest
from router.tables import Json
from store.ids import AccountId, ContractId, wire


async def fund_contract(
    work: UnitOfWork, contract_id: ContractId, reference: str, *, seller: str | None = None, tax: NanoUSD = NO_TAX
) -> Contract:
    """Grant a contract's commitment, once its payment is at the bank; ``reference`` is the payment's.

    With ``seller`` the payment's tax invoice is asked for, and ``tax``, which was paid with it, has to be what is owed
    by the table of rates; without, no document is made. Raises ``NotFound``, ``InvalidRequest`` for another tax, and
    ``Conflict`` for a contract without a commitment, that was paid before, or that is over.
    """
    contract = await require_contract(work, contract_id)
    await require_open_account(work, contract.account_id)
    if contract.commitment is None:
        raise Conflict("The contract has no commitment that is paid in advance.")
    if contract.until is not None and contract.until <= work.now:
        raise Conflict("The contract is over.")
    await _grant(work, contract, contract.commitment, reference)
    if seller is not None:
        await _invoice(work, contract, contract.commitment, reference, seller, tax)
    elif tax:
        raise InvalidRequest("Tax is paid by an invoice: name its 'seller'.", param="seller")
    facts: Json = {"amount_usd": to_usd(contract.commitment), "tax_usd": to_usd(tax), "reference": reference}
    subject = wire(ContractId, contract_id)
    work.record_change(Change("contract.fund", subject, contract.account_id, after=facts, reason=reference))
    return contract


async def _grant(work: UnitOfWork, contract: Contract, commitment: NanoUSD, reference: str) -> None:
    expires_at = contract.until if contract.unused is Unused.EXPIRES else None
    try:
        await grant(
            work.connection,
            contract.account_id,
            commitment,
            GrantKind.PURCHASED,
            source_ref=store.commitment_source(contract.id),
            expires_at=expires_at,
            note=reference,
            paid_from=LedgerKind.BANK,
        )
    except (CreditTooLarge, IntegrityError) as error:
        if isinstance(error, CreditTooLarge) or violated_constraint(error) == "credit_fits_redis":
            raise Conflict("An account can hold at most 9,000,000.00 USD of credit.") from error
        raise Conflict("The contract's commitment was paid before.") from error


async def _invoice(
    work: UnitOfWork, contract: Contract, commitment: NanoUSD, reference: str, seller: str, tax: NanoUSD
) -> None:
    """Book the tax and ask for the tax invoice of the payment."""
    net_cents, rest = divmod(commitment, NANO_PER_CENT)
    if rest:
        raise Conflict("Only a commitment of whole cents has an invoice.")
    today = work.now.date()
    decision = await _decide(work, contract.account_id, seller, today)
    owed = tax_cents(net_cents, decision.rate)
    if tax != owed * NANO_PER_CENT:
        raise InvalidRequest(f"The tax of it is {to_usd(owed * NANO_PER_CENT)} USD.", param="tax_usd")
    source = store.commitment_source(contract.id)
    if tax:
        legs = [
            Posting(LedgerKind.BANK, NanoUSD(-tax)),
            Posting(LedgerKind.TAX_PAYABLE, tax, detail=decision.jurisdiction),
        ]
        await post(work.connection, "tax", f"{source}:tax", legs, account_id=contract.account_id, note=reference)
    await issue_topup_document(
        work.connection,
        contract.account_id,
        payment_ref=source,
        net_cents=net_cents,
        tax_cents=owed,
        tax=None,
        paid_on=today,
        paid_by=reference,
        seller=seller,
        by=work.actor,
    )


async def _decide(work: UnitOfWork, account_id: AccountId, name: str, today: date) -> TaxDecision:
    sellers = {one.seller.id: one.seller for one in await list_sellers(work.connection)}
    if name not in sellers:
        raise InvalidRequest(f"There is no seller {name!r}.", param="seller")
    stored = await read_profile(work.connection, account_id)
    if stored is None:
        raise Conflict("The account has no billing profile, which an invoice needs.")
    try:
        return decide_tax(sellers[name], stored.profile, today)
    except TaxUndecided as fault:
        raise Conflict(f"The tax cannot be decided: {fault}") from fault
