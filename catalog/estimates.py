"""What a model may cost before it has a price of ours: shown to people with its source, never charged."""

from datetime import date

from sqlalchemy import RowMapping

from catalog.values import Estimate

NANO_PER_USD = 1_000_000_000


def estimate_of(row: RowMapping) -> Estimate | None:
    """The estimate in a row of ``models``; None where it has none."""
    if row["estimated_nano_per_mtok"] is None:
        return None
    source: str = row["estimate_source"]
    stated_on: date = row["estimate_stated_on"]
    return Estimate(
        nano_per_mtok=row["estimated_nano_per_mtok"],
        source=source,
        stated_on=stated_on,
        is_list_price=row["estimate_is_list_price"],
        note=row["estimate_note"],
    )


def describe(estimate: Estimate) -> str:
    """One sentence for a page: ``$0.008 per 1M tokens, estimated; …``."""
    kind = "list price of its maker" if estimate.is_list_price else "estimated"
    said = f"{_usd(estimate.nano_per_mtok)} per 1M tokens, {kind} ({estimate.source}, {estimate.stated_on.isoformat()})"
    return f"{said}. {estimate.note}" if estimate.note else f"{said}."


def _usd(nano: int) -> str:
    whole, fraction = divmod(nano, NANO_PER_USD)
    return f"${whole}.{f'{fraction:09d}'.rstrip('0').ljust(2, '0')}"
