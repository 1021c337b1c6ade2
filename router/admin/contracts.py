"""Makes and ends contracts through the one write path; what they mean stays in :mod:`billing.contracts`.

Their commitments are paid in :mod:`router.admin.commitments`.
"""

from datetime import datetime

from billing.contracts import store
from billing.contracts.prices import add_terms, lock_prices
from billing.contracts.rules import Contract, Unused, percent_text
from billing.contracts.store import NewContract, NewTerm
from billing.money import MAX_AMOUNT, to_usd
from catalog import models
from catalog.permit import may_charge
from catalog.values import Status
from router.admin.accounts import require_account, require_open_account
from router.admin.prices import PRICE_MAX
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, InvalidRequest, NotFound
from router.tables import Json
from store.ids import ContractId, wire


async def require_contract(work: UnitOfWork, contract_id: ContractId) -> Contract:
    """The contract, its account locked. Raises ``NotFound``."""
    found = await store.get_contract(work.connection, contract_id)
    if found is None:
        raise NotFound(f"There is no contract {wire(ContractId, contract_id)}.", param="contract_id")
    await require_account(work, found.account_id, locked=True)
    again = await store.get_contract(work.connection, contract_id)
    assert again is not None, "contracts are never deleted; this is a bug"
    return again


async def make_contract(work: UnitOfWork, wanted: NewContract) -> Contract:
    """Agree on prices, a minimum, a commitment, from an instant that is not past.

    Raises ``NotFound``, ``ModelUnknown``, ``InvalidRequest``, and ``Conflict`` where another contract of the account
    says something about the same at the same time.
    """
    # Before the account: whoever sets a list price takes it first, too, and then shares the accounts' rows.
    await lock_prices(work.connection)
    await require_open_account(work, wanted.account_id, locked=True)
    _check_dates(work.now, wanted.effective_at, wanted.until)
    _check_amounts(wanted)
    for term in wanted.terms:
        await _check_term(work, term)
    for other in await store.list_contracts(work.connection, wanted.account_id):
        if other.overlaps(wanted.effective_at, wanted.until):
            _check_scopes(wanted, other)
    made = await store.add_contract(work.connection, wanted)
    await add_terms(work.connection, made.terms)
    subject = wire(ContractId, made.id)
    work.record_change(Change("contract.make", subject, made.account_id, after=facts_of(made), reason=made.reason))
    return made


async def end_contract(work: UnitOfWork, contract_id: ContractId, until: datetime | None, reason: str) -> Contract:
    """Let a contract end, by default now. Raises ``NotFound``, ``InvalidRequest``, ``Conflict``."""
    before = await require_contract(work, contract_id)
    ends_at = until or work.now
    if ends_at < work.now:
        raise InvalidRequest("A contract ends now or later: calls that were made keep their price.", param="until")
    if before.until is not None and before.until <= ends_at:
        raise Conflict(f"The contract ends earlier, at {before.until.isoformat()}.")
    await store.end_contract(work.connection, contract_id, ends_at, reason)
    was: Json = {"until": None if before.until is None else before.until.isoformat()}
    now: Json = {"until": ends_at.isoformat()}
    subject = wire(ContractId, contract_id)
    work.record_change(Change("contract.end", subject, before.account_id, was, now, reason))
    return await require_contract(work, contract_id)


def facts_of(contract: Contract) -> Json:
    """A contract as the audit has it."""
    return {
        "effective_at": contract.effective_at.isoformat(),
        "until": None if contract.until is None else contract.until.isoformat(),
        "minimum_usd": None if contract.minimum is None else to_usd(contract.minimum),
        "commitment_usd": None if contract.commitment is None else to_usd(contract.commitment),
        "unused": contract.unused.value,
        "note": contract.note,
        "terms": [
            {
                "model": term.model_id,
                "usd_per_mtok": None if term.nano_per_mtok is None else to_usd(term.nano_per_mtok),
                "batch_usd_per_mtok": None if term.batch_nano_per_mtok is None else to_usd(term.batch_nano_per_mtok),
                "percent_off": None if term.percent_off is None else percent_text(term.percent_off),
            }
            for term in contract.terms
        ],
    }


def _check_dates(now: datetime, effective_at: datetime, until: datetime | None) -> None:
    if effective_at < now:
        raise InvalidRequest("A contract starts now or later: calls that were made keep theirs.", param="effective_at")
    if until is not None and until <= effective_at:
        raise InvalidRequest("A contract ends after it starts.", param="until")


def _check_amounts(wanted: NewContract) -> None:
    if not wanted.terms and wanted.minimum is None and wanted.commitment is None:
        raise InvalidRequest("A contract has prices, a percentage, a minimum or a commitment.", param="prices")
    for name, amount in (("minimum_usd", wanted.minimum), ("commitment_usd", wanted.commitment)):
        if amount is not None and not 0 < amount <= MAX_AMOUNT:
            raise InvalidRequest(f"It is between 0.000000001 and {to_usd(MAX_AMOUNT)} USD.", param=name)
    if wanted.commitment is not None and wanted.unused is Unused.EXPIRES and wanted.until is None:
        raise InvalidRequest("A commitment that expires needs the contract's end, 'until'.", param="until")
    named = [term.model_id for term in wanted.terms]
    if len(set(named)) < len(named):
        raise InvalidRequest("A contract says one thing about a model.", param="prices")


async def _check_term(work: UnitOfWork, term: NewTerm) -> None:
    if (term.nano_per_mtok is None) == (term.percent_off is None):
        raise InvalidRequest("A model has a price of its own or a percentage off.", param="prices")
    if term.nano_per_mtok is None:
        if term.batch_nano_per_mtok is not None:
            raise InvalidRequest("A percentage is taken off both lanes' prices.", param="prices")
        return
    if not 0 <= term.nano_per_mtok <= PRICE_MAX:
        raise InvalidRequest("A price is between 0.00 and 9000.00 USD per million tokens.", param="prices")
    if term.batch_nano_per_mtok is not None and term.batch_nano_per_mtok > term.nano_per_mtok:
        raise InvalidRequest("A batch price is between 0.00 and the price itself.", param="prices")
    assert term.model_id is not None, "a price names its model; this is a bug"
    model = await models.get(work.connection, term.model_id)
    charging = may_charge(model, work.now)
    if term.nano_per_mtok > 0 and model.status in (Status.LIVE, Status.DEPRECATED) and not charging.allowed:
        raise Conflict(f"{model.id} is served free of charge: {charging.reasons[0]} {charging.lifted_by}")


def _check_scopes(wanted: NewContract, other: Contract) -> None:
    """Raise Conflict where both contracts say something about the same, so that one could not tell which holds."""
    both = {term.model_id for term in wanted.terms} & {term.model_id for term in other.terms}
    scopes = [model or "all models" for model in both]
    if wanted.minimum is not None and other.minimum is not None:
        scopes.append("the minimum")
    if scopes:
        raise Conflict(
            f"{wire(ContractId, other.id)} of this account holds at the same time for {', '.join(sorted(scopes))}: "
            "end it first, or let this one begin when it ends."
        )
