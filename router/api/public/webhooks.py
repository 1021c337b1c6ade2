"""``/v1/account/webhooks``: where an account's events are sent, signed as Standard Webhooks says."""

from typing import Annotated, ClassVar, Literal

from fastapi import Depends, Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.alerts.deliveries import DeliveryRow, list_deliveries
from billing.alerts.webhooks import WebhookRow, find_webhook, list_webhooks
from router.admin.webhooks import add_webhook, delete_webhook, rotate_webhook, test_webhook
from router.api.fields import DeliveryIdText, Instant, WebhookIdText
from router.api.forms import Answer, Body, Page, PageQuery, answer_of
from router.api.operation import Operations, Who, check_request
from router.api.public.postgres import ask_postgres
from router.api.public.request import Private
from router.changes.audit import Actor
from router.changes.transaction import UnitOfWork, transact
from router.errors import NotFound
from router.identity.scopes import ALERTS_WRITE, SPENDING
from store.ids import AccountId, DeliveryId, WebhookId, wire

operations = Operations("webhooks", "/v1/account/webhooks", tag="Account", who=Who.KEY)
ONE = "/{webhook_id}"
_Checked = Annotated[None, Depends(check_request)]


class WebhookCreate(Body):
    """A new webhook."""

    url: str = Field(
        description="An https:// address in the public internet, without ? and #. Redirects are not followed."
    )


class WebhookOut(Answer):
    """A webhook."""

    once: ClassVar[frozenset[str]] = frozenset({"secret"})

    id: WebhookIdText
    url: str
    secret: str | None = Field(
        None, description="whsec_…, by which a receiver verifies: in the answer to its making and rotation alone."
    )
    old_secret_works_until: Instant | None = Field(
        description="Until when deliveries are signed with the secret before the latest, too."
    )
    created_at: Instant
    object: Literal["webhook"] = "webhook"


class WebhookDeleted(Answer):
    """That a webhook is no more."""

    id: WebhookIdText
    deleted: Literal[True] = True
    object: Literal["webhook"] = "webhook"


class DeliveryOut(Answer):
    """An event that is sent to a webhook, and what became of it."""

    id: DeliveryIdText = Field(description="The webhook-id of every attempt.")
    type: str = Field(description="spend.threshold, spend.forecast or webhook.test; later releases may have more.")
    state: Literal["waiting", "delivered", "failed"]
    attempts: int
    status: int | None = Field(description="The HTTP status of the latest answer; null without one.")
    fault: str = Field(description="Why the latest attempt failed.")
    created_at: Instant
    delivered_at: Instant | None
    next_at: Instant | None = Field(description="When it is tried next, where it waits.")
    object: Literal["webhook_delivery"] = "webhook_delivery"


@operations.get("", verb="list", scope=SPENDING, summary="List webhooks")
async def list_(request: Private, query: Annotated[PageQuery, Query()], _: _Checked) -> Page[WebhookOut]:
    """The account's webhooks, the oldest first, without their secrets."""
    after = query.after_id(WebhookId)

    async def ask(tx: AsyncConnection) -> list[WebhookOut]:
        found = await list_webhooks(tx, request.account_id, after=after, limit=query.limit + 1)
        return [_webhook_out(row) for row in found]

    rows = await ask_postgres(request.context, ask)
    return request.paging.page(query, rows, lambda row: wire(WebhookId, row.id))


@operations.post("", verb="create", scope=ALERTS_WRITE, summary="Add a webhook", status=201, shows_once=True)
async def create(request: Private, body: WebhookCreate, _: _Checked) -> WebhookOut:
    """Add a webhook, at most 10. Its secret is shown this once; who lost it rotates."""
    context, account_id = request.context, request.account_id

    async def command(work: UnitOfWork) -> WebhookOut:
        issued = await add_webhook(work, account_id, body.url, context.cipher, context.webhook_networks)
        return _webhook_out(issued.row, issued.secret)

    return await transact(context.db, _actor(request), command)


@operations.get(ONE, verb="show", scope=SPENDING, summary="A webhook")
async def retrieve(request: Private, webhook_id: WebhookIdText) -> WebhookOut:
    """One webhook, without its secret."""

    async def ask(tx: AsyncConnection) -> WebhookOut:
        return _webhook_out(await _own(tx, request.account_id, webhook_id))

    return await ask_postgres(request.context, ask)


@operations.post(
    f"{ONE}/rotate", verb="rotate", scope=ALERTS_WRITE, summary="Rotate a webhook's secret", shows_once=True
)
async def rotate(request: Private, webhook_id: WebhookIdText, _: _Checked) -> WebhookOut:
    """A new secret, shown this once. For a day deliveries are signed with the old one, too."""
    context, account_id = request.context, request.account_id

    async def command(work: UnitOfWork) -> WebhookOut:
        issued = await rotate_webhook(work, account_id, webhook_id, context.cipher)
        return _webhook_out(issued.row, issued.secret)

    return await transact(context.db, _actor(request), command)


@operations.post(f"{ONE}/test", verb="test", scope=ALERTS_WRITE, summary="Send a test event", status=202)
async def test(request: Private, webhook_id: WebhookIdText, _: _Checked) -> DeliveryOut:
    """Send the event ``webhook.test``; the webhook's deliveries say what became of it."""

    async def command(work: UnitOfWork) -> DeliveryOut:
        return _delivery_out(await test_webhook(work, request.account_id, webhook_id))

    return await transact(request.context.db, _actor(request), command)


@operations.delete(ONE, verb="delete", scope=ALERTS_WRITE, summary="Delete a webhook")
async def delete(request: Private, webhook_id: WebhookIdText, _: _Checked) -> WebhookDeleted:
    """Delete a webhook with its deliveries: nothing is sent to it any more."""

    async def command(work: UnitOfWork) -> WebhookDeleted:
        await delete_webhook(work, request.account_id, webhook_id)
        return WebhookDeleted(id=webhook_id)

    return await transact(request.context.db, _actor(request), command)


@operations.get(
    f"{ONE}/deliveries", verb="deliveries", scope=SPENDING, name="list_webhook_deliveries", summary="List deliveries"
)
async def deliveries(
    request: Private, webhook_id: WebhookIdText, query: Annotated[PageQuery, Query()], _: _Checked
) -> Page[DeliveryOut]:
    """What was sent to a webhook in the last 30 days, the newest first."""
    before = query.after_id(DeliveryId)

    async def ask(tx: AsyncConnection) -> list[DeliveryOut]:
        row = await _own(tx, request.account_id, webhook_id)
        found = await list_deliveries(tx, row.id, before=before, limit=query.limit + 1)
        return [_delivery_out(one) for one in found]

    rows = await ask_postgres(request.context, ask)
    return request.paging.page(query, rows, lambda row: wire(DeliveryId, row.id))


async def _own(tx: AsyncConnection, account_id: AccountId, webhook_id: WebhookId) -> WebhookRow:
    row = await find_webhook(tx, account_id, webhook_id)
    if row is None:
        raise NotFound("The account has no such webhook.", param="webhook_id")
    return row


def _actor(request: Private) -> Actor:
    return request.actor


def _webhook_out(row: WebhookRow, secret: str | None = None) -> WebhookOut:
    return answer_of(WebhookOut, row, secret=secret, old_secret_works_until=row.previous_until)


def _delivery_out(row: DeliveryRow) -> DeliveryOut:
    return answer_of(DeliveryOut, row)
