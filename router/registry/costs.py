"""Asks about a cost of 0 at a provider that is paid: every margin and every report would be wrong. Pure."""

from providers.protocol import ProviderKind
from router.errors import Conflict
from router.registry.indexes import ProviderRecord


def is_paid(kind: str, *, has_credential: bool) -> bool:
    """Whether a provider is taken for one that charges us: a vendor, or a server where we have an account."""
    return kind == ProviderKind.LITELLM or (kind == ProviderKind.OPENAI and has_credential)


def zero_cost_question(provider: str) -> str:
    """The sentence that asks."""
    return (
        f"{provider} is a provider with an account of ours, and the endpoint's cost is 0: its margin would be reported "
        "as the whole price. Set cost_usd_per_mtok. If 0 is meant, say so: allow_zero_cost."
    )


def require_cost(cost_nano_per_mtok: int, record: ProviderRecord, *, allowed: bool) -> None:
    """Raise ``Conflict`` for a cost of 0 at a paid provider that nobody has confirmed."""
    if cost_nano_per_mtok or allowed or not is_paid(record.kind, has_credential=record.sealed is not None):
        return
    raise Conflict(zero_cost_question(record.name), param="cost_usd_per_mtok")
