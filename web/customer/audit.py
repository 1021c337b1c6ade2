"""``/accounts/{account}/audit``: who changed what in the account, with filters, and as CSV; for owners."""

from datetime import datetime
from typing import Any, ClassVar

import msgspec

from router.api.in_process import OperationCall, OperationRefused
from web.answers import Answer, File, Page
from web.customer.days import day_begins
from web.forms import Change, Form, form_of
from web.parts.tables import address
from web.request import PageRequest

ROWS = "50"
# Who is nobody of the account's -> a word that its people know.
ACTORS = {"operator": "an operator of ours", "process": "gigarouter itself"}
FACTS_MAX, TEXT_MAX = 12, 200
KINDS = (
    ("", "everything"),
    ("key", "API keys"),
    ("management_key", "management keys"),
    ("member", "members"),
    ("invitation", "invitations"),
    ("billing_profile", "billing details"),
    ("budget", "budgets"),
    ("caps", "caps"),
    ("webhook", "webhooks"),
    ("license", "licenses"),
    ("device", "logins of devices"),
    ("account", "the account"),
    ("view", "looks by our operators"),
)


class ChangeRow(msgspec.Struct, frozen=True):
    """A change, as the operation answers."""

    at: datetime
    actor: str
    actor_name: str | None
    action: str
    subject: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class _Changes(msgspec.Struct, frozen=True):
    data: list[ChangeRow]
    next_cursor: str | None = None


class AuditRow(msgspec.Struct, frozen=True):
    """A change as people read it."""

    at: datetime
    actor: str
    action: str
    subject: str
    changes: tuple[Change, ...]


class AuditPage(Page, frozen=True, kw_only=True):
    """The list with its filters."""

    template: ClassVar[str] = "customer/audit.html"

    base: str
    form: Form
    zone: str
    kinds: tuple[tuple[str, str], ...]
    rows: tuple[AuditRow, ...]
    csv_href: str
    next_href: str | None = None
    first_href: str | None = None


class AuditQuery(msgspec.Struct, frozen=True):
    """Which changes."""

    action: str = ""
    actor: str = ""
    subject: str = ""
    since: str = ""
    until: str = ""
    cursor: str = ""
    zone: str = ""

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The filters, as the operation's query."""
        named = (("action", self.action), ("actor", self.actor), ("subject", self.subject))
        days = ((name, day_begins(value, self.zone)) for name, value in (("from", self.since), ("to", self.until)))
        return tuple((name, value) for name, value in (*named, *days) if value)

    def address(self) -> tuple[tuple[str, str], ...]:
        """The filters, as the page's query."""
        values = msgspec.structs.asdict(self)
        return tuple((name, value) for name, value in values.items() if value and name != "cursor")


async def show(request: PageRequest) -> AuditPage:
    """The changes, the newest first."""
    query, base = _query(request), request.path
    form = Form({name: value for name, value in msgspec.structs.asdict(query).items() if value})
    wanted = (*query.pairs(), ("limit", ROWS), *((("cursor", query.cursor),) if query.cursor else ()))
    status, found = 200, _Changes([])
    try:
        found = (await request.run("list_own_changes", _Changes, query=wanted)).value
    except OperationRefused as refused:
        fault = form_of(request, refused)
        form, status = Form(form.values, fault=fault.fault), refused.status
    more = found.next_cursor
    return AuditPage(
        title="Changes in the account",
        base=base,
        form=form,
        zone=query.zone,
        kinds=KINDS,
        rows=tuple(map(_row, found.data)),
        csv_href=address(f"{base}.csv", query.address()),
        next_href=address(base, (*query.address(), ("cursor", more))) if more else None,
        first_href=address(base, query.address()) if query.cursor else None,
        status=status,
    )


async def show_csv(request: PageRequest) -> Answer:
    """The whole selection, as the operation writes it."""
    query = _query(request)
    call = OperationCall(query=(*query.pairs(), ("format", "csv")), accept="text/csv")
    _, _, body = await request.operations.fetch("list_own_changes", request.identify, call)
    return File(body=body, media="text/csv; charset=utf-8", name="changes.csv")


def _query(request: PageRequest) -> AuditQuery:
    """The filters of the address; days that come without a zone are the reader's."""
    query = request.query_as(AuditQuery)
    return query if query.zone else msgspec.structs.replace(query, zone=request.viewer.zone)


def _row(change: ChangeRow) -> AuditRow:
    before, after = _flat(change.before or {}), _flat(change.after or {})
    names = [name for name in dict.fromkeys([*before, *after]) if before.get(name) != after.get(name)]
    changes = tuple(Change(name, before.get(name) or "none", after.get(name) or "none") for name in names)
    actor = change.actor_name or ACTORS.get(change.actor, change.actor)
    return AuditRow(change.at, actor, change.action, change.subject, changes[:FACTS_MAX])


def _flat(facts: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """The facts of a change as text by their names, those of inner objects too; what is not set is left out."""
    found: dict[str, str] = {}
    for name, value in facts.items():
        place = f"{prefix}{name.replace('_', ' ')}"
        if isinstance(value, dict) and value:
            found |= _flat(value, "" if name == "spec" else f"{place} ")
        elif value not in (None, "", False, [], {}):
            found[place] = _text(value)
    return found


def _text(value: object) -> str:
    match value:
        case {"amount_usd": str(amount), "period": str(period)}:
            text = f"{amount} USD {'in total' if period == 'total' else f'a {period}'}"
        case list():
            text = ", ".join(map(_text, value))
        case True:
            text = "yes"
        case str():
            text = value
        case _:
            text = msgspec.json.encode(value).decode()
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}…"
