"""No page, snippet or script names a license: what a license is and permits comes from a verdict, with its claims.

A name that somebody types stays when the record says another thing, and a name alone hides a conflict.
"""

import re

from catalog.terms import all_terms
from tests.house.source import ROOT

SUFFIXES = {".py", ".html", ".txt", ".js", ".jinja"}


def names() -> re.Pattern[str]:
    spellings = {one for terms in all_terms().values() for one in (terms.id, terms.name, *terms.also)}
    families = {"apache", "apache-2.0", "cc by", "cc-by", "creative commons", "gpl"}
    words = "|".join(re.escape(one) for one in sorted(spellings | families, key=len, reverse=True))
    return re.compile(rf"(?<![\w-])({words})(?![\w-])", re.IGNORECASE)


def test_no_page_names_a_license() -> None:
    pattern = names()
    files = [file for file in sorted((ROOT / "web").rglob("*")) if file.suffix in SUFFIXES]
    assert len(files) > 40
    found = {
        f"{file.relative_to(ROOT)}:{number}": match[0]
        for file in files
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        if (match := pattern.search(line))
    }
    assert not found
    for sentence in ("It is licensed under Apache-2.0.", "MIT License", "Weights: CC BY-NC-ND 4.0", "Gemma terms"):
        assert pattern.search(sentence), sentence
    assert not pattern.search("A permitted use; the limits of a commit.")
