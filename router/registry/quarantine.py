"""Writes down the quarantines that this process's calls caused: for ops, and so that no process sends a call there."""

import asyncio
from functools import partial

import structlog

from router.changes.audit import Actor
from router.changes.transaction import UnitOfWork, transact
from router.errors import Conflict, NotFound, StoreUnavailable
from router.registry.endpoints import move_endpoint
from router.routing.health import Health
from router.values import EndpointState, QuarantineCause
from store.ids import EndpointId, wire
from store.postgres import STORE_FAULTS, Database

log = structlog.get_logger("router.registry.quarantine")

ACTOR = Actor("process:serve")
WRITE_EVERY_S = 0.5


async def run(db: Database, health: Health) -> None:
    """Write down every quarantine that health has and Postgres has not, until cancelled; one that fails is retried."""
    while True:
        await asyncio.sleep(WRITE_EVERY_S)
        for endpoint_id, (cause, reason) in list(health.pending_quarantines.items()):
            try:
                await transact(db, ACTOR, partial(_quarantine, endpoint_id, cause, reason))
            except (*STORE_FAULTS, StoreUnavailable):
                continue
            except (Conflict, NotFound):
                pass  # Moved or gone meanwhile: ops were faster.
            health.pending_quarantines.pop(endpoint_id, None)
            log.error("endpoint_quarantined", endpoint=wire(EndpointId, endpoint_id), reason=reason, cause=cause.value)


async def _quarantine(endpoint_id: EndpointId, cause: QuarantineCause, reason: str, work: UnitOfWork) -> None:
    await move_endpoint(work, endpoint_id, EndpointState.QUARANTINED, reason[:300], cause=cause)
