"""Decides whether a reader may have a page, by the row of its route: one place for all pages."""

from datetime import datetime

from router.identity.members import Role
from store.ids import AccountId
from web.faults import NotFound, PageFault, SignInNeeded
from web.request import parse_account
from web.route import Route, Who
from web.viewer import Viewer


def check_access(route: Route, viewer: Viewer, values: dict[str, str], now: datetime, method: str) -> AccountId | None:
    """The account whose page it is, where it is one's. Raises ``SignInNeeded``, ``NotFound``, ``PageFault`` 403.

    Nobody is sent to sign in before anything of the path is looked at, and who is no member gets what an unknown id
    gets: neither learns what exists. An operator who sees an account as its owner reads all of it and writes nothing,
    so that nothing wants a fresh sign-in of them there.
    """
    if route.who is Who.ANYONE:
        return None
    if not viewer.is_known:
        raise SignInNeeded
    account_id: AccountId | None = None
    if route.who is Who.OPERATOR:
        if viewer.staff is None:
            raise NotFound
        _require_role(route, viewer.staff.role)
    elif route.who is Who.MEMBER:
        account_id = parse_account(values["account"])
        membership = viewer.membership(account_id)
        if membership is None:
            raise NotFound
        if membership.only_reads:
            _require_reading(method)
            return account_id
        _require_role(route, membership.role)
    if route.fresh and not viewer.is_fresh(now):
        raise SignInNeeded(again=True)
    return account_id


def _require_reading(method: str) -> None:
    if method not in ("GET", "HEAD"):
        raise PageFault(
            403,
            "read_only_view",
            "You see this account as its owner does, and can change nothing in it: nothing was done.",
            remedy="What operators may change is at the account's page in the console.",
        )


def _require_role(route: Route, role: Role) -> None:
    if role in route.roles:
        return
    needed = " or ".join(sorted(one.value for one in route.roles))
    who = "Whoever runs the machine" if route.who is Who.OPERATOR else "An owner of the account"
    raise PageFault(
        403,
        "role_insufficient",
        f"This page is for {needed}, and you are {role.value}.",
        remedy=f"{who} can give you that role.",
    )
