"""What a million tokens costs at the measured rate, beside what the roofline promises for the card. Arithmetic only."""

from collections.abc import Sequence

import msgspec

from bench.gpu.plan import shape_named
from bench.gpu.records import RUN, Record, figure, figures, number, sizes_of
from providers.worker.model.roofline import GPUS, Gpu, dollars_per_million, tokens_per_second

# The roofline's own assumptions, so that the two can stand side by side.
LENGTH = 512
MFU = 0.5
# The price of the catalog's estimate.
ESTIMATE = 0.008
RENTS = (1.50, 2.00, 2.50, 3.50)


class Cost(msgspec.Struct, frozen=True):
    """One size: its rate in texts of ``length`` tokens, and dollars per million by rent, promised and measured."""

    size: str
    length: int
    tokens_per_s: float
    mfu: float
    prices: tuple[tuple[float, float | None, float], ...]

    @property
    def rent_of_estimate(self) -> float:
        """Dollars per hour up to which an hour that is never idle is paid by :data:`ESTIMATE`."""
        return ESTIMATE * 3600 * self.tokens_per_s / 1e6


def costs(records: Sequence[Record], rents: Sequence[float] = ()) -> list[Cost]:
    """Of each size whose speed was measured."""
    gpu = gpu_of(records)
    found = []
    for size in sizes_of(records):
        length = _length(records, size)
        values = figure(records, "speed", size, f"{length} tokens")
        rate, mfu = number(values, "tokens_per_s"), number(values, "mfu")
        if rate is None or mfu is None:
            continue
        promise = tokens_per_second(shape_named(size), gpu, MFU, length) if gpu else None
        prices = tuple(
            (rent, dollars_per_million(rent, promise, 1.0) if promise else None, dollars_per_million(rent, rate, 1.0))
            for rent in rents or (gpu.dollars if gpu else RENTS)
        )
        found.append(Cost(size, length, rate, mfu, prices))
    return found


def card_of(records: Sequence[Record]) -> str:
    """The name of the device, as its driver says it."""
    names = [str(one.values.get("card", "")) for one in figures(records, "card") if one.name == "device"]
    return names[-1] if names else "unknown"


def gpu_of(records: Sequence[Record]) -> Gpu | None:
    """The roofline's entry for the card."""
    return next((gpu for gpu in GPUS if gpu.name in card_of(records)), None)


def date_and_commit(records: Sequence[Record]) -> tuple[str, str]:
    """The date and the commit of the run."""
    values = figure(records, RUN, RUN, "machine") or {}
    return str(values.get("measured_at", "unknown"))[:10], str(values.get("commit") or "unknown")


def _length(records: Sequence[Record], size: str) -> int:
    """The roofline's length, or the longest that was measured where that was not."""
    measured = [
        int(one.name.partition(" ")[0]) for one in figures(records, "speed", size) if one.name.endswith(" tokens")
    ]
    return LENGTH if LENGTH in measured or not measured else max(measured)
