"""``/admin/v1/finance/topups``: credit that was ordered to be paid by Stripe, and what became of it."""

from typing import Annotated, ClassVar

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.money import to_usd
from billing.stripe.topup_rules import TopupStatus
from billing.stripe.topups import Topup, find_topup, list_topups
from billing.stripe.values import nano_of
from router.admin.payments import place_topup
from router.api.admin.payment_search import PaymentQuery, wanted_of
from router.api.admin.references import account_of
from router.api.admin.request import Read, Write
from router.api.fields import AccountIdText, AccountRef, TopupIdText, UsdCents
from router.api.forms import Body, Page, Resource
from router.api.operation import ALL, MONEY, V1, Operations
from router.api.payment_answers import TopupFacts, topup_facts
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import NotFound
from store.ids import RequestId, TopupId, wire

operations = Operations("topups", f"{V1}/finance/topups", tag="Finance")


class TopupRow(TopupFacts, Resource):
    """A top-up as finance sees it; ``session``, ``intent`` and ``charge`` are Stripe's ids."""

    volatile: ClassVar[frozenset[str]] = frozenset({"status", "url"})
    columns: ClassVar[tuple[str, ...]] = ("id", "account", "status", "amount_usd", "paid_usd", "created_at", "problem")

    account: AccountIdText
    jurisdiction: str = Field(description="Where its tax is owed.")
    save_card: bool
    ordered_by: str
    session: str | None
    intent: str | None
    charge: str | None


class TopupOrder(Body):
    """Credit that a customer is to pay."""

    account: AccountRef = Field(description="Whose.")
    amount_usd: UsdCents = Field(description="How much, in whole cents.")
    save_card: bool = Field(False, description="Keep the card at Stripe.")


class TopupQuery(PaymentQuery):
    """Which top-ups are listed."""

    status: TopupStatus | None = Field(None, description="Those in this state.")


@operations.get("", verb="list", name="admin_list_topups", summary="List top-ups", roles=ALL)
async def list_(admin: Read, query: Annotated[TopupQuery, Query()]) -> Page[TopupRow]:
    """Top-ups of an account, or of all, the newest first."""
    after = query.after_id(TopupId)

    async def ask(connection: AsyncConnection) -> list[TopupRow]:
        wanted = await wanted_of(connection, query, query.status)
        rows = await list_topups(connection, wanted, before=after, most=query.limit + 1)
        return [_row(row) for row in rows]

    return admin.page(query, await admin.read(ask), lambda row: wire(TopupId, row.id))


@operations.get("/{topup_id}", verb="show", name="admin_retrieve_topup", summary="Retrieve a top-up", roles=ALL)
async def show(admin: Read, topup_id: TopupIdText) -> TopupRow:
    """One top-up."""

    async def ask(connection: AsyncConnection) -> TopupRow:
        topup = await find_topup(connection, "id", topup_id)
        if topup is None:
            raise NotFound(f"There is no top-up {wire(TopupId, topup_id)}.", param="topup")
        return _row(topup)

    return await admin.read(ask)


@operations.post(
    "", verb="create", name="admin_create_topup", summary="Order credit for an account", roles=MONEY, status=201
)
async def create(admin: Write, body: TopupOrder) -> TopupRow:
    """Order credit that the customer pays on the page, which jobs make within seconds."""

    async def command(work: UnitOfWork) -> TopupRow:
        account = await account_of(work.connection, body.account)
        topup = await place_topup(
            work.connection,
            admin.context.stripe,
            account.id,
            body.amount_usd,
            save_card=body.save_card,
            actor=work.actor,
            # A repeated request with an Idempotency-Key never gets here.
            key=f"operator:{wire(RequestId, admin.exchange.request_id)}",
        )
        facts = {"amount_usd": to_usd(nano_of(topup.amount_cents)), "save_card": topup.save_card}
        work.record_change(Change("topup.create", topup.reference, account.id, after={**facts}))
        return _row(topup)

    return await admin.change(command)


def _row(topup: Topup) -> TopupRow:
    return TopupRow(
        **topup_facts(topup),
        account=topup.account_id,
        jurisdiction=topup.jurisdiction,
        save_card=topup.save_card,
        ordered_by=topup.actor,
        session=topup.session_id,
        intent=topup.intent_id,
        charge=topup.charge_id,
    )
