"""``/accounts/{account}/credit/alerts``: alerts that were raised, and the webhooks that they are sent to."""

from datetime import datetime
from typing import ClassVar, Literal, TypeVar
from urllib.parse import urlencode

import msgspec

from router.api.in_process import OperationRefused
from web.answers import Answer, Page, Redirect
from web.customer.money import Section, credit_path, crumbs, nano, sections
from web.faults import NotFound
from web.forms import Form, form_of
from web.request import PageRequest

PAGE_ROWS, WEBHOOKS_MAX = "25", "20"
GONE = (400, 404, 422)
S = TypeVar("S", bound=msgspec.Struct)


class _Alert(msgspec.Struct, frozen=True):
    raised_at: datetime
    kind: Literal["cap", "budget"]
    budget_name: str | None
    key: str | None
    threshold: str
    period: str
    amount_usd: str
    spent_usd: str


class _Alerts(msgspec.Struct, frozen=True):
    data: list[_Alert]
    next_cursor: str | None = None


class Webhook(msgspec.Struct, frozen=True):
    """A webhook; its secret is there once."""

    id: str
    url: str
    created_at: datetime
    secret: str | None = None
    old_secret_works_until: datetime | None = None


class _Webhooks(msgspec.Struct, frozen=True):
    data: list[Webhook]


class Delivery(msgspec.Struct, frozen=True):
    """An event that is sent, and what became of it."""

    type: str
    state: Literal["waiting", "delivered", "failed"]
    attempts: int
    status: int | None
    fault: str
    created_at: datetime
    next_at: datetime | None


class _Deliveries(msgspec.Struct, frozen=True):
    data: list[Delivery]
    next_cursor: str | None = None


class _Any(msgspec.Struct, frozen=True):
    """An answer of which nothing is needed."""


class AlertRow(msgspec.Struct, frozen=True):
    """An alert; amounts are nano-USD."""

    raised_at: datetime
    words: str
    what: str
    period: str
    amount_nano: int
    spent_nano: int


class AlertsPage(Page, frozen=True, kw_only=True):
    """Alerts and webhooks."""

    template: ClassVar[str] = "customer/alerts.html"

    sections: tuple[Section, ...]
    here: str
    limits: str
    details: str
    alerts: tuple[AlertRow, ...]
    webhooks: tuple[Webhook, ...]
    form: Form
    next_href: str | None = None
    first_href: str | None = None
    notice: str = ""


class WebhookPage(Page, frozen=True, kw_only=True):
    """A webhook with what was sent to it; ``secret`` right after it was made or rotated, and never again."""

    template: ClassVar[str] = "customer/webhook.html"

    here: str
    base: str
    webhook: Webhook
    deliveries: tuple[Delivery, ...]
    next_href: str | None = None
    notice: str = ""


class AlertsQuery(msgspec.Struct, frozen=True):
    """Which part of the list, and what was done a moment ago."""

    cursor: str | None = None
    done: Literal["deleted", "sent", ""] = ""


class WebhookForm(msgspec.Struct, frozen=True):
    """Where alerts are sent."""

    url: str = ""


class NoForm(msgspec.Struct, frozen=True):
    """A button alone."""


NOTICES = {"deleted": "The webhook is deleted.", "sent": "The test is on its way: its row says what became of it."}


async def show(request: PageRequest) -> AlertsPage:
    """What was raised, and where it goes."""
    return await _page(request, Form())


async def add(request: PageRequest) -> Answer:
    """Add a webhook; the answer has its secret."""
    form = request.form_as(WebhookForm)
    try:
        made = (await request.run("create_webhook", Webhook, body={"url": form.url.strip()})).value
    except OperationRefused as refused:
        return await _page(request, form_of(request, refused), status=refused.status)
    return _webhook_page(request, made)


