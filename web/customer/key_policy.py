"""``/accounts/{account}/key-policy``: how long a new key of the account may work; its owners decide that."""

from datetime import datetime
from typing import ClassVar

import msgspec

from router.api.in_process import OperationRefused, Outcome
from router.identity.key_policies import latest_expiry
from router.identity.members import Role
from store.ids import new_id
from web.answers import Answer, Crumb, Page, Redirect
from web.forms import ONCE, Change, ConfirmPage, Form, form_of, hidden_fields, is_confirmed
from web.request import PageRequest


class KeyPolicy(msgspec.Struct, frozen=True):
    """The account's bound, as the operations answer it."""

    max_days: int | None
    exceeding_keys: int
    exceeding_management_keys: int

    @property
    def bound(self) -> str:
        """The longest life in words."""
        return "no bound" if self.max_days is None else days(self.max_days)

    @property
    def exceeding(self) -> str:
        """How many keys exceed it, in words."""
        return f"{self.exceeding_keys} of the keys, {self.exceeding_management_keys} of the management keys"

    def hint(self, now: datetime) -> str:
        """What leaving the field of an expiry empty means."""
        if self.max_days is None:
            return "At the beginning of that day, UTC; empty: never."
        latest = latest_expiry(self.max_days, now)
        return f"At the beginning of that day, UTC; empty: {latest:%Y-%m-%d}, in {days(self.max_days)}, the latest."


class KeyPolicyPage(Page, frozen=True, kw_only=True):
    """The form."""

    template: ClassVar[str] = "customer/key_policy.html"

    policy: KeyPolicy
    action: str
    back: str
    form: Form
    version: str


class PolicyForm(msgspec.Struct, frozen=True):
    """The days, and the fields of a write in two steps."""

    max_days: str = ""
    version: str = ""
    confirm: str = ""
    once: str = ""


async def read_policy(request: PageRequest) -> KeyPolicy:
    """The account's bound."""
    return (await request.run("retrieve_own_key_policy", KeyPolicy)).value


def days(count: int) -> str:
    """A number of days in words."""
    return "1 day" if count == 1 else f"{count} days"


def policy_href(request: PageRequest) -> str | None:
    """Where the reader changes the bound; None where an owner does that."""
    membership = request.viewer.membership(request.account())
    is_owner = membership is not None and membership.role is Role.OWNER
    return f"/accounts/{request.values['account']}/key-policy" if is_owner else None


async def show(request: PageRequest) -> KeyPolicyPage:
    """The form with the bound as it is."""
    return await _page(request)


async def act(request: PageRequest) -> Answer:
    """Show what would change, or change it."""
    form = request.form_as(PolicyForm)
    try:
        if is_confirmed(request):
            await _edit(request, form)
            return Redirect(to=f"{_keys(request)}?done=policy")
        before, after = await read_policy(request), (await _edit(request, form, dry_run=True)).value
    except OperationRefused as refused:
        shown = form_of(request, refused)
        if refused.error.code == "version_conflict":
            shown = Form(shown.values, fault="Somebody else changed the bound meanwhile. What you typed is still here.")
            return await _page(request, shown, status=refused.status)
        return await _page(request, shown, version=form.version, status=refused.status)
    return ConfirmPage(
        title="Change the longest life of keys?",
        crumbs=_crumbs(request),
        action=request.path,
        button="Change the longest life of keys",
        back=_keys(request),
        changes=(
            Change("Longest life of a new key", before.bound, after.bound),
            Change("Exceed it", before.exceeding, after.exceeding),
        ),
        hidden=hidden_fields(request, **{ONCE: str(new_id())}),
        notes=("Keys that exceed it stay as they are, marked in the lists, until they are edited or rotated.",),
    )


async def _edit(request: PageRequest, form: PolicyForm, *, dry_run: bool = False) -> Outcome[KeyPolicy]:
    typed = form.max_days.strip()
    # What is no whole number goes as it is: the operation says what is wrong with it.
    wanted = int(typed) if typed.isascii() and typed.isdecimal() and len(typed) < 10 else typed or None
    return await request.run(
        "edit_own_key_policy",
        KeyPolicy,
        body={"max_days": wanted},
        dry_run=dry_run,
        if_match=form.version or '"none"',
        idempotency_key=None if dry_run else form.once or None,
    )


async def _page(
    request: PageRequest, form: Form | None = None, *, version: str = "", status: int = 200
) -> KeyPolicyPage:
    read = await request.run("retrieve_own_key_policy", KeyPolicy)
    policy = read.value
    return KeyPolicyPage(
        title="Longest life of keys",
        crumbs=_crumbs(request),
        policy=policy,
        action=request.path,
        back=_keys(request),
        form=form or Form({"max_days": "" if policy.max_days is None else str(policy.max_days)}),
        version=version or read.etag or "",
        status=status,
    )


def _keys(request: PageRequest) -> str:
    return f"/accounts/{request.values['account']}/keys"


def _crumbs(request: PageRequest) -> tuple[Crumb, ...]:
    return (Crumb("Keys", _keys(request)), Crumb("Longest life"))
