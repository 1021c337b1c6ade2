"""Pure. Standard rates of VAT by country, in hundredths of a percent, each from a day on.

What embeddings are taxed at: electronically supplied services have no reduced rate anywhere in this table. **An adviser
must confirm it, and each change of a rate is a line here.** Sources: the Commission's "VAT rates applied in the Member
States" and the national authorities, as of November 2026.
"""

from datetime import date

_LONG_AGO = date(2020, 1, 1)

# Country -> (from, rate), the newest last.
RATES: dict[str, tuple[tuple[date, int], ...]] = {
    "AT": ((_LONG_AGO, 2000),),
    "BE": ((_LONG_AGO, 2100),),
    "BG": ((_LONG_AGO, 2000),),
    "CY": ((_LONG_AGO, 1900),),
    "CZ": ((_LONG_AGO, 2100),),
    "DE": ((_LONG_AGO, 1900),),
    "DK": ((_LONG_AGO, 2500),),
    "EE": ((_LONG_AGO, 2000), (date(2024, 1, 1), 2200), (date(2025, 7, 1), 2400)),
    "ES": ((_LONG_AGO, 2100),),
    "FI": ((_LONG_AGO, 2400), (date(2024, 9, 1), 2550)),
    "FR": ((_LONG_AGO, 2000),),
    "GR": ((_LONG_AGO, 2400),),
    "HR": ((_LONG_AGO, 2500),),
    "HU": ((_LONG_AGO, 2700),),
    "IE": ((_LONG_AGO, 2300),),
    "IT": ((_LONG_AGO, 2200),),
    "LT": ((_LONG_AGO, 2100),),
    "LU": ((_LONG_AGO, 1700),),
    "LV": ((_LONG_AGO, 2100),),
    "MT": ((_LONG_AGO, 1800),),
    "NL": ((_LONG_AGO, 2100),),
    "PL": ((_LONG_AGO, 2300),),
    "PT": ((_LONG_AGO, 2300),),
    "RO": ((_LONG_AGO, 1900), (date(2025, 8, 1), 2100)),
    "SE": ((_LONG_AGO, 2500),),
    "SI": ((_LONG_AGO, 2200),),
    "SK": ((_LONG_AGO, 2000), (date(2025, 1, 1), 2300)),
    "CH": ((_LONG_AGO, 770), (date(2024, 1, 1), 810)),
    "GB": ((_LONG_AGO, 2000),),
    "NO": ((_LONG_AGO, 2500),),
}
EU = frozenset(RATES) - {"CH", "GB", "NO"}


def rate_at(country: str, on: date) -> int | None:
    """The standard rate of a country on a day, in hundredths of a percent; None where the table has none."""
    found = None
    for since, rate in RATES.get(country, ()):
        if since <= on:
            found = rate
    return found
