"""Mails ops that an endpoint which served was taken out of service: once a day for each, whatever happens to it."""

from mail import Staff, enqueue
from mail.kinds import ProviderDown
from router.changes.transaction import UnitOfWork
from router.values import Endpoint, EndpointState
from store.ids import EndpointId, wire

SERVES = frozenset({EndpointState.LIVE, EndpointState.DRAINING})


async def mail_down(work: UnitOfWork, endpoint: Endpoint, reason: str) -> None:
    """An endpoint that served is quarantined."""
    mail = ProviderDown(
        provider=endpoint.provider_name,
        model=endpoint.model_id,
        endpoint=wire(EndpointId, endpoint.id),
        reason=reason,
        at=work.now,
    )
    dedupe = f"down:{endpoint.id.hex}:{work.now:%Y-%m-%d}"
    await enqueue(work.connection, mail, Staff.OPS, dedupe=dedupe)
