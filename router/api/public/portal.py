"""``/v1/account/portal``: a link to Stripe's billing portal, for cards, tax ids and Stripe's own papers."""

from typing import Annotated, Literal

from fastapi import Path, Response
from pydantic import Field

from billing.stripe.portal_links import HOUR_MAX, PortalLink, TooManyLinks, find_link, order_link
from router.admin.payments import require_stripe
from router.api.fields import PortalLinkIdText
from router.api.forms import Answer
from router.api.operation import Operations, Who
from router.api.public.postgres import ask_postgres
from router.api.public.request import Private
from router.errors import Conflict, NotFound
from router.identity.scopes import Scope
from store.ids import PortalLinkId, wire

operations = Operations("portal", "/v1/account/portal", tag="Account", who=Who.KEY)

# How long an answer waits for jobs to make the link; Stripe takes about half a second.
LINK_WAIT_S = 5.0


class PortalOut(Answer):
    """A link to the portal. Whoever has it may enter, so it is for one person and ends within minutes."""

    id: PortalLinkIdText
    status: str = Field(description="new: it is being made, ask again. made: open url. failed: ask for another.")
    url: str | None = Field(description="Null before it is made, and half an hour later.")
    object: Literal["portal_link"] = "portal_link"


@operations.post("", verb="create", scope=Scope.BILLING_WRITE, summary="Make a link to the billing portal", status=201)
async def create(request: Private, response: Response) -> PortalOut:
    """Make a link to Stripe's billing portal, in which the account's cards and tax ids are kept.

    The answer is 202 where the link is not made within seconds: read it until it has a url.
    """
    context = request.context
    require_stripe(context.stripe)
    request.refuse_test_key("A key for tests has no part in payments.")
    try:
        link_id = await ask_postgres(context, lambda tx: order_link(tx, request.account_id, actor=request.actor))
    except TooManyLinks:
        raise Conflict(
            f"This account has asked for {HOUR_MAX} links within an hour. Use one of them, or wait."
        ) from None
    await context.portal_changes.wait(LINK_WAIT_S, str(link_id), unless=lambda: _is_made(request, link_id))
    link = await _find(request, link_id)
    if link.status == "new":
        response.status_code = 202
        response.headers["location"] = f"/v1/account/portal/{wire(PortalLinkId, link.id)}"
    return _out(link)


@operations.get("/{link_id}", verb="show", scope=Scope.BILLING_WRITE, summary="Retrieve a link to the billing portal")
async def show(request: Private, link_id: Annotated[PortalLinkIdText, Path()]) -> PortalOut:
    """A link that the account asked for."""
    link = _out(await _find(request, link_id))
    return link.model_copy(update={"url": None}) if request.only_reads else link


def _out(link: PortalLink) -> PortalOut:
    return PortalOut(id=link.id, status=link.status, url=link.url)


async def _is_made(request: Private, link_id: PortalLinkId) -> bool:
    return (await _find(request, link_id)).status != "new"


async def _find(request: Private, link_id: PortalLinkId) -> PortalLink:
    link = await ask_postgres(request.context, lambda tx: find_link(tx, link_id))
    if link is None or link.account_id != request.account_id:
        raise NotFound(f"This account has no link {wire(PortalLinkId, link_id)}.", param="link")
    return link
