"""Chooses the media type of an answer by the Accept header (RFC 9110 §12.5.1)."""

from collections.abc import Sequence


def preferred(accept: str | None, offered: Sequence[str]) -> str:
    """The one of ``offered`` that ``accept`` gives the highest quality; the first where it wants none or is silent."""
    if not accept:
        return offered[0]
    ranges = [_range(part) for part in accept.split(",")]
    qualities = [_quality(media, ranges) for media in offered]
    best = max(qualities)
    return offered[qualities.index(best)] if best > 0 else offered[0]


def _range(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    quality = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 0.0
    return name, quality


def _quality(media: str, ranges: Sequence[tuple[str, float]]) -> float:
    """What the most specific range that fits says."""
    group = f"{media.partition('/')[0]}/*"
    for pattern in (media, group, "*/*"):
        for name, quality in ranges:
            if name == pattern:
                return quality
    return 0.0
