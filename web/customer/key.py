"""``/accounts/{account}/keys/{key}``: one key, its form, and what can be done with it."""

from typing import ClassVar, Literal

import msgspec

from router.api.in_process import OperationRefused
from store.ids import new_id
from web.answers import Answer, Page, Redirect
from web.customer.key_fields import USES, KeyForm, body_of, field_names, form_of_key
from web.customer.key_networks import excludes, exclusion
from web.customer.key_policy import KeyPolicy, read_policy
from web.customer.key_rows import IssuedKey, Key, KeyRow, remaining, row_of
from web.customer.keys import base_of, crumbs, secret_page
from web.faults import NotFound
from web.forms import ONCE, Change, ConfirmPage, Form, form_of, hidden_fields
from web.request import PageRequest

OVERLAPS = (("0", "at once"), ("1", "after 1 hour"), ("24", "after 24 hours"), ("72", "after 72 hours"))
NOTICES = {
    "edited": "The key is changed, everywhere within a second.",
    "paused": "The key is paused: its calls are refused within a second, until it is resumed.",
    "resumed": "The key works again.",
    "ended": "The old secrets have ended.",
}


class KeyPage(Page, frozen=True, kw_only=True):
    """One key. ``once`` is the Idempotency-Key of a rotation."""

    template: ClassVar[str] = "customer/key.html"

    row: KeyRow
    base: str
    form: Form
    client: str
    policy: KeyPolicy
    expiry_hint: str
    expires_at: str
    is_excluded: bool
    uses: tuple[tuple[str, str], ...]
    overlaps: tuple[tuple[str, str], ...]
    version: str
    once: str
    notice: str = ""


class KeyQuery(msgspec.Struct, frozen=True):
    """What was done a moment ago."""

    done: Literal["edited", "paused", "resumed", "ended", ""] = ""


class RotateForm(msgspec.Struct, frozen=True):
    """How long the old secret works on, in hours."""

    overlap_hours: str = "24"
    once: str = ""


class ConfirmForm(msgspec.Struct, frozen=True):
    """A button alone."""

    confirm: str = ""
    once: str = ""


async def show(request: PageRequest) -> KeyPage:
    """The key with its form."""
    query = request.query_as(KeyQuery)
    return await _page(request, notice=NOTICES.get(query.done, ""))


async def edit(request: PageRequest) -> Answer:
    """Change the key, or show the form again with what is wrong."""
    form = request.form_as(KeyForm)
    if warning := exclusion(form.networks, form.networks_seen, request.client):
        return await _page(request, msgspec.structs.replace(form_of(request), fault=warning), version=form.version)
    try:
        await request.run(
            "edit_own_key", Key, path=_path(request), body=body_of(form), if_match=form.version or '"none"'
        )
    except OperationRefused as refused:
        return await _refused(request, refused, form_of(request, refused, field_names(form)))
    return Redirect(to=f"{base_of(request)}/{request.values['key']}?done=edited")


async def rotate(request: PageRequest) -> Answer:
    """Give the key a new secret and show it."""
    form = request.form_as(RotateForm)
    hours = int(form.overlap_hours) if form.overlap_hours in dict(OVERLAPS) else -1
    try:
        made = await request.run(
            "rotate_own_key",
            IssuedKey,
            path=_path(request),
            body={"overlap_hours": hours},
            idempotency_key=form.once or None,
        )
    except OperationRefused as refused:
        return await _refused(request, refused)
    old = made.value.old_secrets
    now = request.exchange.now
    return secret_page(request, made.value, old_works=remaining(old[-1].works_until, now) if old else "")


async def pause(request: PageRequest) -> Answer:
    """Stop the key for now."""
    return await _do(request, "pause_own_key", "paused")


async def resume(request: PageRequest) -> Answer:
    """Let the key work again."""
    return await _do(request, "resume_own_key", "resumed")


async def end_old(request: PageRequest) -> Answer:
    """End all secrets but the latest."""
    return await _do(request, "end_old_secrets_of_own_key", "ended")


async def confirm_revoke(request: PageRequest) -> ConfirmPage:
    """What revoking would do."""
    key = (await _read(request))[0]
    return ConfirmPage(
        title=f"Revoke the key {key.name}?",
        crumbs=crumbs(request, key.name),
        action=request.path,
        button=f"Revoke key {key.name}",
        back=f"{base_of(request)}/{key.id}",
        changes=(Change("State", key.state, "revoked"),),
        hidden=hidden_fields(request, **{ONCE: str(new_id())}),
        is_dangerous=True,
        notes=(
            f"{key.shown_as} is refused everywhere within a second, for good. Its usage and calls stay.",
            "To stop it for a while, pause it. To change the secret, rotate it.",
        ),
    )


async def revoke(request: PageRequest) -> Answer:
    """End the key for good."""
    form = request.form_as(ConfirmForm)
    try:
        await request.run("revoke_own_key", Key, path=_path(request), idempotency_key=form.once or None)
    except OperationRefused as refused:
        return await _refused(request, refused)
    return Redirect(to=f"{base_of(request)}?done=revoked")


async def _do(request: PageRequest, operation: str, done: str) -> Answer:
    request.form_as(ConfirmForm)
    try:
        await request.run(operation, Key, path=_path(request))
    except OperationRefused as refused:
        return await _refused(request, refused)
    return Redirect(to=f"{base_of(request)}/{request.values['key']}?done={done}")


async def _refused(request: PageRequest, refused: OperationRefused, form: Form | None = None) -> KeyPage:
    # A key that is not there is a page that is not there: reading it says so. A model that is not there is a fault.
    if form is None:
        return await _page(request, fault=refused.error.message, status=refused.status)
    if refused.error.code == "version_conflict":
        form = Form(form.values, fault="Somebody else changed the key meanwhile. What you typed is still here.")
        return await _page(request, form, status=refused.status)
    # As it was read: what somebody else changes until the form is right is a conflict still.
    return await _page(request, form, version=request.typed("version"), status=refused.status)


async def _read(request: PageRequest) -> tuple[Key, str]:
    try:
        read = await request.run("retrieve_own_key", Key, path=_path(request))
    except OperationRefused as refused:
        if refused.status == 404:
            raise NotFound from None
        raise
    return read.value, read.etag or ""


async def _page(
    request: PageRequest,
    form: Form | None = None,
    *,
    version: str = "",
    fault: str = "",
    notice: str = "",
    status: int = 200,
) -> KeyPage:
    key, version_now = await _read(request)
    policy = await read_policy(request)
    shown = form or msgspec.structs.replace(form_of_key(key), fault=fault)
    return KeyPage(
        title=f"Key {key.name}",
        crumbs=crumbs(request, key.name),
        row=row_of(key, base_of(request), request.exchange.now),
        base=f"{base_of(request)}/{key.id}",
        form=shown,
        client=request.client,
        policy=policy,
        expiry_hint=policy.hint(request.exchange.now),
        expires_at=f"{key.expires_at:%Y-%m-%dT%H:%M:%S.%fZ}" if key.expires_at else "",
        is_excluded=key.revoked_at is None and excludes(key.networks, request.client),
        uses=USES,
        overlaps=OVERLAPS,
        version=version or version_now,
        once=str(new_id()),
        notice=notice,
        status=status,
    )


def _path(request: PageRequest) -> dict[str, str]:
    return {"key_id": request.values["key"]}
