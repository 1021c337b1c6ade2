"""Makes what the page of a trial call shows of its vectors: cosines with what is nearest, maps, receipt. Pure."""

from collections.abc import Sequence

import msgspec

from billing.money import from_usd
from router.trial.vectors import Vectors, View, view_of
from web.parts.money import MINUS
from web.parts.plane import Plane, plane
from web.parts.tables import Column

EXCERPT = 60


class Cell(msgspec.Struct, frozen=True):
    """A cosine. ``is_nearest``: of this row's text no other is nearer; ``is_self``: it is the text with itself."""

    cosine: str
    is_nearest: bool
    is_self: bool


class Line(msgspec.Struct, frozen=True):
    """A text's row in the table of cosines."""

    number: int
    excerpt: str
    cells: tuple[Cell, ...]


class WidthView(msgspec.Struct, frozen=True):
    """One width: its table and its map. ``share`` is the share of the spread that the map has."""

    width: int
    head: tuple[Column, ...]
    lines: tuple[Line, ...]
    plane: Plane
    share: float


class ShownText(msgspec.Struct, frozen=True):
    """A text by its number, and how its vector begins."""

    number: int
    excerpt: str
    beginning: str


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. ``changes`` says what the narrower width does; ``widths`` are one or two, the full one first."""

    texts: tuple[ShownText, ...]
    widths: tuple[WidthView, ...]
    changes: tuple[str, ...]
    cost_nano: int
    tokens: int
    provider: str
    space: str
    attribution: str
    is_replay: bool
    request_id: str
    call_href: str


def result_of(vectors: Vectors, texts: Sequence[str], narrow: int | None, call_href: str) -> Result:
    """What is shown of an answer at its full width, and at a narrower one where there is one."""
    full = vectors.matrix.shape[1]
    views = [view_of(vectors.matrix, width) for width in (full, narrow) if width is not None]
    return Result(
        texts=tuple(
            ShownText(number, excerpt(text), " ".join(_number(value, 4) for value in views[0].beginnings[number - 1]))
            for number, text in enumerate(texts, 1)
        ),
        widths=tuple(_shown(view, texts) for view in views),
        changes=_changes(*views) if len(views) == 2 and len(texts) > 1 else (),
        cost_nano=from_usd(vectors.cost_usd),
        tokens=vectors.tokens,
        provider=vectors.provider,
        space=vectors.space,
        attribution=vectors.attribution,
        is_replay=vectors.is_replay,
        request_id=vectors.request_id,
        call_href=call_href,
    )


def excerpt(text: str) -> str:
    """A text's beginning, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= EXCERPT else f"{line[:EXCERPT]}…"


def _number(value: float, digits: int) -> str:
    """A number with a minus sign of its own width; what rounds to zero has none."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if not float(text) else text.replace("-", MINUS)


def _shown(view: View, texts: Sequence[str]) -> WidthView:
    lines = tuple(
        Line(
            at + 1,
            excerpt(text),
            tuple(
                Cell(_number(cosine, 3), other == view.nearest(at) and len(texts) > 2, other == at)
                for other, cosine in enumerate(view.cosines[at])
            ),
        )
        for at, text in enumerate(texts)
    )
    head = (Column("Text"), *(Column(str(at + 1), is_number=True) for at in range(len(texts))))
    return WidthView(view.width, head, lines, plane(view.points), view.share)


def _changes(full: View, narrow: View) -> tuple[str, ...]:
    """What differs at the narrower width, in sentences."""
    count = len(full.cosines)
    pairs = [(at, other) for at in range(count) for other in range(at)]
    at, other = max(pairs, key=lambda pair: abs(full.cosines[pair[0]][pair[1]] - narrow.cosines[pair[0]][pair[1]]))
    before, after = full.cosines[at][other], narrow.cosines[at][other]
    nearest = [(full.nearest(one), narrow.nearest(one)) for one in range(count)]
    # Two that are as near as each other are neither: nothing can be said of them.
    moved = [one for one, (wide, cut) in enumerate(nearest) if None not in (wide, cut) and wide != cut]
    sentences = [
        f"At {narrow.width:,} numbers the cosine of texts {other + 1} and {at + 1} changes most: "
        f"from {_number(before, 3)} to {_number(after, 3)}."
    ]
    if moved:
        named = ", ".join(str(one + 1) for one in moved)
        sentences.append(f"Another text is nearest to {'text' if len(moved) == 1 else 'texts'} {named}.")
    elif count > 2 and all(wide == cut for wide, cut in nearest):
        sentences.append("Each text has the same nearest one.")
    return tuple(sentences)
