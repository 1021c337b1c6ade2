"""Adds, rotates, tests and deletes an account's webhooks through the one write path.

A webhook's secret is returned once, by :func:`add_webhook` and :func:`rotate_webhook`, and is stored sealed.
"""

import base64
import secrets

import msgspec

from billing.alerts import webhooks
from billing.alerts.deliveries import DeliveryRow, add_delivery, find_delivery
from billing.alerts.webhooks import WEBHOOKS_MAX, WebhookRow, count_webhooks, find_webhook, secret_binding
from providers.wire import Networks, parse_origin
from router.admin.accounts import require_account
from router.admin.own_changes import require_few_changes
from router.changes.audit import Change
from router.changes.transaction import UnitOfWork
from router.errors import Conflict, InvalidRequest, NotFound
from router.registry.encryption import CredentialCipher
from store.ids import AccountId, WebhookId, new_id, wire

URL_CHARACTERS_MAX = 2_000
# Standard Webhooks asks for 24 to 64 bytes.
SECRET_BYTES = 32


class IssuedWebhook(msgspec.Struct, frozen=True):
    """A webhook with its secret, which is shown this once."""

    secret: str
    row: WebhookRow


async def add_webhook(
    work: UnitOfWork, account_id: AccountId, url: str, cipher: CredentialCipher, allowed: Networks
) -> IssuedWebhook:
    """Add a webhook. Raises ``InvalidRequest`` for a URL that nothing is sent to, ``Conflict`` for too many."""
    require_url(url, allowed)
    await require_account(work, account_id, locked=True)
    if await count_webhooks(work.connection, account_id) >= WEBHOOKS_MAX:
        raise Conflict(f"The account has {WEBHOOKS_MAX} webhooks. Delete one first.")
    await require_few_changes(work, account_id, "webhook", "webhooks")
    webhook_id, secret = WebhookId(new_id()), new_secret()
    sealed = cipher.seal(secret_binding(webhook_id), secret.encode())
    row = await webhooks.add_webhook(work.connection, account_id, webhook_id, url, sealed, work.actor)
    work.record_change(Change("webhook.add", wire(WebhookId, row.id), account_id, after={"url": url}))
    return IssuedWebhook(secret, row)


async def rotate_webhook(
    work: UnitOfWork, account_id: AccountId, webhook_id: WebhookId, cipher: CredentialCipher
) -> IssuedWebhook:
    """Give a webhook another secret; for a day both sign. Raises ``NotFound``, ``Conflict`` for too many changes."""
    await require_account(work, account_id, locked=True)
    await require_webhook(work, account_id, webhook_id)
    await require_few_changes(work, account_id, "webhook", "webhooks")
    secret = new_secret()
    sealed = cipher.seal(secret_binding(webhook_id), secret.encode())
    row = await webhooks.rotate_secret(work.connection, account_id, webhook_id, sealed)
    work.record_change(Change("webhook.rotate", wire(WebhookId, webhook_id), account_id))
    return IssuedWebhook(secret, row)


async def test_webhook(work: UnitOfWork, account_id: AccountId, webhook_id: WebhookId) -> DeliveryRow:
    """Have a webhook sent an event ``webhook.test``. Raises ``NotFound``, ``Conflict`` for too many changes."""
    await require_account(work, account_id, locked=True)
    await require_webhook(work, account_id, webhook_id)
    await require_few_changes(work, account_id, "webhook", "webhooks")
    data: dict[str, object] = {"account": wire(AccountId, account_id), "webhook": wire(WebhookId, webhook_id)}
    delivery_id = await add_delivery(work.connection, webhook_id, "webhook.test", work.now, data)
    work.record_change(Change("webhook.test", wire(WebhookId, webhook_id), account_id))
    return await find_delivery(work.connection, delivery_id)


async def delete_webhook(work: UnitOfWork, account_id: AccountId, webhook_id: WebhookId) -> WebhookRow:
    """Delete a webhook: nothing is sent to it any more. Raises ``NotFound``."""
    row = await require_webhook(work, account_id, webhook_id)
    await webhooks.delete_webhook(work.connection, account_id, webhook_id)
    work.record_change(Change("webhook.delete", wire(WebhookId, webhook_id), account_id, before={"url": row.url}))
    return row


async def require_webhook(work: UnitOfWork, account_id: AccountId, webhook_id: WebhookId) -> WebhookRow:
    """The account's webhook. Raises ``NotFound``."""
    row = await find_webhook(work.connection, account_id, webhook_id)
    if row is None:
        raise NotFound("The account has no such webhook.", param="webhook_id")
    return row


def require_url(url: str, allowed: Networks) -> None:
    """Raise ``InvalidRequest`` for a URL that nothing is sent to. Where its name leads is judged at each delivery."""
    try:
        if len(url) > URL_CHARACTERS_MAX:
            raise ValueError(f"it has more than {URL_CHARACTERS_MAX} characters")
        origin = parse_origin(url, allowed)
        # A name that leads out of the allowed networks would be refused at each delivery: plain http goes nowhere else.
        if not origin.is_tls and not (origin.literal and allowed):
            raise ValueError("it starts with https://")
    except ValueError as fault:
        raise InvalidRequest(f"The URL of a webhook cannot be used: {fault}.", param="url") from fault


def new_secret() -> str:
    """A fresh secret, as Standard Webhooks writes it."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()}"
