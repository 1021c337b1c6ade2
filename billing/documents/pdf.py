"""Renders a document's page as PDF/A-3 by typst: the same bytes for the same document.

Fonts come from installed packages alone, so that every machine renders the same: Noto Sans, Noto Sans Arabic, Heebo
(Hebrew) and Noto Sans CJK are in the extra ``finance``, and ``pip install fontpkg-noto-sans-thai`` and its like add
scripts. A character that no font has refuses the document, which names it. Not safe for threads: a renderer has one
owner.
"""

import re
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import msgspec
import typst

from billing.documents.document import Document
from billing.documents.faults import DocumentRefused
from billing.documents.page import encode_page

TEMPLATE = Path(__file__).with_name("page.typ")
_FONT_PACKAGES = re.compile("fontpkg_|cvttf_Noto")
# What is looked for first; other families follow by name.
_FIRST = ("Noto Sans", "Noto Sans Arabic", "Heebo", "Noto Sans CJK TC")
_NO_GLYPH = re.compile(r'the text `"(.*?)"` could not be displayed')


class PdfRenderer:
    """Renders pages; starting one reads the fonts, 0.1 s, and a page takes some 30 ms."""

    def __init__(self) -> None:
        packages = sorted(name for name in packages_distributions() if _FONT_PACKAGES.match(name))
        folders = [Path(spec.origin).parent for name in packages if (spec := find_spec(name)) and spec.origin]
        fonts = typst.Fonts(
            include_system_fonts=False, include_embedded_fonts=False, font_paths=[str(folder) for folder in folders]
        )
        families = sorted(set(fonts.families()) - set(_FIRST))
        self._families = msgspec.json.encode([*(one for one in _FIRST if one in fonts.families()), *families]).decode()
        self._compiler = typst.Compiler(str(TEMPLATE), font_paths=fonts, ignore_system_fonts=True)

    def render(self, document: Document) -> bytes:
        """The PDF. Raises :class:`DocumentRefused` for a character that no font has."""
        try:
            made = self._compiler.compile(format="pdf", pdf_standards="a-3b", sys_inputs=self._inputs(document))
        except typst.TypstError as fault:
            if missing := _NO_GLYPH.search(fault.message):
                message = f"no font has {missing[1]!r}: install one of its script, such as fontpkg-noto-sans-thai"
                raise DocumentRefused("pdf-fonts", "text", message) from fault
            raise
        assert isinstance(made, bytes), "a PDF is one file; this is a bug"
        return made

    def pictures(self, document: Document, pixels_per_inch: float = 60) -> list[bytes]:
        """The pages as PNG, to be looked at."""
        made = self._compiler.compile(format="png", ppi=pixels_per_inch, sys_inputs=self._inputs(document))
        assert made is not None, "nothing was written to a file; this is a bug"
        return [made] if isinstance(made, bytes) else made

    def _inputs(self, document: Document) -> dict[str, str]:
        return {"page": encode_page(document), "fonts": self._families}
