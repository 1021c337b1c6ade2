"""The collaborators of the jobs that act on what Stripe says, and what they hand on."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeAlias

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.admission import Admission
from billing.generation import Generation
from billing.projection import Projection
from billing.stripe.client import StripeClient
from billing.stripe.config import StripeConfig
from billing.stripe.refunds import RefundRow
from billing.stripe.topup_rules import Payment
from billing.stripe.topups import Topup
from billing.take_back import TakeBack, TakenBack, take_back
from store.postgres import Database

# How long one turn waits for credit that calls in flight hold, and until the next turn.
TAKE_WAIT_S = 1.0
RETRY_S = 3.0


class Later(Exception):
    """The subject is to be worked on again in ``wait_s``: something else has to happen first."""

    def __init__(self, reason: str, wait_s: float = RETRY_S) -> None:
        super().__init__(reason)
        self.wait_s = wait_s


class PaidTopup(msgspec.Struct, frozen=True):
    """A top-up at the moment at which it is credited: all that its receipt or tax invoice is made from."""

    topup: Topup
    payment: Payment
    paid_at: datetime


# Issues the document of a paid top-up, in the transaction that credits it.
IssueDocument: TypeAlias = Callable[[AsyncConnection, PaidTopup], Awaitable[None]]


async def issue_no_document(_tx: AsyncConnection, _paid: PaidTopup) -> None:
    """Issue nothing: documents are another part's, which is handed in in place of this one."""


# Issues the credit note of a refund that was paid back, in the transaction that says so; or, where the money came back
# after all, the tax invoice of what is credited again.
IssueRefundDocument: TypeAlias = Callable[[AsyncConnection, RefundRow, Topup], Awaitable[None]]


async def issue_no_refund_document(_tx: AsyncConnection, _refund: RefundRow, _topup: Topup) -> None:
    """Issue nothing, as :func:`issue_no_document`."""


class StripeContext(msgspec.Struct, frozen=True, kw_only=True):
    """What acting on Stripe's objects takes."""

    db: Database
    client: StripeClient
    config: StripeConfig
    admission: Admission
    projection: Projection
    generation: Generation
    issue_document: IssueDocument = issue_no_document
    issue_refund_document: IssueRefundDocument = issue_no_refund_document

    async def take_back(self, wanted: TakeBack) -> TakenBack:
        """Take credit back as far as it is free now."""
        return await take_back(self.db, self.admission, self.projection, self.generation, wanted, wait_s=TAKE_WAIT_S)
