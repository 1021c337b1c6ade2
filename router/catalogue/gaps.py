"""Says what a model's entry lacks, and which of its sources were read long ago. Pure."""

from datetime import date, timedelta
from typing import Final

from catalog.descriptions import Section
from catalog.values import Model

# What a source said so long ago is to be read again: makers' cards are seldom the same after half a year.
OLD_AFTER: Final = timedelta(days=180)
# Facts that every model has, whether somebody has stated them or not.
_EXPECTED: Final = (
    *("published_on", "parameters", "languages", "language_codes", "architecture", "tokenizer", "revision"),
    *("downloads", "benchmarks"),
)
_SLUGS: Final = ("pooling", "numerics")


def missing_facts(model: Model) -> tuple[str, ...]:
    """The facts that nobody has stated, by name."""
    undisclosed = [name for name in _SLUGS if getattr(model, name) == "undisclosed"]
    return (*(name for name in _EXPECTED if not getattr(model, name)), *undisclosed)


def old_facts(model: Model, today: date) -> tuple[str, ...]:
    """The facts and texts whose newest source is old, by name."""
    newest: dict[str, date] = {}
    dated = [
        *((one.fact, one.stated_on) for one in model.statements),
        *(("benchmarks", one.stated_on) for one in model.benchmarks),
        *((f"text: {one.section.value.replace('_', ' ')}", one.stated_on) for one in model.texts),
        *((("downloads", model.downloads.stated_on),) if model.downloads else ()),
        *((("estimate", model.estimate.stated_on),) if model.estimate else ()),
    ]
    for name, day in dated:
        newest[name] = max(day, newest.get(name, day))
    return tuple(sorted(name for name, day in newest.items() if today - day > OLD_AFTER))


def missing_sections(model: Model) -> tuple[Section, ...]:
    """The sections of its page that have no text."""
    written = {text.section for text in model.texts}
    return tuple(section for section in Section if section not in written)
