"""Holds what the pages of an account's money share: the ways among them, and amounts as operations write them."""

from decimal import Decimal

import msgspec

from billing.money import NANO_PER_USD
from web.answers import Crumb
from web.request import PageRequest

PATH = "/accounts/{account}/credit"
# What each kind of credit is called.
CREDIT_WORDS = {
    "promotional": "free",
    "goodwill": "free, by goodwill",
    "purchased": "bought",
    "line": "lent",
}
_SECTIONS = (
    ("Credit", ""),
    ("Movements", "/movements"),
    ("Auto-recharge", "/recharge"),
    ("Caps and budgets", "/caps"),
    ("Alerts", "/alerts"),
)


class Section(msgspec.Struct, frozen=True):
    """A way to another of the pages."""

    name: str
    href: str
    is_here: bool


def sections(request: PageRequest) -> tuple[Section, ...]:
    """The pages below Credit, and billing details."""
    base = credit_path(request)
    below = [Section(name, f"{base}{end}", request.path == f"{base}{end}") for name, end in _SECTIONS]
    details = f"/accounts/{request.values['account']}/billing"
    return (*below, Section("Billing details", details, request.path == details))


def credit_path(request: PageRequest) -> str:
    """The address of the account's credit."""
    return PATH.format(account=request.values["account"])


def crumbs(request: PageRequest, name: str) -> tuple[Crumb, ...]:
    """The path to a page below Credit."""
    return (Crumb("Credit", credit_path(request)), Crumb(name))


def nano(usd: str) -> int:
    """An operation's amount in nano-USD: ``-0.000000021`` -> -21."""
    return int(Decimal(usd) * NANO_PER_USD)
