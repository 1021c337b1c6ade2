"""Lets the reader of a mail leave its topic. Mail programs post to it without a page of ours: the link is the leave."""

from typing import ClassVar

import msgspec

from router.api.in_process import OperationRefused
from web.answers import Page
from web.faults import NotFound
from web.request import PageRequest


class Subscription(msgspec.Struct, frozen=True):
    """What the link is for."""

    words: str
    address: str
    is_stopped: bool


class UnsubscribePage(Page, frozen=True, kw_only=True):
    """What would be left, and the button; or that it was left."""

    template: ClassVar[str] = "public/unsubscribe.html"

    link: str
    subscription: Subscription


async def show(request: PageRequest) -> UnsubscribePage:
    """What the link leaves. Programs that open links in mails leave nothing by it."""
    return await _page(request, "retrieve_subscription")


async def act(request: PageRequest) -> UnsubscribePage:
    """Leave it."""
    return await _page(request, "unsubscribe")


async def _page(request: PageRequest, operation: str) -> UnsubscribePage:
    link = request.values["link"]
    try:
        found = await request.run(operation, Subscription, path={"link": link})
    except OperationRefused as refused:
        if refused.status == 404:
            raise NotFound from None
        raise
    return UnsubscribePage(title="Leave these mails", link=link, subscription=found.value)
