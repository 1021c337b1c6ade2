"""Holds the collaborators of the pipeline and the edge, built once at start; there are no globals beside them."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Protocol

import msgspec

from billing.admission import Admission
from billing.charging import Charging
from billing.exports.storage import ExportFolder
from billing.generation import Generation
from billing.projection import Projection
from billing.stripe.config import StripeConfig
from billing.stripe.watch import Watch
from catalog.models import Catalog
from providers.protocol import Provider
from providers.wire import Networks
from router.catalogue.memory import RowsMemory
from router.changes.second_person import SecondPersonLimits
from router.dispatch.state import DispatchState
from router.dispatch.traffic_comparison import TrafficComparison
from router.explain.receipts import ReceiptBuffer
from router.identity.operators import OperatorIndex
from router.identity.people.set_up import FreeCredit
from router.registry.encryption import CredentialCipher
from router.registry.indexes import ProviderRecord
from router.registry.refresh import EndpointIndex, KeyIndex, PriceIndex
from router.request.outcome_room import OutcomeBounds
from router.routing.health import Health
from router.statistics.snapshot import StatisticsMemory
from store.ids import ProviderId
from store.postgres import Database


class PlanningContext(Protocol):
    """The indexes in memory that a call is planned with; a dry run brings its own."""

    @property
    def catalog(self) -> Catalog:
        """Models."""
        ...

    @property
    def prices(self) -> PriceIndex:
        """The prices that customers pay."""
        ...

    @property
    def endpoints(self) -> EndpointIndex:
        """The endpoints that may serve."""
        ...

    @property
    def health(self) -> Health:
        """The health of those endpoints."""
        ...

    @property
    def draw(self) -> Callable[[], float]:
        """Random numbers in [0, 1)."""
        ...


class RouterContext(msgspec.Struct, frozen=True, kw_only=True):
    """All collaborators; the indexes are refreshed in place."""

    db: Database
    keys: KeyIndex
    operators: OperatorIndex
    catch_up: Callable[[], Awaitable[None]]
    catalog: Catalog
    prices: PriceIndex
    endpoints: EndpointIndex
    providers: Mapping[ProviderId, Provider]
    # A provider with the record that it was built from.
    find_provider: Callable[[ProviderId], tuple[ProviderRecord, Provider] | None]
    cipher: CredentialCipher
    # Raises InvalidRequest for a record that no kind of provider can be built from.
    check_provider: Callable[[ProviderRecord], Awaitable[None]]
    health: Health
    dispatch_state: DispatchState
    generation: Generation
    projection: Projection
    admission: Admission
    charging: Charging
    receipts: ReceiptBuffer
    comparison: TrafficComparison
    exports: ExportFolder
    # Not in the process of pages, which knows no call: what calls hold is unknown there.
    has_redis: bool = True
    # None where no payments are taken.
    stripe: StripeConfig | None = None
    # Beside public addresses, where customers' webhooks may be reached.
    webhook_networks: Networks = ()
    # Up to which amounts one operator acts alone.
    second_person: SecondPersonLimits = SecondPersonLimits()
    # What somebody gets with their first account.
    free_credit: FreeCredit = FreeCredit()
    # Wake who waits for a top-up's page or a link to the portal, and the jobs that Stripe's events make.
    topup_changes: Watch = msgspec.field(default_factory=Watch)
    portal_changes: Watch = msgspec.field(default_factory=Watch)
    stripe_work: Watch = msgspec.field(default_factory=Watch)
    call_deadline_s: float = 60.0
    body_bytes_max: int = 4 * 1024 * 1024
    outcome_bounds: OutcomeBounds = OutcomeBounds()
    statistics: StatisticsMemory = msgspec.field(default_factory=StatisticsMemory)
    catalogue_rows: RowsMemory = msgspec.field(default_factory=RowsMemory)
    # Sums over a customer's calls may take Postgres seconds: so many at once leave connections for everything else.
    usage_reads: asyncio.Semaphore = msgspec.field(default_factory=lambda: asyncio.Semaphore(2))
    # Random numbers in [0, 1) for routing.
    draw: Callable[[], float] = msgspec.field(default_factory=lambda: Random().random)  # noqa: S311 - shares of traffic
