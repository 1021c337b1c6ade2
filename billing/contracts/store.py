"""Keeps contracts: append-only rows, whose terms every serve process has in memory. A change is another contract."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.contracts.rules import Contract, Term, Unused
from billing.money import NanoUSD
from store.ids import AccountId, ContractId, ModelId, new_id

# Terms that ended so long ago make no call's price any more.
_UNTIL = "least(c.until, (SELECT min(e.until) FROM contract_ends e WHERE e.contract_id = c.id))"
_CONTRACTS = f"""
    SELECT c.id, c.account_id, c.effective_at, {_UNTIL} AS until, c.minimum_nano, c.commitment_nano, c.unused, c.note,
        c.reason, coalesce((SELECT e.reason FROM contract_ends e WHERE e.contract_id = c.id ORDER BY e.until, e.id
            LIMIT 1), '') AS end_reason, c.created_at
    FROM contracts c
"""  # noqa: S608 - constants
_ALL = text(f"{_CONTRACTS} ORDER BY c.id")
_OF_ACCOUNT = text(f"{_CONTRACTS} WHERE c.account_id = :account ORDER BY c.id")
_ONE = text(f"{_CONTRACTS} WHERE c.id = :id")
_TERMS = f"""
    SELECT t.id, t.contract_id, c.account_id, t.model_id, t.nano_per_mtok, t.batch_nano_per_mtok, t.percent_off,
        c.effective_at, {_UNTIL} AS until
    FROM contract_terms t JOIN contracts c ON c.id = t.contract_id
"""  # noqa: S608 - constants
_TERMS_IN_USE = text(
    f"SELECT * FROM ({_TERMS}) t WHERE until IS NULL OR until > now() - interval '1 hour' ORDER BY id"  # noqa: S608
)
_TERMS_OF = text(f"{_TERMS} WHERE c.id = ANY(:contracts) ORDER BY t.model_id NULLS LAST, t.id")
_TERMS_OF_ACCOUNT = text(f"{_TERMS} WHERE c.account_id = :account ORDER BY t.id")
_INSERT = text("""
    INSERT INTO contracts (id, account_id, effective_at, until, minimum_nano, commitment_nano, unused, note, reason)
    VALUES (:id, :account, :effective_at, :until, :minimum, :commitment, :unused, :note, :reason)
""")
_INSERT_TERM = text("""
    INSERT INTO contract_terms (id, contract_id, model_id, nano_per_mtok, batch_nano_per_mtok, percent_off)
    VALUES (:id, :contract, :model_id, :nano_per_mtok, :batch_nano_per_mtok, :percent_off)
""")
_INSERT_END = text(
    "INSERT INTO contract_ends (id, contract_id, until, reason) VALUES (:id, :contract, :until, :reason)"
)
_FUNDED = text(
    "SELECT source_ref, remaining_nano FROM grants"
    " WHERE account_id = ANY(:accounts) AND source_ref = ANY(CAST(:sources AS text[]))"
)


class NewTerm(msgspec.Struct, frozen=True):
    """A term of a contract that is to be made, as :class:`billing.contracts.rules.Term` has it."""

    model_id: ModelId | None
    nano_per_mtok: int | None = None
    batch_nano_per_mtok: int | None = None
    percent_off: int | None = None


class NewContract(msgspec.Struct, frozen=True, kw_only=True):
    """A contract that is to be made."""

    account_id: AccountId
    effective_at: datetime
    until: datetime | None
    minimum: NanoUSD | None
    commitment: NanoUSD | None
    unused: Unused
    note: str
    reason: str
    terms: tuple[NewTerm, ...]


async def add_contract(tx: AsyncConnection, wanted: NewContract) -> Contract:
    """Write a contract and its terms."""
    known = ContractId(new_id())
    facts = {name: getattr(wanted, name) for name in ("effective_at", "until", "minimum", "commitment", "note")}
    more = {"account": wanted.account_id, "unused": wanted.unused.value, "reason": wanted.reason}
    await tx.execute(_INSERT, {"id": known, **facts, **more})
    for term in wanted.terms:
        await tx.execute(_INSERT_TERM, {"id": new_id(), "contract": known, **msgspec.structs.asdict(term)})
    found = await get_contract(tx, known)
    assert found is not None, "it was inserted just now; this is a bug"
    return found


async def end_contract(tx: AsyncConnection, contract_id: ContractId, until: datetime, reason: str) -> None:
    """Let a contract end; of several ends the earliest holds."""
    await tx.execute(_INSERT_END, {"id": new_id(), "contract": contract_id, "until": until, "reason": reason})


async def list_contracts(tx: AsyncConnection, account_id: AccountId | None = None) -> list[Contract]:
    """All contracts, or an account's, the oldest first; also those that ended."""
    rows = list(await (tx.execute(_ALL) if account_id is None else tx.execute(_OF_ACCOUNT, {"account": account_id})))
    terms = await _terms_of(tx, [row.id for row in rows])
    return [_contract(row, terms.get(row.id, [])) for row in rows]


async def get_contract(tx: AsyncConnection, contract_id: ContractId) -> Contract | None:
    """One contract; None where there is none of this id."""
    row = (await tx.execute(_ONE, {"id": contract_id})).one_or_none()
    return None if row is None else _contract(row, (await _terms_of(tx, [row.id])).get(row.id, []))


async def list_terms(tx: AsyncConnection, account_id: AccountId | None = None) -> list[Term]:
    """The terms of all contracts that have not ended, or all terms of one account."""
    if account_id is None:
        return [_term(row) for row in await tx.execute(_TERMS_IN_USE)]
    return [_term(row) for row in await tx.execute(_TERMS_OF_ACCOUNT, {"account": account_id})]


async def read_commitment(tx: AsyncConnection, contract: Contract) -> NanoUSD | None:
    """What is left of a contract's commitment; None where it was not paid yet, or there is none."""
    return (await read_commitments(tx, [contract])).get(contract.id)


async def read_commitments(tx: AsyncConnection, contracts: Sequence[Contract]) -> dict[ContractId, NanoUSD]:
    """What is left of each contract's commitment that was paid, by one statement."""
    sources = {commitment_source(one.id): one.id for one in contracts if one.commitment is not None}
    if not sources:
        return {}
    which = {"accounts": [one.account_id for one in contracts], "sources": list(sources)}
    return {sources[source]: NanoUSD(int(left)) for source, left in await tx.execute(_FUNDED, which)}


def commitment_source(contract_id: ContractId) -> str:
    """The fact behind the grant of a contract's commitment: it is granted once."""
    return f"contract:{contract_id.hex}"


async def _terms_of(tx: AsyncConnection, contract_ids: Sequence[ContractId]) -> dict[ContractId, list[Term]]:
    found: dict[ContractId, list[Term]] = {}
    for row in await tx.execute(_TERMS_OF, {"contracts": list(contract_ids)}):
        found.setdefault(ContractId(row.contract_id), []).append(_term(row))
    return found


def _contract(row: object, terms: list[Term]) -> Contract:
    fields = row._mapping  # type: ignore[attr-defined]
    same = ("id", "account_id", "effective_at", "until", "note", "reason", "end_reason", "created_at")
    return Contract(
        **{name: fields[name] for name in same},
        minimum=fields["minimum_nano"],
        commitment=fields["commitment_nano"],
        unused=Unused(fields["unused"]),
        terms=tuple(terms),
    )


def _term(row: object) -> Term:
    return Term(**row._mapping)  # type: ignore[attr-defined]
