"""``/admin/v1/finance/reviews``: payments that a person has to look at, and what was decided."""

from typing import Annotated, ClassVar

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.stripe.reviews import Review, list_reviews
from router.admin.payments import resolve_review
from router.api.admin.references import account_of
from router.api.admin.request import Read, Write
from router.api.fields import AccountIdText, AccountRef, Flag, Instant, ReviewIdText, TopupIdText, text_of
from router.api.forms import Answer, Body, Page, PageQuery, answer_of
from router.api.operation import ALL, MONEY, V1, Operations
from router.changes.transaction import UnitOfWork
from store.ids import ReviewId, wire

operations = Operations("reviews", f"{V1}/finance/reviews", tag="Finance")


class ReviewOut(Answer):
    """One thing in the queue."""

    columns: ClassVar[tuple[str, ...]] = ("id", "opened_at", "cause", "subject", "message", "resolution")

    id: ReviewIdText
    subject: str = Field(description="The object at Stripe, or the top-up or refund here.")
    cause: str
    message: str
    topup: TopupIdText | None
    account: AccountIdText | None
    opened_at: Instant
    resolved_at: Instant | None
    resolved_by: str | None
    resolution: str | None


class Resolution(Body):
    """What a person decided."""

    resolution: Annotated[str, text_of(1_000)] = Field(description="What was found and done.")


class ReviewQuery(PageQuery):
    """Which part of the queue is listed."""

    account: AccountRef | None = Field(None, description="That of one account.")
    all: Flag = Field(False, description="1: what is resolved, too.")


@operations.get("", verb="list", summary="List what a person has to look at", roles=ALL)
async def list_(admin: Read, query: Annotated[ReviewQuery, Query()]) -> Page[ReviewOut]:
    """The queue, the oldest first."""
    after = query.after_id(ReviewId)

    async def ask(connection: AsyncConnection) -> list[ReviewOut]:
        position = None if after is None else ReviewId(after)
        account = (await account_of(connection, query.account)).id if query.account else None
        rows = await list_reviews(
            connection, is_open=not query.all, account_id=account, after=position, most=query.limit + 1
        )
        return [_out(row) for row in rows]

    return admin.page(query, await admin.read(ask), lambda row: wire(ReviewId, row.id))


@operations.post("/{review_id}/resolve", verb="resolve", summary="Say what was decided", roles=MONEY)
async def resolve(admin: Write, review_id: ReviewIdText, body: Resolution) -> ReviewOut:
    """Take something off the queue, with what was found and done."""

    async def command(work: UnitOfWork) -> ReviewOut:
        return _out(await resolve_review(work, review_id, body.resolution))

    return await admin.change(command)


def _out(review: Review) -> ReviewOut:
    return answer_of(ReviewOut, review, topup=review.topup_id, account=review.account_id)
