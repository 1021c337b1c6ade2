"""``/accounts/{account}/management-keys``: keys that administer the account, for its owners."""

from datetime import datetime
from typing import ClassVar

import msgspec

from router.api.in_process import OperationRefused
from router.identity.scopes import GRANTABLE, Scope
from store.ids import new_id
from web.answers import Answer, Crumb, Page, Redirect
from web.customer.key_networks import exclusion, network_lines, network_names
from web.customer.key_policy import read_policy
from web.faults import NotFound
from web.forms import ONCE, Change, ConfirmPage, Form, form_of, hidden_fields, once_after
from web.parts.tables import address
from web.request import PageRequest

ROWS = "50"


class ManagementKey(msgspec.Struct, frozen=True):
    """A management key, as the operations answer."""

    id: str
    name: str
    shown_as: str
    state: str
    scopes: list[str]
    networks: list[str]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    exceeds_max_life: bool


class IssuedManagementKey(ManagementKey, frozen=True):
    """A key in the one answer that has its text."""

    key: str


class _Keys(msgspec.Struct, frozen=True):
    data: list[ManagementKey]
    next_cursor: str | None = None


class ManagementKeysPage(Page, frozen=True, kw_only=True):
    """The list and the form of a new one."""

    template: ClassVar[str] = "customer/management_keys.html"

    base: str
    keys: tuple[ManagementKey, ...]
    form: Form
    scopes: tuple[str, ...]
    chosen: frozenset[str]
    client: str
    expiry_hint: str
    once: str
    next_href: str | None = None
    notice: str = ""


class ManagementSecretPage(Page, frozen=True, kw_only=True):
    """A management key's text, this once."""

    template: ClassVar[str] = "customer/management_secret.html"

    base: str
    key: IssuedManagementKey
    environment: str


class KeysQuery(msgspec.Struct, frozen=True):
    """The part of the list, and what was done a moment ago."""

    cursor: str | None = None
    done: str = ""


class NewForm(msgspec.Struct, frozen=True):
    """The fields of a new key."""

    name: str = ""
    scopes: tuple[str, ...] = ()
    expires_on: str = ""
    networks: str = ""
    networks_seen: str = ""
    once: str = ""


class ConfirmForm(msgspec.Struct, frozen=True):
    """A button alone."""

    confirm: str = ""
    once: str = ""


NOTICES = {
    "revoked": "The key is revoked, from the next request on.",
    "networks": "The key's networks are changed, from the next request on.",
}


async def show(request: PageRequest) -> ManagementKeysPage:
    """The keys, the newest first."""
    query = request.query_as(KeysQuery)
    notice = NOTICES.get(query.done, "")
    return await _page(request, Form(), str(new_id()), cursor=query.cursor, notice=notice)


async def create(request: PageRequest) -> Answer:
    """Make the key and show it, or the form again."""
    form = request.form_as(NewForm)
    if warning := exclusion(form.networks, form.networks_seen, request.client):
        shown = msgspec.structs.replace(form_of(request), fault=warning)
        return await _page(request, shown, form.once, chosen=form.scopes)
    expires_at = f"{form.expires_on}T00:00:00Z" if form.expires_on else None
    networks = network_lines(form.networks)
    body = {"name": form.name, "scopes": list(form.scopes), "expires_at": expires_at, "networks": networks}
    try:
        made = await request.run(
            "create_own_management_key", IssuedManagementKey, body=body, idempotency_key=form.once or None
        )
    except OperationRefused as refused:
        shown = form_of(request, refused, {"expires_at": "expires_on"} | network_names(networks))
        return await _page(request, shown, once_after(refused, form.once), chosen=form.scopes, status=refused.status)
    key = made.value
    return ManagementSecretPage(
        title=f"Your management key {key.name}",
        crumbs=crumbs(request),
        holds_secret=True,
        base=base_of(request),
        key=key,
        # What the command line reads, and the name in our examples.
        environment=f"GIGAROUTER_API_URL={request.context.api_url}\n"
        f"GIGAROUTER_API_KEY={key.key}\nGIGAROUTER_MANAGEMENT_KEY={key.key}\n",
    )


async def confirm_revoke(request: PageRequest) -> ConfirmPage:
    """What revoking would do."""
    path = {"key_id": request.values["key"]}
    try:
        key = (await request.run("retrieve_own_management_key", ManagementKey, path=path)).value
    except OperationRefused as refused:
        if refused.status == 404:
            raise NotFound from None
        raise
    return ConfirmPage(
        title=f"Revoke the management key {key.name}?",
        crumbs=crumbs(request),
        action=request.path,
        button=f"Revoke management key {key.name}",
        back=base_of(request),
        changes=(Change("State", key.state, "revoked"),),
        hidden=hidden_fields(request, **{ONCE: str(new_id())}),
        is_dangerous=True,
        notes=(f"{key.shown_as} is refused from the next request on, for good.",),
    )


async def revoke(request: PageRequest) -> Answer:
    """End the key for good."""
    form = request.form_as(ConfirmForm)
    path = {"key_id": request.values["key"]}
    try:
        await request.run("revoke_own_management_key", ManagementKey, path=path, idempotency_key=form.once or None)
    except OperationRefused as refused:
        if refused.status == 404:
            raise NotFound from None
        return await _page(request, Form(fault=refused.error.message), str(new_id()), status=refused.status)
    return Redirect(to=f"{base_of(request)}?done=revoked")


async def _page(
    request: PageRequest,
    form: Form,
    once: str,
    *,
    cursor: str | None = None,
    chosen: tuple[str, ...] = (),
    notice: str = "",
    status: int = 200,
) -> ManagementKeysPage:
    wanted = {"limit": ROWS} | ({"cursor": cursor} if cursor else {})
    found = (await request.run("list_own_management_keys", _Keys, query=wanted)).value
    base = base_of(request)
    return ManagementKeysPage(
        title="Management keys",
        crumbs=(Crumb("Keys", base.replace("/management-keys", "/keys")), Crumb("Management keys")),
        base=base,
        keys=tuple(found.data),
        form=form,
        scopes=tuple(scope.value for scope in Scope if scope in GRANTABLE),
        chosen=frozenset(chosen),
        client=request.client,
        expiry_hint=(await read_policy(request)).hint(request.exchange.now),
        once=once,
        next_href=address(base, (("cursor", found.next_cursor),)) if found.next_cursor else None,
        notice=notice,
        status=status,
    )


def crumbs(request: PageRequest) -> tuple[Crumb, ...]:
    """The path to a page of one management key."""
    return (Crumb("Management keys", base_of(request)), Crumb("Key"))


def base_of(request: PageRequest) -> str:
    """The address of the account's management keys."""
    return f"/accounts/{request.values['account']}/management-keys"
