"""Mails about an account's money. Amounts are dollars as text, exact, without their sign, such as ``12.50``."""

from datetime import date, datetime
from typing import ClassVar, Literal

from typing_extensions import override

from mail.values import Audience, Mail, Topic


class _OfMoney(Mail, frozen=True, kw_only=True):
    audience: ClassVar[Audience] = Audience.MONEY

    @override
    def link(self, account: str) -> str:
        return f"/accounts/{account}/credit"


class BalanceLow(_OfMoney, frozen=True, kw_only=True):
    """Little is left of the credit that came last, which was ``last_usd``."""

    kind: ClassVar[str] = "balance_low"
    topic: ClassVar[Topic | None] = Topic.SPENDING

    left_usd: str
    last_usd: str


class RechargeDone(_OfMoney, frozen=True, kw_only=True):
    """Credit was bought automatically."""

    kind: ClassVar[str] = "recharge_done"

    amount_usd: str
    threshold_usd: str


class RechargeConfirm(_OfMoney, frozen=True, kw_only=True):
    """The bank wants the payment of a recharge to be confirmed by its owner, at ``url``."""

    kind: ClassVar[str] = "recharge_confirm"

    amount_usd: str
    threshold_usd: str
    until: datetime
    url: str

    @override
    def link(self, account: str) -> str:
        return self.url


class RechargeOff(_OfMoney, frozen=True, kw_only=True):
    """Auto-recharge was switched off. ``reason``: a sentence."""

    kind: ClassVar[str] = "recharge_off"

    reason: str

    @override
    def link(self, account: str) -> str:
        return f"/accounts/{account}/credit/recharge"


class RechargeLimitReached(_OfMoney, frozen=True, kw_only=True):
    """Auto-recharge may buy no more this month. ``month``: as ``2026-11``."""

    kind: ClassVar[str] = "recharge_limit_reached"

    month: str
    month_max_usd: str

    @override
    def link(self, account: str) -> str:
        return f"/accounts/{account}/credit/recharge"


class PaymentFailed(_OfMoney, frozen=True, kw_only=True):
    """A payment was declined, failed later, or was taken back. ``reason``: a sentence."""

    kind: ClassVar[str] = "payment_failed"

    amount_usd: str
    reason: str
    next_try: datetime | None = None


class PaymentDisputed(_OfMoney, frozen=True, kw_only=True):
    """The bank took a payment back, or what became of that. ``state``: ``open``, ``won`` or ``lost``."""

    kind: ClassVar[str] = "payment_disputed"
    audience: ClassVar[Audience] = Audience.OWNERS

    state: str
    amount_usd: str
    payment: str
    is_invoice: bool = False

    @override
    def link(self, account: str) -> str:
        return f"/accounts/{account}/{'documents' if self.is_invoice else 'credit'}"


class _OfSpending(_OfMoney, frozen=True, kw_only=True):
    """A cap stops calls, a budget only warns. ``key``: ``key_…`` where it is of one key; empty: of the account.

    ``name`` is the budget's; ``key_name`` is what people call the key.
    """

    limit: Literal["cap", "budget"]
    key: str
    period: Literal["day", "month", "total"]
    amount_usd: str
    spent_usd: str
    begins_again: datetime | None
    name: str = ""
    key_name: str = ""

    @override
    def link(self, account: str) -> str:
        return f"/accounts/{account}/credit/caps"


class SpendingReached(_OfSpending, frozen=True, kw_only=True):
    """So many per cent of a cap or budget are spent."""

    kind: ClassVar[str] = "spending_reached"

    percent: int


class SpendingForecast(_OfSpending, frozen=True, kw_only=True):
    """At this pace a cap or budget is spent before its period ends."""

    kind: ClassVar[str] = "spending_forecast"
    topic: ClassVar[Topic | None] = Topic.SPENDING

    forecast_usd: str


class CreditExpiring(_OfMoney, frozen=True, kw_only=True):
    """Credit ends soon. ``credit``: its kind, such as ``goodwill``."""

    kind: ClassVar[str] = "credit_expiring"

    amount_usd: str
    credit: str
    at: datetime
    days: int


class Notice(_OfMoney, frozen=True, kw_only=True):
    """What an earlier release had to say, in its own words, and had not sent when this one took over."""

    kind: ClassVar[str] = "notice"

    subject: str
    sentence: str
    day: date | None = None
    url: str = ""

    @override
    def link(self, account: str) -> str:
        return self.url or f"/accounts/{account}/credit"