async def show_one(request: PageRequest) -> WebhookPage:
    """A webhook, and what was sent to it."""
    query = request.query_as(AlertsQuery)
    path = {"webhook_id": request.values["webhook"]}
    wanted = {"limit": PAGE_ROWS} | ({"cursor": query.cursor} if query.cursor else {})
    try:
        webhook = (await request.run("retrieve_webhook", Webhook, path=path)).value
        sent = (await request.run("list_webhook_deliveries", _Deliveries, path=path, query=wanted)).value
    except OperationRefused as refused:
        raise _not_found(refused) from None
    return _webhook_page(request, webhook, sent, NOTICES.get(query.done, ""))


async def rotate(request: PageRequest) -> WebhookPage:
    """A new secret, in this answer alone."""
    request.form_as(NoForm)
    return _webhook_page(request, await _run(request, "rotate_webhook", Webhook))


async def test(request: PageRequest) -> Redirect:
    """Send a test."""
    request.form_as(NoForm)
    await _run(request, "test_webhook", _Any)
    return Redirect(to=f"{_here(request)}/webhooks/{request.values['webhook']}?done=sent")


async def delete(request: PageRequest) -> Redirect:
    """Delete a webhook."""
    request.form_as(NoForm)
    await _run(request, "delete_webhook", _Any)
    return Redirect(to=f"{_here(request)}?done=deleted")


async def _run(request: PageRequest, operation: str, answer: type[S]) -> S:
    try:
        return (await request.run(operation, answer, path={"webhook_id": request.values["webhook"]})).value
    except OperationRefused as refused:
        raise _not_found(refused) from None


def _not_found(refused: OperationRefused) -> Exception:
    return NotFound() if refused.status in GONE else refused


async def _page(request: PageRequest, form: Form, *, status: int = 200) -> AlertsPage:
    query = request.query_as(AlertsQuery)
    wanted = {"limit": PAGE_ROWS} | ({"cursor": query.cursor} if query.cursor else {})
    alerts = (await request.run("list_alerts", _Alerts, query=wanted)).value
    webhooks = (await request.run("list_webhooks", _Webhooks, query={"limit": WEBHOOKS_MAX})).value
    here = _here(request)
    return AlertsPage(
        title="Alerts",
        crumbs=crumbs(request, "Alerts"),
        sections=sections(request),
        here=here,
        limits=f"{credit_path(request)}/caps",
        details=f"/accounts/{request.values['account']}/billing",
        alerts=tuple(_row(alert) for alert in alerts.data),
        webhooks=tuple(webhooks.data),
        form=form,
        next_href=f"{here}?{urlencode({'cursor': alerts.next_cursor})}" if alerts.next_cursor else None,
        first_href=here if query.cursor else None,
        notice=NOTICES.get(query.done, ""),
        status=status,
    )


def _webhook_page(
    request: PageRequest, webhook: Webhook, sent: _Deliveries | None = None, notice: str = ""
) -> WebhookPage:
    base = _here(request)
    here = f"{base}/webhooks/{webhook.id}"
    cursor = None if sent is None else sent.next_cursor
    return WebhookPage(
        title="Webhook",
        crumbs=crumbs(request, "Alerts"),
        here=here,
        base=base,
        webhook=webhook,
        deliveries=() if sent is None else tuple(sent.data),
        next_href=None if cursor is None else f"{here}?{urlencode({'cursor': cursor})}",
        notice=notice,
        holds_secret=webhook.secret is not None,
    )


def _row(alert: _Alert) -> AlertRow:
    whose = "of the account" if alert.key is None else f"of {alert.key}"
    name = f"budget {alert.budget_name or 'that is deleted'}" if alert.kind == "budget" else "cap"
    return AlertRow(
        raised_at=alert.raised_at,
        words="will not last" if alert.threshold == "forecast" else f"{alert.threshold} % spent",
        what=f"{name} {whose}",
        period=alert.period,
        amount_nano=nano(alert.amount_usd),
        spent_nano=nano(alert.spent_usd),
    )


def _here(request: PageRequest) -> str:
    return f"{credit_path(request)}/alerts"
