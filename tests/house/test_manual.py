"""The articles of docs/pages with pictures: each picture is there, is light, is named once, and has words for it."""

import re

from tests.house.source import ROOT

PAGES = ROOT / "docs" / "pages"
PICTURE_BYTES_MAX, PICTURES_MAX = 40_000, 10


def test_each_picture_is_there_and_light_and_named_once() -> None:
    named: list[str] = []
    for article in PAGES.glob("*.md"):
        found = re.findall(r"!\[(.*?)\]\(pictures/(.+?)\)", article.read_text())
        assert len(found) <= PICTURES_MAX, article
        assert all(words for words, _ in found), article
        named += [picture for _, picture in found]
    there = {file.name: file.stat().st_size for file in (PAGES / "pictures").iterdir()}
    assert sorted(named) == sorted(there)
    assert not {name for name, size in there.items() if size > PICTURE_BYTES_MAX}
