"""A quarantine that one process decided is written down: for ops, and so that no other process sends a call there.

One whose credential was refused ends by itself: it is asked again with the rounds of :mod:`router.rounds`, and at once
when its provider was edited.
"""

import asyncio
from functools import partial
from typing import Final

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from router.audit import Actor
from router.endpoints import move_endpoint
from router.errors import Conflict, NotFound, StoreUnavailable
from router.health import Health
from router.values import EndpointState
from router.write import Work, transact
from store.ids import EndpointId, ProviderId, wire
from store.postgres import STORE_FAULTS, Database

log = structlog.get_logger("router.quarantine")

ACTOR = Actor("process:serve")
TELL_EVERY_S = 0.5
# What a reason begins with, behind the name of the probe where one found it.
REFUSED: Final = "CredentialRefused"
# A process that asks needs a moment to hear of the change, or it would ask with the old credential.
HEARD_BY_THEN_S: Final = 2

_LOOK_AGAIN = text(
    "INSERT INTO probe_schedule (endpoint_id, next_at, full_at)"
    " SELECT id, now() + CAST(:soon AS integer) * interval '1 second', now() FROM endpoints"
    " WHERE provider_id = :provider AND state = 'quarantined'"
    " AND (starts_with(state_reason, :refused) OR state_reason ~ ('^probe_[0-9A-Za-z]+: ' || :refused))"
    " ON CONFLICT (endpoint_id) DO UPDATE SET next_at = excluded.next_at, full_at = excluded.full_at, misses = 0"
)


def was_refused(reason: str) -> bool:
    """Whether an endpoint is quarantined because its provider refused our credential or our credit."""
    first, _, rest = reason.partition(": ")
    return first == REFUSED or (first.startswith("probe_") and rest.startswith(REFUSED))


async def look_again(connection: AsyncConnection, provider_id: ProviderId) -> None:
    """The provider was edited: those of its endpoints that it had refused are asked within seconds."""
    binds = {"provider": provider_id, "refused": REFUSED, "soon": HEARD_BY_THEN_S}
    await connection.execute(_LOOK_AGAIN, binds)


async def run(db: Database, health: Health) -> None:
    """Tell what is untold, until cancelled; what cannot be written now is tried again."""
    while True:
        await asyncio.sleep(TELL_EVERY_S)
        for endpoint_id, reason in list(health.untold.items()):
            try:
                await transact(db, ACTOR, partial(_quarantine, endpoint_id, reason))
            except (*STORE_FAULTS, StoreUnavailable):
                continue
            except (Conflict, NotFound):
                pass  # Moved or gone meanwhile: ops were faster.
            health.untold.pop(endpoint_id, None)
            log.error("endpoint_quarantined", endpoint=wire(EndpointId, endpoint_id), reason=reason)


async def _quarantine(endpoint_id: EndpointId, reason: str, work: Work) -> None:
    await move_endpoint(work, endpoint_id, EndpointState.QUARANTINED, reason[:300])
