"""Keeps the prices that contracts make, so that whoever explains a call finds them by the id that the call names.

A price is made with whichever is the later of term and list price, in its transaction; both take one lock first, so
that none is missed. Serve processes read terms alone and compute the same prices with the same ids
(:mod:`billing.contracts.rules`).
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.contracts.rules import Term, price_under
from billing.contracts.store import list_terms
from billing.money import Agreement, Price
from store.ids import AccountId, ContractId, ModelId, PriceId, TermId

_LOCK = text("SELECT pg_advisory_xact_lock(hashtext('gigarouter prices'))")
_LISTED = text("SELECT id, model_id, nano_per_mtok, effective_at, batch_nano_per_mtok FROM prices ORDER BY 2, 4")
_ADD = text("""
    INSERT INTO contract_prices
        (id, account_id, term_id, list_price_id, model_id, nano_per_mtok, batch_nano_per_mtok, effective_at)
    VALUES (:id, :account, :term, :list_price, :model, :price, :batch, :effective_at) ON CONFLICT (id) DO NOTHING
""")
_AGREEMENT = text("""
    SELECT t.contract_id, t.id, t.percent_off,
        CASE CAST(:charged AS bigint) WHEN c.nano_per_mtok THEN p.nano_per_mtok ELSE p.batch_nano_per_mtok END AS listed
    FROM contract_prices c JOIN contract_terms t ON t.id = c.term_id LEFT JOIN prices p ON p.id = c.list_price_id
    WHERE c.id = :id AND CAST(:charged AS bigint) IN (c.nano_per_mtok, c.batch_nano_per_mtok)
""")
_ONE = text("""
    SELECT account_id, model_id, nano_per_mtok, batch_nano_per_mtok, effective_at FROM contract_prices WHERE id = :id
""")
_CHARGED = text("""
    SELECT c.model_id, c.nano_per_mtok, c.batch_nano_per_mtok, t.contract_id, t.id AS term_id, t.percent_off,
        p.nano_per_mtok AS list_nano, p.batch_nano_per_mtok AS list_batch_nano
    FROM contract_prices c JOIN contract_terms t ON t.id = c.term_id LEFT JOIN prices p ON p.id = c.list_price_id
    WHERE c.account_id = :account AND c.effective_at < :until AND c.term_id = ANY(:terms)
    ORDER BY c.effective_at, c.id
""")


class ChargedPrice(msgspec.Struct, frozen=True):
    """What an account could be charged for a model and lane, and the agreement that made it."""

    model: str
    nano_per_mtok: int
    agreement: Agreement


async def lock_prices(tx: AsyncConnection) -> None:
    """Let nobody else set a list price or make a contract until the transaction ends."""
    await tx.execute(_LOCK)


async def add_listed(tx: AsyncConnection, listed: Price) -> None:
    """Write what accounts pay by a new list price: for every term that takes a part off it."""
    for term in await list_terms(tx):
        if _meets(term, listed):
            await _add(tx, term, listed)


async def add_terms(tx: AsyncConnection, terms: Sequence[Term]) -> None:
    """Write what an account pays by new terms: for each list price that holds with them, now or later."""
    listed = [Price(PriceId(r[0]), ModelId(r[1]), *r[2:]) for r in await tx.execute(_LISTED)]
    for term in terms:
        if term.percent_off is None:
            await _add(tx, term, None)
            continue
        for price in _holding(listed, term.effective_at):
            if _meets(term, price):
                await _add(tx, term, price)


async def find_agreement(tx: AsyncConnection, price_id: PriceId, nano_per_mtok: int) -> Agreement | None:
    """The contract's term that made the price of a call, by its lane; None for a list price."""
    row = (await tx.execute(_AGREEMENT, {"id": price_id, "charged": nano_per_mtok})).one_or_none()
    return None if row is None else Agreement(ContractId(row[0]), TermId(row[1]), row[2], row[3])


async def find_price(tx: AsyncConnection, price_id: PriceId) -> tuple[AccountId, Price] | None:
    """A price that a contract made, and whose it is."""
    row = (await tx.execute(_ONE, {"id": price_id})).one_or_none()
    if row is None:
        return None
    agreement = await find_agreement(tx, price_id, row.nano_per_mtok)
    price = Price(price_id, ModelId(row.model_id), row.nano_per_mtok, row.effective_at, row.batch_nano_per_mtok)
    return AccountId(row.account_id), msgspec.structs.replace(price, agreement=agreement)


async def list_charged(
    tx: AsyncConnection, account_id: AccountId, since: datetime, until: datetime
) -> list[ChargedPrice]:
    """Every price, by lane, that an account's contracts made over a span of time."""
    terms = [term.id for term in await list_terms(tx, account_id) if term.until is None or since < term.until]
    found = []
    for row in await tx.execute(_CHARGED, {"account": account_id, "until": until, "terms": terms}):
        agreed = ContractId(row.contract_id), TermId(row.term_id), row.percent_off
        found.append(ChargedPrice(row.model_id, row.nano_per_mtok, Agreement(*agreed, row.list_nano)))
        if row.batch_nano_per_mtok is not None:
            agreement = Agreement(*agreed, row.list_batch_nano)
            found.append(ChargedPrice(row.model_id, row.batch_nano_per_mtok, agreement))
    return found


def _holding(listed: Sequence[Price], at: datetime) -> Iterable[Price]:
    """Of each model's prices in their order, the one in force at an instant and all later ones."""
    for place, price in enumerate(listed):
        following = listed[place + 1] if place + 1 < len(listed) else None
        is_over = following is not None and following.model_id == price.model_id and following.effective_at <= at
        if not is_over:
            yield price


def _meets(term: Term, listed: Price) -> bool:
    return (
        term.percent_off is not None
        and term.model_id in (None, listed.model_id)
        and (term.until is None or listed.effective_at < term.until)
    )


async def _add(tx: AsyncConnection, term: Term, listed: Price | None) -> None:
    price = price_under(term, listed)
    assert price is not None, "a list price is there; this is a bug"
    facts = {
        "id": price.id,
        "account": term.account_id,
        "term": term.id,
        "list_price": None if listed is None else listed.id,
        "model": price.model_id,
        "price": price.nano_per_mtok,
        "batch": price.batch_nano_per_mtok,
        "effective_at": price.effective_at,
    }
    await tx.execute(_ADD, facts)
