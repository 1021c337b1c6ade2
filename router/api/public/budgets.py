"""``/v1/account/budgets``: amounts that an account means to spend, which alert and never refuse."""

from typing import Annotated, ClassVar, Literal

import msgspec
from fastapi import Depends, Query, Response
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.alerts.budgets import Budget, BudgetSpec, find_budget, list_budgets, read_spent
from billing.cap_rules import use_of
from billing.money import NanoUSD
from billing.values import Cap, CapPeriod
from router.admin.budgets import add_budget, delete_budget, edit_budget
from router.api.cap_forms import CapForm
from router.api.fields import BudgetIdText, Instant, KeyIdText, Usd, text_of
from router.api.forms import Answer, Body, Page, PageQuery, Resource
from router.api.operation import Operations, Who, check_request
from router.api.public.edit_request import EditRequest
from router.api.public.postgres import ask_postgres
from router.api.public.request import Private, PrivateRequest
from router.changes.transaction import UnitOfWork, transact
from router.errors import NotFound
from router.identity.scopes import ALERTS_WRITE, SPENDING
from store.ids import BudgetId, wire
from store.postgres import now_of

operations = Operations("budgets", "/v1/account/budgets", tag="Account", who=Who.KEY)
ONE = "/{budget_id}"
_Checked = Annotated[None, Depends(check_request)]


class BudgetFacts(CapForm):
    """A budget as it is set."""

    name: Annotated[str, text_of(200)] = Field("default", description="What it is for; alerts name the amount.")
    period: CapPeriod = Field(CapPeriod.MONTH, description="Per what: total, or a month or a day of UTC.")
    key: KeyIdText | None = Field(None, description="The one key whose calls count; null: all of the account's.")


class BudgetCreate(BudgetFacts, Body):
    """A new budget."""


class BudgetEdit(Body):
    """What of a budget is changed; a key's stays that key's."""

    name: Annotated[str, text_of(200)] = Field("default", description="What it is for.")
    amount_usd: Usd = Field(NanoUSD(0), description="How much; what was spent counts as before, and it alerts anew.")
    period: CapPeriod = Field(CapPeriod.MONTH, description="Per what: total, or a month or a day of UTC.")


class BudgetOut(BudgetFacts, Resource):
    """A budget with what is spent of it."""

    volatile: ClassVar[frozenset[str]] = frozenset({"spent_usd", "left_usd", "resets_at"})

    id: BudgetIdText
    spent_usd: Usd = Field(description="What calls of the present period were charged, those before it among them.")
    left_usd: Usd
    resets_at: Instant | None = Field(description="When the next period begins, in UTC; null for a total.")
    created_at: Instant
    object: Literal["budget"] = "budget"


class BudgetDeleted(Answer):
    """That a budget is no more."""

    id: BudgetIdText
    deleted: Literal[True] = True
    object: Literal["budget"] = "budget"


@operations.get("", verb="list", scope=SPENDING, summary="List budgets")
async def list_(request: Private, query: Annotated[PageQuery, Query()], _: _Checked) -> Page[BudgetOut]:
    """The account's budgets, the oldest first."""
    after = query.after_id(BudgetId)

    async def ask(tx: AsyncConnection) -> list[BudgetOut]:
        found = await list_budgets(tx, request.account_id, after=after, limit=query.limit + 1)
        return await _out(tx, request, found)

    rows = await ask_postgres(request.context, ask)
    return request.paging.page(query, rows, lambda row: wire(BudgetId, row.id))


@operations.post("", verb="create", scope=ALERTS_WRITE, summary="Add a budget", status=201)
async def create(request: Private, body: BudgetCreate, _: _Checked) -> BudgetOut:
    """Add a budget, at most 20 per account. No call is refused for it.

    At 50, 80 and 100 % of it, and where the pace of its period leads beyond it, an alert is sent by mail and to the
    account's webhooks, each once per period.
    """
    spec = BudgetSpec(body.name, body.period, body.amount_usd, body.key)

    async def command(work: UnitOfWork) -> BudgetOut:
        budget = await add_budget(work, request.account_id, spec)
        return (await _out(work.connection, request, [budget]))[0]

    return await transact(request.context.db, request.actor, command)


@operations.patch(ONE, verb="edit", scope=ALERTS_WRITE, summary="Edit a budget")
async def edit(request: EditRequest, budget_id: BudgetIdText, body: BudgetEdit) -> BudgetOut:
    """Change what is given: name, amount, period. Nothing is reset, and another amount or period alerts anew.

    Two who edit at once do not overwrite each other: the second is 409 and reads it again.
    """

    async def command(work: UnitOfWork) -> BudgetOut:
        before = await find_budget(work.connection, request.account_id, budget_id, locked=True)
        if before is None:
            raise NotFound("The account has no such budget.", param="budget_id")
        request.require_version((await _out(work.connection, request, [before]))[0])
        given = {("amount" if name == "amount_usd" else name): value for name, value in body.given().items()}
        after = await edit_budget(work, before, msgspec.structs.replace(before, **given))
        return (await _out(work.connection, request, [after]))[0]

    answer = await transact(request.context.db, request.actor, command)
    request.tagged(answer)
    return answer


@operations.get(ONE, verb="show", scope=SPENDING, summary="A budget")
async def retrieve(request: Private, budget_id: BudgetIdText, response: Response) -> BudgetOut:
    """One budget, with what is spent of it. Its ETag is what an edit needs."""

    async def ask(tx: AsyncConnection) -> BudgetOut:
        budget = await find_budget(tx, request.account_id, budget_id)
        if budget is None:
            raise NotFound("The account has no such budget.", param="budget_id")
        return (await _out(tx, request, [budget]))[0]

    answer = await ask_postgres(request.context, ask)
    response.headers["etag"] = answer.etag()
    return answer


@operations.delete(ONE, verb="delete", scope=ALERTS_WRITE, summary="Delete a budget")
async def delete(request: Private, budget_id: BudgetIdText, _: _Checked) -> BudgetDeleted:
    """Delete a budget, which alerts no more."""

    async def command(work: UnitOfWork) -> BudgetDeleted:
        await delete_budget(work, request.account_id, budget_id)
        return BudgetDeleted(id=budget_id)

    return await transact(request.context.db, request.actor, command)


async def _out(tx: AsyncConnection, request: PrivateRequest, budgets: list[Budget]) -> list[BudgetOut]:
    now = await now_of(tx)
    spent = await read_spent(tx, request.account_id, budgets, now)
    found = []
    for budget in budgets:
        use = use_of(Cap(budget.amount, budget.period), spent[budget.id], now)
        found.append(
            BudgetOut(
                id=budget.id,
                name=budget.name,
                key=budget.key_id,
                amount_usd=budget.amount,
                period=budget.period,
                spent_usd=use.spent,
                left_usd=use.left,
                resets_at=use.resets_at,
                created_at=budget.created_at,
            )
        )
    return found
