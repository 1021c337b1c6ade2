"""Runs the admin API in process, on the machine, with PostgreSQL alone and before anything else runs.

Who can reach the database needs no key, and the audit log has ``cli:<user>`` instead of a member. Nothing listens:
:func:`local_app` is an ASGI application to call (``httpx.ASGITransport``, or by hand).
"""

import os
import pwd
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncConnection

from billing.contracts.store import list_terms
from billing.prices import list_prices
from catalog.models import Catalog, load_models
from gigarouter.settings import Settings
from gigarouter.stripe_settings import stripe_config
from gigarouter.web_settings import web_url
from providers.kinds import build
from providers.protocol import Provider
from providers.wire import Pool, networks
from router.api.admin.context import AdminContext
from router.api.app import create_local_app
from router.api.server.guard import Guard
from router.changes.audit import Actor
from router.context import PlanningContext
from router.dry_run import AllEndpoints, PlanningSnapshot
from router.errors import InvalidRequest
from router.registry.encryption import CredentialCipher, CredentialUnreadable
from router.registry.indexes import PriceIndex, ProviderRecord
from router.registry.providers import decrypt_credential
from router.routing.health import Health
from store.postgres import Database


@asynccontextmanager
async def local_app(settings: Settings) -> AsyncIterator[Guard]:
    """The admin API for this operating-system user. Raises ``SettingsError`` where no database is named."""
    db = Database(settings.require_database_url(), pool_size=2)
    try:
        yield create_local_app(local_context(settings, db), local_actor())
    finally:
        await db.close()


def local_actor() -> Actor:
    """The operating-system user who runs the command."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without an entry
        name = str(os.getuid())
    return Actor(f"cli:{name}")


def local_context(settings: Settings, db: Database) -> AdminContext:
    """The collaborators of administration on a machine that has PostgreSQL and no Redis.

    Providers' quotas are then not counted, and breakers, which are in serve processes, are not known.
    """
    keys = [key.get_secret_value() for key in settings.secret_keys]
    cipher = CredentialCipher(keys) if keys else None
    allowed = networks([str(network) for network in settings.allowed_private_networks])

    @asynccontextmanager
    async def speaking_to(record: ProviderRecord) -> AsyncIterator[Provider]:
        pool = Pool()
        try:
            provider = build(
                record.kind,
                base_url=record.base_url,
                credential=decrypt_credential(record, cipher),
                options=record.options,
                allowed_networks=allowed,
                pool=pool,
            )
        except (ValueError, CredentialUnreadable) as fault:
            raise InvalidRequest(f"{record.name} cannot be spoken to: {fault}.") from fault
        try:
            yield provider
        finally:
            await provider.close()
            await pool.close()

    async def check_provider(record: ProviderRecord) -> None:
        async with speaking_to(record):
            pass

    async def known(connection: AsyncConnection) -> PlanningContext:
        catalog = Catalog(await load_models(connection))
        prices = PriceIndex(await list_prices(connection), await list_terms(connection))
        return PlanningSnapshot(catalog, prices, AllEndpoints([]), Health(), lambda: 0.0)

    return AdminContext(
        db=db,
        cipher=cipher,
        check_provider=check_provider,
        speaking_to=speaking_to,
        known=known,
        exports=settings.exports_folder(),
        stripe=stripe_config(settings),
        second_person=settings.second_person_limits(),
        free_credit=settings.free_credit(),
        web_url=web_url(settings),
    )
