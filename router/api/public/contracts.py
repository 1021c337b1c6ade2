"""Serves ``GET /v1/account/contracts``: what was agreed with the key's account, and with no other."""

from typing import Annotated

from fastapi import Query
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.contracts.store import list_contracts
from router.api.contract_forms import ContractFacts, own_contracts
from router.api.forms import Page, PageQuery
from router.api.operation import Operations, Who
from router.api.public.postgres import ask_postgres
from router.api.public.request import Private
from router.identity.scopes import Scope

operations = Operations("contracts", "/v1/account/contracts", tag="Account", who=Who.KEY)


@operations.get("", verb="list", scope=Scope.BILLING_READ, summary="List your contracts")
async def list_(request: Private, query: Annotated[PageQuery, Query()]) -> Page[ContractFacts]:
    """Prices, minimum and commitment by contract, the oldest first; `/v1/models` has what each model costs you now."""

    async def ask(tx: AsyncConnection) -> list[ContractFacts]:
        cut = query.cut(await list_contracts(tx, request.account_id), lambda contract: contract.id.hex)
        return await own_contracts(tx, cut, request.exchange.now)

    return request.paging.page(query, await ask_postgres(request.context, ask), lambda contract: contract.id.hex)
