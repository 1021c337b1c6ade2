"""``/accounts/{account}/keys``: the account's API keys, and the form of a new one, whose answer shows it once."""

from typing import ClassVar

import msgspec

from router.api.in_process import OperationRefused
from store.ids import new_id
from web.answers import Answer, Crumb, Page
from web.customer.key_fields import USES, KeyForm, body_of, field_names
from web.customer.key_networks import exclusion
from web.customer.key_policy import KeyPolicy, policy_href, read_policy
from web.customer.key_rows import IssuedKey, Key, KeyRow, row_of
from web.forms import Form, form_of, once_after
from web.parts.tables import address
from web.request import PageRequest

ROWS = "50"


class _Keys(msgspec.Struct, frozen=True):
    data: list[Key]
    next_cursor: str | None = None


class KeysPage(Page, frozen=True, kw_only=True):
    """The list."""

    template: ClassVar[str] = "customer/keys.html"

    base: str
    rows: tuple[KeyRow, ...]
    policy: KeyPolicy
    policy_href: str | None = None
    management_href: str | None = None
    next_href: str | None = None
    first_href: str | None = None
    notice: str = ""


class NewKeyPage(Page, frozen=True, kw_only=True):
    """The form of a new key."""

    template: ClassVar[str] = "customer/key_new.html"

    base: str
    form: Form
    uses: tuple[tuple[str, str], ...]
    client: str
    expiry_hint: str
    once: str


class SecretPage(Page, frozen=True, kw_only=True):
    """A key's text, this once. ``old_works``: how long the one that it replaces works on; empty for a new key."""

    template: ClassVar[str] = "customer/key_secret.html"

    base: str
    key: IssuedKey
    environment: str
    call: str
    old_works: str = ""
    waiting_href: str | None = None


class KeysQuery(msgspec.Struct, frozen=True):
    """The part of the list, and what was done a moment ago."""

    cursor: str | None = None
    done: str = ""


NOTICES = {
    "revoked": "The key is revoked. Its usage and calls stay.",
    "policy": "The longest life of keys is changed, for what is made, edited or rotated from now on.",
}


async def show(request: PageRequest) -> KeysPage:
    """The keys, the newest first."""
    query = request.query_as(KeysQuery)
    wanted = {"limit": ROWS} | ({"cursor": query.cursor} if query.cursor else {})
    found = (await request.run("list_own_keys", _Keys, query=wanted)).value
    base, now = base_of(request), request.exchange.now
    return KeysPage(
        title="Keys",
        base=base,
        rows=tuple(row_of(key, base, now) for key in found.data),
        policy=await read_policy(request),
        policy_href=policy_href(request),
        management_href=f"/accounts/{request.values['account']}/management-keys" if policy_href(request) else None,
        next_href=address(base, (("cursor", found.next_cursor),)) if found.next_cursor else None,
        first_href=base if query.cursor else None,
        notice=NOTICES.get(query.done, ""),
    )


async def show_new(request: PageRequest) -> NewKeyPage:
    """The form."""
    return await _new(request, Form({"use": "commercial"}), str(new_id()))


async def create(request: PageRequest) -> Answer:
    """Make the key and show it, or the form again."""
    form = request.form_as(KeyForm)
    if warning := exclusion(form.networks, form.networks_seen, request.client):
        return await _new(request, msgspec.structs.replace(form_of(request), fault=warning), form.once)
    body = body_of(form) | {"is_test": form.is_test == "1"}
    try:
        made = await request.run("create_own_key", IssuedKey, body=body, idempotency_key=form.once)
    except OperationRefused as refused:
        shown = form_of(request, refused, field_names(form))
        return await _new(request, shown, once_after(refused, form.once), refused.status)
    return secret_page(request, made.value)


def secret_page(request: PageRequest, key: IssuedKey, old_works: str = "") -> SecretPage:
    """The page with a key's text: of a POST alone, never compressed, kept by no browser."""
    url = request.context.api_url
    return SecretPage(
        title=f"Your key {key.name}",
        crumbs=crumbs(request, key.name),
        holds_secret=True,
        base=base_of(request),
        key=key,
        environment=f"GIGAROUTER_API_KEY={key.key}\nOPENAI_API_KEY={key.key}\nOPENAI_BASE_URL={url}/v1\n",
        call=f"curl {url}/v1/models -H 'Authorization: Bearer {key.key}'",
        old_works=old_works,
        waiting_href=None if old_works else f"/accounts/{request.values['account']}/first-call",
    )


def crumbs(request: PageRequest, name: str) -> tuple[Crumb, ...]:
    """The path to a page of one key."""
    return (Crumb("Keys", base_of(request)), Crumb(name))


def base_of(request: PageRequest) -> str:
    """The address of the account's keys."""
    return f"/accounts/{request.values['account']}/keys"


async def _new(request: PageRequest, form: Form, once: str, status: int = 200) -> NewKeyPage:
    policy = await read_policy(request)
    return NewKeyPage(
        title="New key",
        crumbs=crumbs(request, "New key"),
        base=base_of(request),
        form=form,
        uses=USES,
        client=request.client,
        expiry_hint=policy.hint(request.exchange.now),
        once=once,
        status=status,
    )
