"""Mails to the house's own people: what needs a person."""

from datetime import datetime
from typing import ClassVar

from typing_extensions import override

from mail.values import Mail


class ProviderDown(Mail, frozen=True, kw_only=True):
    """An endpoint was taken out of service. ``reason``: a sentence, or upstream's words."""

    kind: ClassVar[str] = "provider_down"

    provider: str
    model: str
    endpoint: str
    reason: str
    at: datetime

    @override
    def link(self, account: str) -> str:
        return f"/ops/endpoints/{self.endpoint}"


class DisputeChanged(Mail, frozen=True, kw_only=True):
    """A payment is disputed, or what became of a dispute; ``state`` is one of ours, or ``unknown``.

    ``payment``: our name of it. ``answer_by``: until when the bank takes an answer, where it says so.
    """

    kind: ClassVar[str] = "dispute_changed"

    state: str
    amount_usd: str
    payment: str
    reason: str
    answer_by: datetime | None = None

    @override
    def link(self, account: str) -> str:
        return "/finance/disputes"


class CheckFailed(Mail, frozen=True, kw_only=True):
    """A check of the books found something wrong."""

    kind: ClassVar[str] = "check_failed"

    check: str
    wrong: int
    at: datetime

    @override
    def link(self, account: str) -> str:
        return "/finance/books"
