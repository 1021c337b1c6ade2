"""Renames an account: the smallest write of the console, and the pattern of all of them (docs/web.md).

The form carries the version that was read. Posted, it runs dry and shows what would change; confirmed, it is carried
out once, and refused with the difference where somebody else changed the account meanwhile.
"""

from typing import Any, ClassVar

import msgspec

from router.api.in_process import OperationRefused
from store.ids import new_id
from web.answers import Answer, Crumb, Page, Redirect
from web.faults import NotFound
from web.forms import ONCE, Change, ConfirmPage, Form, changes_of, form_of, hidden_fields, is_confirmed
from web.request import PageRequest

NAMES = {"name": "Name"}


class Account(msgspec.Struct, frozen=True):
    """What the page shows of an account."""

    id: str
    name: str
    status: str


class AccountNamePage(Page, frozen=True, kw_only=True):
    """The form. ``version`` is the account's as it was read; ``theirs``: what somebody else changed since."""

    template: ClassVar[str] = "ops/account_name.html"

    account: Account
    form: Form
    version: str
    theirs: tuple[Change, ...] = ()
    is_done: bool = False


class NameQuery(msgspec.Struct, frozen=True):
    """``done``: it was changed a moment ago."""

    done: bool = False


class NameForm(msgspec.Struct, frozen=True):
    """The fields; what they may hold, the operation says."""

    name: str = ""
    version: str = ""
    confirm: str = ""
    once: str = ""
    was: str = ""


async def show(request: PageRequest) -> AccountNamePage:
    """The form with the account's name."""
    query = request.query_as(NameQuery)
    account, version = await _read(request)
    return _page(account, version, Form({"name": account.name}), is_done=query.done)


async def act(request: PageRequest) -> Answer:
    """Show what would change, or change it."""
    form = request.form_as(NameForm)
    path, body = {"account_id": request.values["account"]}, {"name": form.name}
    try:
        if is_confirmed(request):
            await request.run(
                "edit_account", Account, path=path, body=body, if_match=form.version, idempotency_key=form.once
            )
            return Redirect(to=f"{request.path}?done=1")
        before, _ = await _read(request)
        after = await request.run("edit_account", Account, path=path, body=body, dry_run=True, if_match=form.version)
    except OperationRefused as refused:
        if refused.status == 404:
            raise NotFound from None
        account, version = await _read(request)
        theirs = _theirs(form, account) if refused.error.code == "version_conflict" else ()
        return _page(account, version, form_of(request, refused), theirs=theirs, status=refused.status)
    return ConfirmPage(
        title=f"Rename {before.name}",
        crumbs=_crumbs(before),
        action=request.path,
        button=f"Rename {before.name}",
        back=request.path,
        changes=changes_of(_facts(before), _facts(after.value), NAMES),
        hidden=hidden_fields(request, **{ONCE: str(new_id())}),
        needs_second_person=after.needs_second_person,
    )


async def _read(request: PageRequest) -> tuple[Account, str]:
    read = await request.run("admin_retrieve_account", Account, path={"account_id": request.values["account"]})
    return read.value, read.etag or ""


def _page(account: Account, version: str, form: Form, **more: Any) -> AccountNamePage:  # noqa: ANN401 - its fields
    return AccountNamePage(
        title=f"Name of {account.name}", crumbs=_crumbs(account), account=account, form=form, version=version, **more
    )


def _theirs(form: NameForm, account: Account) -> tuple[Change, ...]:
    return (Change("Name", form.was, account.name),) if form.was != account.name else ()


def _facts(account: Account) -> dict[str, Any]:
    return msgspec.structs.asdict(account)


def _crumbs(account: Account) -> tuple[Crumb, ...]:
    return (Crumb("Operations"), Crumb("Accounts"), Crumb(account.name))
