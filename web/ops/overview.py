"""Lists what needs a person, the oldest first: quarantines, conflicts, incidents, prices, mails, proposals and more.

Models, endpoints and prices are read from this process's memory; the rest are one statement each.
"""

from datetime import UTC, datetime, time
from typing import ClassVar

import msgspec

from billing.money import to_usd
from catalog.evidence import EvidenceState, list_evidence
from catalog.rulings import needs_a_ruling
from catalog.values import Model, Status
from mail.outbox import count_failed
from router.changes.second_person import list_proposals
from router.registry.endpoints import list_endpoints
from router.statistics.incidents import list_incidents
from router.values import EndpointState
from store.ids import EndpointId, EvidenceId, IncidentId, ProposalId, wire
from web.answers import Crumb, Page
from web.parts.tables import Column
from web.request import PageRequest

SHOWN_MAX = 100
HEAD = (Column("What"), Column("Of"), Column("Since"), Column("Why"))


class Waiting(msgspec.Struct, frozen=True):
    """Something that needs a person. ``since``: None where no one wrote it down."""

    what: str
    of: str
    href: str
    since: datetime | None
    why: str


class OverviewPage(Page, frozen=True, kw_only=True):
    """What waits, and the ways to everything else."""

    template: ClassVar[str] = "ops/overview.html"

    waiting: tuple[Waiting, ...]
    total: int
    head: tuple[Column, ...] = HEAD


async def show(request: PageRequest) -> OverviewPage:
    """What waits, the oldest first; what has no date comes last."""
    found = [*await _stored(request), *_licenses(request), *_prices(request)]
    found.sort(key=lambda one: (one.since is None, one.since or request.exchange.now, one.of))
    return OverviewPage(
        title="Operations",
        crumbs=(Crumb("Operations"),),
        waiting=tuple(found[:SHOWN_MAX]),
        total=len(found),
    )


async def _stored(request: PageRequest) -> list[Waiting]:
    now = request.exchange.now
    async with request.context.reads.db.transaction() as connection:
        endpoints = await list_endpoints(connection)
        evidence = await list_evidence(connection, state=EvidenceState.OPEN, limit=SHOWN_MAX)
        proposals = await list_proposals(connection, now, only_open=True, before=None, most=SHOWN_MAX)
        failed, failed_since = await count_failed(connection)
        incidents = await list_incidents(connection, is_open=True, limit=SHOWN_MAX)
    found = [
        Waiting(
            "Quarantine",
            f"{view.endpoint.model_id} at {view.endpoint.provider_name}",
            f"/ops/endpoints/{wire(EndpointId, view.endpoint.id)}",
            None,
            view.reason,
        )
        for view in endpoints
        if view.endpoint.state is EndpointState.QUARANTINED
    ]
    found += [
        Waiting(
            "Evidence",
            one.model_id,
            f"/ops/evidence/{wire(EvidenceId, one.id)}",
            one.sent_at,
            "sent by a customer",
        )
        for one in evidence
    ]
    found += [
        Waiting(
            "Second person",
            one.operation,
            f"/ops/proposals/{wire(ProposalId, one.id)}",
            one.proposed_at,
            f"{to_usd(one.amount_nano)} USD, above {to_usd(one.limit_nano)}; proposed by {one.proposed_by}",
        )
        for one in proposals
    ]
    found += [
        Waiting(
            "Incident",
            one.title,
            f"/ops/incidents/{wire(IncidentId, one.id)}",
            one.updated_at,
            f"{one.impact.value}, {one.state.value}: what customers read of it was said then",
        )
        for one in incidents
    ]
    if failed:
        of = f"{failed} that were given up"
        found.append(Waiting("Mails", of, "/ops/queues#mails_failed", failed_since, "see the mail server"))
    return found


def _licenses(request: PageRequest) -> list[Waiting]:
    return [
        Waiting(
            "License",
            model.id,
            f"/ops/licenses/{model.id}",
            _first_claim(model),
            "sources disagree" if len({claim.license for claim in model.claims}) > 1 else "no license that is known",
        )
        for model in request.context.reads.catalog.all()
        if needs_a_ruling(model) and model.status is not Status.RETIRED
    ]


def _prices(request: PageRequest) -> list[Waiting]:
    reads = request.context.reads
    return [
        Waiting("Price", model.id, f"/ops/prices/new?model={model.id}", None, "it is served and has no price")
        for model in reads.catalog.all()
        if reads.endpoints.of_model(model) and reads.prices.current(model.id, request.exchange.now) is None
    ]


def _first_claim(model: Model) -> datetime | None:
    days = [claim.claimed_on for claim in model.claims]
    return datetime.combine(min(days), time(tzinfo=UTC)) if days else None
