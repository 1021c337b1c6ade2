"""Writes counts, shares and sizes as people read them. Pure."""

THOUSANDS = ("", "K", "M", "B", "T")


def count(number: int) -> str:
    """Every digit, in groups of three."""
    return f"{number:,}"


def short(number: int) -> str:
    """Three significant digits and a letter: 41_100 -> ``41.1K``."""
    size, letter = float(number), ""
    for letter in THOUSANDS:
        if abs(size) < 999.5 or letter == THOUSANDS[-1]:
            break
        size /= 1000
    return f"{size:,.0f}{letter}" if letter == "" or abs(size) >= 99.95 else f"{size:.3g}{letter}"


def percent(share: float, digits: int = 2) -> str:
    """A share of one as per cent, cut so that less than all is never 100."""
    cut = int(share * 100 * 10**digits) / 10**digits
    return f"{cut:.{digits}f} %"


def byte_size(number: int) -> str:
    """Bytes in powers of a thousand."""
    size, unit = float(number), "B"
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if size < 999.5 or unit == "PB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.3g} {unit}"
