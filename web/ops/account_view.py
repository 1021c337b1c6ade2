"""Lets an operator see an account's own pages as its owner does: the start with its reason, the way in, the way out."""

from typing import Any

from router.api.in_process import OperationRefused
from store.ids import AccountId, AccountViewId, wire
from web.answers import Answer, Crumb, Redirect
from web.ops.write import OPERATIONS, Field, Write
from web.request import PageRequest

ACCOUNTS = Crumb("Accounts", "/ops/accounts")
START = Write(
    operation="start_account_view",
    verb="See as its owner does:",
    explanation="You see the account's own pages as its owner does, for half an hour and while you are signed in. "
    "You can change nothing there. That you look, and your reason, stand in the account's own audit.",
    reads="admin_retrieve_account",
    values={"account_id": "account"},
    from_path={"account": "account"},
    fields=(
        Field(
            name="reason",
            label="Reason",
            kind="area",
            hint="The account's owners read it: such as the number of their question.",
            is_required=True,
        ),
    ),
    names={"reason": "Reason, which its owners read", "expires_at": "Until"},
    back="/ops/accounts/{account}",
    done="/ops/account-view",
    crumbs=(OPERATIONS, ACCOUNTS),
)


async def show(request: PageRequest) -> Redirect:
    """To the pages of the account that is looked at; without one, to the list of accounts."""
    assert request.viewer.staff is not None, "its route is for operators; this is a bug"
    view = request.viewer.staff.view
    return Redirect(to="/ops/accounts" if view is None else f"/accounts/{wire(AccountId, view.account_id)}", status=302)


async def end(request: PageRequest) -> Answer:
    """Stop looking, and back to the account in the console; where it has ended meanwhile nothing is left to do."""
    assert request.viewer.staff is not None, "its route is for operators; this is a bug"
    view = request.viewer.staff.view
    if view is None:
        return Redirect(to="/ops/accounts")
    try:
        await request.run("end_account_view", dict[str, Any], path={"view_id": wire(AccountViewId, view.id)})
    except OperationRefused as refused:
        if refused.status != 409:
            raise
    return Redirect(to=f"/ops/accounts/{wire(AccountId, view.account_id)}")
