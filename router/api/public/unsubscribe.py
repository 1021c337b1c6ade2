"""Serves ``/v1/unsubscribe/{link}``: a reader of a mail that is not owed leaves its topic; the link is the leave."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Request, Response
from pydantic import Field

from mail import stopped
from mail.kinds import KINDS
from mail.stopped import StopReason
from mail.topics import TOPICS
from mail.values import Topic
from router.admin.launch_mails import end_unread
from router.api.dependencies import depend_on
from router.api.forms import Answer
from router.api.operation import OperationRequest, Operations, Who
from router.context import RouterContext
from router.errors import NotFound, StoreUnavailable
from store.postgres import STORE_FAULTS

operations = Operations("unsubscribe", "/v1/unsubscribe", tag="Mails", who=Who.ANYONE)


class Subscription(Answer):
    """What a link is for, and whether mails of that topic go to its reader."""

    topic: Topic
    words: str = Field(description="What the topic's mails are, as `news of models that you voted for or use`.")
    address: str = Field(description="The reader's, with most of it left out.")
    is_stopped: bool
    object: Literal["mail.subscription"] = "mail.subscription"


class LinkRequest(OperationRequest):
    """A request by whoever has a link."""

    def __init__(self, request: Request, response: Response) -> None:
        self.context: RouterContext = request.app.state.context
        response.headers["cache-control"] = "no-store"


ByLink = Annotated[LinkRequest, depend_on(LinkRequest)]


@operations.get("/{link}", verb="show", name="retrieve_subscription", summary="What a link leaves")
async def show(request: ByLink, link: str) -> Subscription:
    """Which mails the link stops; looking at it stops none."""
    return await _answer(request, link, stops=False)


@operations.post("/{link}", verb="leave", name="unsubscribe", summary="Leave the topic of a mail")
async def leave(request: ByLink, link: str) -> Subscription:
    """Stop mails of the topic to the address, at once (RFC 8058); again, it is the same."""
    return await _answer(request, link, stops=True)


async def _answer(request: LinkRequest, link: str, *, stops: bool) -> Subscription:
    try:
        async with request.context.db.transaction() as tx:
            found = await stopped.find_link(tx, _id_of(link))
            topic = None if found is None or found[1] not in KINDS else KINDS[found[1]].topic
            if found is None or topic is None:
                raise NotFound("There is no such link, or it has ended.", param="link")
            if stops:
                await stopped.stop(tx, found[0], StopReason.UNSUBSCRIBED, topic=topic.value, by="reader")
                if topic is Topic.MODELS:
                    await end_unread(tx, found[0])
            is_stopped = await stopped.find_stop(tx, found[0], topic) is not None
    except STORE_FAULTS as fault:
        raise StoreUnavailable("That cannot be written right now. Try again in a moment.", detail=str(fault)) from fault
    return Subscription(topic=topic, words=TOPICS[topic], address=_masked(found[0]), is_stopped=is_stopped)


def _id_of(link: str) -> UUID:
    try:
        return UUID(hex=link)
    except ValueError:
        raise NotFound("There is no such link, or it has ended.", param="link") from None


def _masked(address: str) -> str:
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}…@{domain}"
