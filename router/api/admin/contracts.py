"""``/admin/v1/finance/contracts``: prices, minimums and commitments that were agreed with one account.

A contract is never edited: it is ended, and another begins. What was charged stays as it was.
"""

from typing import Annotated

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.contracts.impact import measure_impact
from billing.contracts.rules import Contract, Unused
from billing.contracts.store import NewContract, NewTerm, get_contract, list_contracts
from billing.money import NanoUSD
from router.admin.commitments import fund_contract
from router.admin.contracts import end_contract, make_contract, require_contract
from router.api.admin.references import account_of, model_of
from router.api.admin.request import Current, Read, Write
from router.api.contract_forms import ContractOut, Percent, ops_contract, ops_contracts
from router.api.fields import (
    AccountRef,
    ContractIdText,
    Instant,
    ModelRef,
    UsdAboveZero,
    UsdNotNegative,
    text_of,
)
from router.api.forms import Body, Form, Page, PageQuery
from router.api.operation import ALL, MONEY, V1, Operations
from router.changes.second_person import MoneyKind
from router.changes.transaction import UnitOfWork
from router.errors import NotFound
from store.ids import ContractId, wire

operations = Operations("contracts", f"{V1}/finance/contracts", tag="Finance")
ONE = "/{contract_id}"
ReasonText = Annotated[str, text_of(2000)]


class TermCreate(Form):
    """What is agreed about a model: a price of its own, or a percentage off its list price."""

    model: ModelRef = Field(description="The model, by id or alias.")
    usd_per_mtok: UsdNotNegative | None = Field(None, description="USD per million tokens, such as 0.008.")
    batch_usd_per_mtok: UsdNotNegative | None = Field(
        None, description="USD per million tokens for calls with X-Tier: batch; by default the price."
    )
    percent_off: Percent | None = Field(None, description="Off the list price of both lanes, such as 12.5.")


class ContractCreate(Body):
    """What is agreed with an account."""

    account: AccountRef = Field(description="The account, by id or name.")
    reason: ReasonText = Field(description="Why, for the audit log; such as who agreed on it.")
    effective_at: Instant | None = Field(None, description="From when on; by default from now. Never in the past.")
    until: Instant | None = Field(None, description="Until when; null: until it is ended.")
    percent_off: Percent | None = Field(
        None, description="Off the list prices of all models that 'prices' does not name, such as 12.5."
    )
    prices: list[TermCreate] = Field([], max_length=500, description="What is agreed about single models.")
    minimum_usd: UsdAboveZero | None = Field(None, description="What each whole UTC month costs at least.")
    commitment_usd: UsdAboveZero | None = Field(None, description="What is paid in advance: see `fund`.")
    unused: Unused = Field(Unused.EXPIRES, description="What becomes of the commitment's rest at the end.")
    note: str = Field("", max_length=2000, description="For the account, which sees it; such as the contract's number.")


class ContractEnd(Body):
    """When and why a contract ends."""

    reason: ReasonText = Field(description="Why, for the audit log.")
    until: Instant | None = Field(None, description="Until when it holds; by default until now. Never in the past.")


class ContractFund(Body):
    """The payment of a contract's commitment."""

    reference: Annotated[str, text_of(200)] = Field(description="The payment's reference at the bank.")
    seller: Annotated[str, text_of(100)] | None = Field(
        None, description="Whose tax invoice it gets, by the seller's id; by default none is made."
    )
    tax_usd: UsdNotNegative = Field(
        NanoUSD(0), description="The tax that was paid with it; it has to be what the invoice will say."
    )


class ContractQuery(PageQuery):
    """Whose contracts."""

    account: AccountRef | None = Field(None, description="This account's, by id or name.")


