"""Shows whom a price or a cost touches, beside what it would change: the confirmation of such a write."""

from typing import ClassVar

import msgspec

from web.forms import ConfirmPage
from web.parts.tables import Column

IMPACT_HEAD = (
    Column("Account"),
    Column("Calls", is_number=True),
    Column("Tokens", is_number=True),
    Column("Charged", "USD, then", is_number=True),
    Column("Now", "USD", is_number=True),
    Column("Then", "USD", is_number=True),
    Column("Difference", "USD", is_number=True),
)
MARGIN_HEAD = (
    Column("Endpoint"),
    Column("State"),
    Column("Our cost", "USD per 1M tokens", is_number=True),
    Column("Margin now", "USD per 1M tokens", is_number=True),
    Column("Margin then", "USD per 1M tokens", is_number=True),
)


class ImpactRow(msgspec.Struct, frozen=True):
    """An account that a price touches, by its last 30 days."""

    account: str
    account_name: str
    calls: int
    tokens: int
    charged_usd: str
    before_usd: str
    after_usd: str
    difference_usd: str


class MarginRow(msgspec.Struct, frozen=True):
    """What is left of the price at an endpoint; None where no price is set."""

    endpoint: str
    provider_name: str
    state: str
    cost_usd_per_mtok: str
    before_usd_per_mtok: str | None
    after_usd_per_mtok: str | None


class Impact(msgspec.Struct, frozen=True):
    """Whom a price or a cost touches, as the dry run answers it; ``all_href``: where all of them are listed."""

    accounts: int
    calls: int
    tokens: int
    charged_usd: str
    before_usd: str
    after_usd: str
    difference_usd: str
    contract_accounts: int
    contract_calls: int
    contract_charged_usd: str
    first: list[ImpactRow]
    margins: list[MarginRow]
    all_href: str = ""


class TouchingPage(ConfirmPage, frozen=True, kw_only=True):
    """What a write would change, and whom it touches."""

    template: ClassVar[str] = "ops/confirm_impact.html"

    impact: Impact
    impact_head: tuple[Column, ...] = IMPACT_HEAD
    margin_head: tuple[Column, ...] = MARGIN_HEAD
