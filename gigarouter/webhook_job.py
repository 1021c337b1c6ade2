"""Sends what waits for customers' webhooks: claims deliveries, signs and sends them, marks what became of each.

The connected address is judged at each attempt, as those of providers are, since names resolve to whatever their owner
likes; redirects are followed nowhere. Any number of processes may send at once.
"""

import asyncio

import structlog

from billing.alerts.deliveries import ClaimedDelivery, claim_deliveries, forget_old, mark_delivered, mark_failed
from billing.alerts.raising import forget_old as forget_old_alerts
from billing.alerts.raising import raise_due
from billing.alerts.signature import signed_headers
from billing.alerts.webhooks import secret_binding
from providers.outcomes import ConnectFailed, Failure, TimedOut
from providers.wire import Answer, Networks, Pool, parse_origin, request
from router.context import RouterContext
from router.registry.encryption import CredentialUnreadable
from store.ids import DeliveryId, wire

log = structlog.get_logger("jobs")

AT_ONCE = 16
DEADLINE_S = 10.0
ANSWER_BYTES_MAX = 64 * 1024
# The receiver says that there is nothing any more, and will not be.
GONE = 410


class SendWebhooks:
    """Sends deliveries over connections of their own: none is kept, since receivers are many and events few."""

    def __init__(self) -> None:
        self._pool = Pool()

    async def __call__(self, context: RouterContext) -> None:
        """One turn: everything that is due."""
        while True:
            async with context.db.transaction() as tx:
                claimed = await claim_deliveries(tx, AT_ONCE)
            if not claimed:
                return
            async with asyncio.TaskGroup() as group:
                for delivery in claimed:
                    group.create_task(self._deliver(context, delivery))

    async def _deliver(self, context: RouterContext, delivery: ClaimedDelivery) -> None:
        status, fault = None, ""
        try:
            answer = await self._post(context, delivery)
            status = answer.status
            fault = _fault_of(answer)
        except (Failure, ValueError, CredentialUnreadable) as failure:
            fault = _reason(failure)
        async with context.db.transaction() as tx:
            if not fault:
                assert status is not None, "what was delivered was answered; this is a bug"
                await mark_delivered(tx, delivery, status)
            else:
                await mark_failed(tx, delivery, status, fault, is_final=status == GONE)
        if fault:
            log.warning("webhook_not_delivered", delivery=wire(DeliveryId, delivery.id), attempts=delivery.attempts)

    async def _post(self, context: RouterContext, delivery: ClaimedDelivery) -> Answer:
        """Send it once. Raises ``Failure``, ``ValueError`` and ``CredentialUnreadable``."""
        allowed: Networks = context.webhook_networks
        origin, binding = parse_origin(delivery.url, allowed), secret_binding(delivery.webhook_id)
        sealed = [one for one in (delivery.sealed, delivery.previous_sealed) if one is not None]
        secrets = [context.cipher.unseal(binding, one).decode() for one in sealed]
        name = wire(DeliveryId, delivery.id)
        headers = signed_headers(name, context.db.clock.now(), delivery.body, secrets)
        # The path as it was given: a slash at its end is not that of the origin.
        path = "/" if delivery.url.endswith("/") or not origin.path else ""
        head = origin.head(path, {"Content-Type": "application/json", "Connection": "close", **headers})
        channel = self._pool.channel(origin)
        try:
            return await channel.exchange(request(head, delivery.body.encode()), DEADLINE_S, ANSWER_BYTES_MAX)
        finally:
            channel.close()


async def raise_alerts(context: RouterContext) -> None:
    """Raise the alerts that are due."""
    if raised := await raise_due(context.db, context.db.clock.now()):
        log.info("alerts_raised", alerts=raised)


async def forget_alerts(context: RouterContext) -> None:
    """Delete what was kept long enough of alerts and deliveries."""
    async with context.db.transaction() as tx:
        await forget_old(tx)
    await forget_old_alerts(context.db)


def _reason(failure: Exception) -> str:
    """Why there was no answer, for the owner of the URL."""
    match failure:
        case ConnectFailed(refusal=refusal) if refusal:
            return f"its address must not be reached: {refusal}"
        case ConnectFailed(step=step):
            return f"the connection failed: {step}"
        case TimedOut():
            return f"it did not answer within {DEADLINE_S:.0f} s"
        case CredentialUnreadable():
            return "its secret cannot be read: rotate it"
        case _:
            return str(failure) or "its answer cannot be read"


def _fault_of(answer: Answer) -> str:
    """Why an answer is no receipt; empty where it is one."""
    if 200 <= answer.status < 300:
        return ""
    location = answer.headers.get(b"location")
    return f"it answered {answer.status}" + (", and redirects are not followed" if location is not None else "")