@operations.get("", verb="list", name="admin_list_contracts", summary="List contracts", roles=ALL)
async def list_(admin: Read, query: Annotated[ContractQuery, Query()]) -> Page[ContractOut]:
    """All contracts, the oldest first, also those that ended."""

    async def ask(connection: AsyncConnection) -> list[ContractOut]:
        account = None if query.account is None else (await account_of(connection, query.account)).id
        cut = query.cut(await list_contracts(connection, account), _key)
        return await ops_contracts(connection, cut, admin.exchange.now)

    return admin.page(query, await admin.read(ask), _key)


@operations.get(ONE, verb="show", summary="Retrieve a contract", roles=ALL)
async def retrieve(admin: Read, contract_id: ContractIdText) -> ContractOut:
    """One contract, with what is left of its commitment."""

    async def ask(connection: AsyncConnection) -> ContractOut:
        contract = await get_contract(connection, ContractId(contract_id))
        if contract is None:
            raise NotFound(f"There is no contract {wire(ContractId, contract_id)}.", param="contract_id")
        return await ops_contract(connection, contract, admin.exchange.now)

    return await admin.read(ask)


@operations.post("", verb="create", summary="Make a contract", roles=MONEY, status=201)
async def create(admin: Write, body: ContractCreate) -> ContractOut:
    """Agree on prices, a minimum, a commitment with an account, from an instant on.

    `last_month` says what it means for last month's usage; with `dry_run` nothing else happens.
    """

    async def command(work: UnitOfWork) -> ContractOut:
        account = await account_of(work.connection, body.account)
        wanted = NewContract(
            account_id=account.id,
            effective_at=body.effective_at or work.now,
            until=body.until,
            minimum=body.minimum_usd,
            commitment=body.commitment_usd,
            unused=body.unused,
            note=body.note,
            reason=body.reason,
            terms=(*[await _term(work, term) for term in body.prices], *_general(body)),
        )
        made = await make_contract(work, wanted)
        impact = await measure_impact(work.connection, account.id, made.effective_at, work.now)
        return await ops_contract(work.connection, made, work.now, impact)

    return await admin.change(command)


@operations.post(f"{ONE}/end", verb="end", summary="End a contract", roles=MONEY)
async def end(admin: Write, contract_id: ContractIdText, body: ContractEnd) -> ContractOut:
    """Let a contract end, now or later. A month that it does not hold to its end has no minimum.

    A commitment that was paid stays until the end that was agreed.
    """

    async def command(work: UnitOfWork) -> ContractOut:
        ended = await end_contract(work, ContractId(contract_id), body.until, body.reason)
        impact = await measure_impact(work.connection, ended.account_id, ended.until or work.now, work.now)
        return await ops_contract(work.connection, ended, work.now, impact)

    return await admin.change(command, current=_current(contract_id))


@operations.post(f"{ONE}/fund", verb="fund", summary="Record a commitment's payment", roles=MONEY)
async def fund(admin: Write, contract_id: ContractIdText, body: ContractFund) -> ContractOut:
    """Give the account the commitment as purchased credit, once its payment is at the bank; once."""

    async def command(work: UnitOfWork) -> ContractOut:
        known = ContractId(contract_id)
        funded = await fund_contract(work, known, body.reference, seller=body.seller, tax=body.tax_usd)
        await admin.require_second_person(work, MoneyKind.GRANT, funded.account_id, funded.commitment or NanoUSD(0))
        return await ops_contract(work.connection, funded, work.now)

    return await admin.change(command, current=_current(contract_id))


def _current(contract_id: ContractId) -> Current:
    async def current(work: UnitOfWork) -> ContractOut:
        return await ops_contract(work.connection, await require_contract(work, contract_id), work.now)

    return current


async def _term(work: UnitOfWork, term: TermCreate) -> NewTerm:
    model = await model_of(work.connection, term.model)
    return NewTerm(model.id, term.usd_per_mtok, term.batch_usd_per_mtok, term.percent_off)


def _general(body: ContractCreate) -> list[NewTerm]:
    return [] if body.percent_off is None else [NewTerm(None, percent_off=body.percent_off)]


def _key(contract: Contract | ContractOut) -> str:
    return contract.id.hex
