"""Mails about models, to whom asked for them or uses them; nobody is owed one."""

from datetime import datetime
from typing import ClassVar

from typing_extensions import override

from mail.values import Mail, Priority, Topic


class _OfModel(Mail, frozen=True, kw_only=True):
    topic: ClassVar[Topic | None] = Topic.MODELS
    priority: ClassVar[int] = Priority.BULK

    model: str

    @override
    def link(self, account: str) -> str:
        return f"/models/{self.model}"


class ModelLaunched(_OfModel, frozen=True, kw_only=True):
    """A model that its reader voted for can be called. Prices are dollars per 1M tokens."""

    kind: ClassVar[str] = "model_launched"

    price_usd: str
    batch_price_usd: str = ""
    license: str = ""


class PriceChange(_OfModel, frozen=True, kw_only=True):
    """A model that its reader uses costs more or less from ``at`` on."""

    kind: ClassVar[str] = "price_change"

    before_usd: str
    after_usd: str
    at: datetime
    lane: str = "standard"


class ModelRetiring(_OfModel, frozen=True, kw_only=True):
    """A model that its reader uses is called no more from ``at`` on, or ends at a time that is not set yet.

    ``successor``: a model, or empty.
    """

    kind: ClassVar[str] = "model_retiring"

    at: datetime | None = None
    successor: str = ""
