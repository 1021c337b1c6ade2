"""What the operations of administration work with: Postgres, and what speaks to providers.

A process that serves has it from its own parts; the command line builds it on a machine that has Postgres alone.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.errors import BillingUnavailable
from billing.exports.storage import ExportFolder
from billing.money import NanoUSD
from billing.stripe.config import StripeConfig
from providers.protocol import Provider
from router.changes.second_person import SecondPersonLimits
from router.context import PlanningContext, RouterContext
from router.errors import StoreUnavailable
from router.explain.receipts import ReceiptBuffer
from router.identity.people.set_up import FreeCredit
from router.registry.encryption import CredentialCipher
from router.registry.indexes import ProviderRecord
from router.verification.prober import Quota
from store.ids import AccountId
from store.postgres import Database

SpeakingTo: TypeAlias = Callable[[ProviderRecord], AbstractAsyncContextManager[Provider]]


class AdminContext(msgspec.Struct, frozen=True, kw_only=True):
    """The collaborators of an operation of administration.

    ``cipher``: None where no secret key is set, so that no credential can be kept. ``check_provider`` raises
    ``InvalidRequest`` for a record that nothing could speak to; ``speaking_to`` does, too, or ``StoreUnavailable``.
    ``known`` is what a dry run of a route plans with. ``exports``: where their files are.
    ``quota``: what providers grant us, None without Redis. ``receipts``: explanations of calls that are not yet
    written, None where no calls are served. ``stripe``: None where no payments are taken.
    ``held``: what calls in flight hold of an account's credit, None without Redis.
    ``second_person``: up to which amounts one operator acts alone. ``web_url``: where the pages are.
    ``free_credit``: what somebody gets with their first account.
    """

    db: Database
    cipher: CredentialCipher | None
    check_provider: Callable[[ProviderRecord], Awaitable[None]]
    speaking_to: SpeakingTo
    known: Callable[[AsyncConnection], Awaitable[PlanningContext]]
    exports: ExportFolder
    quota: Quota | None = None
    receipts: ReceiptBuffer | None = None
    stripe: StripeConfig | None = None
    second_person: SecondPersonLimits = SecondPersonLimits()
    held: Callable[[AccountId], Awaitable[NanoUSD]] | None = None
    web_url: str = ""
    free_credit: FreeCredit = FreeCredit()


def admin_context(context: RouterContext) -> AdminContext:
    """The collaborators in a process that serves: its providers, its quota, its health."""

    @asynccontextmanager
    async def speaking_to(record: ProviderRecord) -> AsyncIterator[Provider]:
        await context.catch_up()
        provider = context.providers.get(record.id)
        if provider is None:
            raise StoreUnavailable("This process has not heard of the provider yet. Try again.", retry_after_s=1.0)
        yield provider

    async def known(connection: AsyncConnection) -> PlanningContext:
        return context

    async def held(account_id: AccountId) -> NanoUSD:
        try:
            return (await context.projection.balance(account_id)).held
        except BillingUnavailable as fault:
            raise StoreUnavailable("Postgres cannot be reached. Try again shortly.", retry_after_s=1.0) from fault

    return AdminContext(
        held=held,
        db=context.db,
        cipher=context.cipher,
        check_provider=context.check_provider,
        speaking_to=speaking_to,
        known=known,
        exports=context.exports,
        quota=context.dispatch_state.quota,
        receipts=context.receipts,
        stripe=context.stripe,
        second_person=context.second_person,
        free_credit=context.free_credit,
    )
