"""Builds contracts that began in the past, which the product itself never does."""

from datetime import datetime, timedelta

from sqlalchemy import text

from billing.contracts.prices import add_terms, lock_prices
from billing.contracts.rules import Contract
from billing.contracts.store import NewContract, NewTerm, get_contract
from store.ids import AccountId, ContractId, new_id
from store.postgres import Database

_INSERT = text("""
    INSERT INTO contracts (id, account_id, effective_at, until, minimum_nano, commitment_nano, unused, note, reason,
        created_at)
    VALUES (:id, :account_id, :effective_at, :until, :minimum, :commitment, :unused, :note, :reason, :created_at)
""")
_TERM = text("""
    INSERT INTO contract_terms (id, contract_id, model_id, nano_per_mtok, batch_nano_per_mtok, percent_off)
    VALUES (:id, :contract, :model, :price, :batch, :percent)
""")


async def a_past_contract(
    db: Database,
    account: AccountId,
    since: datetime,
    *terms: NewTerm,
    until: datetime | None = None,
    minimum: int | None = None,
    commitment: int | None = None,
) -> Contract:
    """A contract that was made a day before it began."""
    known, owner = ContractId(new_id()), Database(db.url, as_owner=True)
    facts = {name: None for name in NewContract.__struct_fields__ if name != "terms"}
    facts |= {"account_id": account, "effective_at": since, "until": until, "minimum": minimum}  # type: ignore[dict-item]
    facts |= {"commitment": commitment, "unused": "expires", "note": "", "reason": "tests"}  # type: ignore[dict-item]
    try:
        async with owner.transaction() as tx:
            await lock_prices(tx)
            await tx.execute(_INSERT, {**facts, "id": known, "created_at": since - timedelta(days=1)})
            for term in terms:
                lanes = {"price": term.nano_per_mtok, "batch": term.batch_nano_per_mtok, "percent": term.percent_off}
                await tx.execute(_TERM, {"id": new_id(), "contract": known, "model": term.model_id, **lanes})
            contract = await get_contract(tx, known)
            assert contract is not None
            await add_terms(tx, contract.terms)
            return contract
    finally:
        await owner.close()
