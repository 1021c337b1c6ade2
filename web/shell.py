"""Holds what every page has around it: who reads, where they are, the theme, the ways to other pages."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from router.identity.members import Role
from router.identity.people.values import OpenView
from store.ids import AccountId, wire
from web.route import BUILDERS, MEMBERS, MONEY, OWNERS
from web.static import Assets
from web.viewer import Membership, Viewer

Theme = Literal["light", "dark", ""]


class NavItem(msgspec.Struct, frozen=True):
    """A way to another page; ``is_here``: this page is it, or below it. ``key``: the letter that goes there after g."""

    name: str
    href: str
    is_here: bool
    key: str = ""


class Shell(msgspec.Struct, frozen=True, kw_only=True):
    """The values of the layout."""

    viewer: Viewer
    assets: Assets
    path: str
    here: str
    request_id: str
    public_url: str
    api_url: str
    theme: Theme = ""
    has_shortcuts: bool = True
    nav: tuple[NavItem, ...] = ()
    sections: tuple[NavItem, ...] = ()
    account: Membership | None = None
    accounts: tuple[NavItem, ...] = ()
    # The account that the reader, an operator, sees as its owner does.
    view: OpenView | None = None


PUBLIC_NAV = (
    ("Models", "/models"),
    ("Compare", "/compare"),
    ("Docs", "/docs"),
    ("Pricing", "/pricing"),
    ("Status", "/status"),
)
# The pages of an account: name, address below the account's, roles.
ACCOUNT_NAV: tuple[tuple[str, str, frozenset[Role]], ...] = (
    ("Usage", "usage", MEMBERS),
    ("Calls", "calls", BUILDERS),
    ("Keys", "keys", BUILDERS),
    ("Credit", "credit", MONEY),
    ("Documents", "documents", MONEY),
    ("Members", "members", MEMBERS),
    ("Licenses", "licenses", MEMBERS),
    ("Audit", "audit", OWNERS),
    ("Data", "data", OWNERS),
)
STAFF_NAV = (("Operations", "/ops"), ("Finance", "/finance"))
# The letter after `g` that goes there, by the way's name; no two have one.
KEYS = {
    "Models": "m",
    "Compare": "c",
    "Docs": "d",
    "Pricing": "p",
    "Status": "s",
    "Operations": "o",
    "Finance": "f",
    "Usage": "u",
    "Calls": "l",
    "Keys": "k",
    "Credit": "r",
    "Documents": "i",
    "Members": "e",
    "Licenses": "w",
    "Audit": "a",
    "Data": "t",
}


def has_shortcuts(cookies: Mapping[str, str]) -> bool:
    """Whether keys of one letter do something in this browser."""
    return cookies.get("shortcuts") != "off"


def navigation(paths: frozenset[str], path: str, viewer: Viewer) -> tuple[NavItem, ...]:
    """The ways in the head of every page, of those pages that there are."""
    items = [(name, href) for name, href in PUBLIC_NAV if href in paths]
    if viewer.staff is not None:
        items += [(name, href) for name, href in STAFF_NAV if href in paths]
    return tuple(NavItem(name, href, _is_below(path, href), KEYS.get(name, "")) for name, href in items)


def account_navigation(paths: frozenset[str], path: str, membership: Membership) -> tuple[NavItem, ...]:
    """The ways among the pages of an account that the member's role may see."""
    base = f"/accounts/{wire(AccountId, membership.account_id)}"
    return tuple(
        NavItem(name, f"{base}/{page}", _is_below(path, f"{base}/{page}"), KEYS.get(name, ""))
        for name, page, roles in ACCOUNT_NAV
        if membership.role in roles and f"/accounts/{{account}}/{page}" in paths
    )


def switcher(path: str, viewer: Viewer, membership: Membership) -> tuple[NavItem, ...]:
    """The ways to the same page of the reader's other accounts, where there are any."""
    if len(viewer.memberships) < 2:
        return ()
    here = f"/accounts/{wire(AccountId, membership.account_id)}"
    section = path.removeprefix(here).split("/")[1:2]
    items = []
    for one in viewer.memberships:
        may = next((roles for _, page, roles in ACCOUNT_NAV if [page] == section), frozenset())
        page = section[0] if one.role in may else "members"
        href = f"/accounts/{wire(AccountId, one.account_id)}/{page}"
        items.append(NavItem(one.account_name, href, one.account_id == membership.account_id))
    return tuple(items)


def _is_below(path: str, href: str) -> bool:
    return path == href or path.startswith(f"{href}/")
