"""Renders all files of a document and checks them: nothing is stored that EN 16931's rules refuse.

It is CPU work of some 30 ms for a document with XML and 7 ms for one without, and takes 130 MB, so it has a process of
its own (:mod:`billing.documents.render_process`); XML is checked in another (:mod:`billing.documents.checker`). Not
safe for threads: typst belongs to the one that made it.
"""

from billing.documents.checker import Checker
from billing.documents.document import Document, DocumentKind, encode
from billing.documents.einvoice import embed, write_cii, write_ubl
from billing.documents.faults import DocumentRefused
from billing.documents.files import DocumentFile, file_of
from billing.documents.pdf import PdfRenderer
from billing.documents.render_messages import WrittenXml
from billing.documents.table import write_csv
from billing.documents.totals import total_faults

PDF, XML, JSON, CSV = "application/pdf", "application/xml", "application/json", "text/csv; charset=utf-8"


class FileRenderer:
    """Renders and checks documents, one at a time. Its tools are made with the first document that needs them."""

    def __init__(self) -> None:
        self._pdf: PdfRenderer | None = None
        self._checker: Checker | None = None

    def render(self, document: Document) -> list[DocumentFile]:
        """All files of a document. Raises :class:`DocumentRefused`, which names the rule and the field."""
        _check_totals(document)
        self._pdf = self._pdf or PdfRenderer()
        pdf = self._pdf.render(document)
        files = [
            file_of("pdf", PDF, pdf),
            file_of("json", JSON, encode(document)),
            file_of("csv", CSV, write_csv(document)),
        ]
        if document.draft.kind is DocumentKind.STATEMENT:
            return files
        self._checker = self._checker or Checker()
        cii, ubl = write_cii(document), write_ubl(document)
        self._checker.start(WrittenXml(ubl, cii))
        try:
            embedded = embed(document, pdf, cii)
        finally:
            self._checker.finish()
        return [*files, file_of("ubl", XML, ubl), file_of("facturx", PDF, embedded)]

    def close(self) -> None:
        """End the process that checks, if there is one."""
        if self._checker is not None:
            self._checker.close()
            self._checker = None


def _check_totals(document: Document) -> None:
    """What no schema knows: that there are lines, and that all adds up to the nano-dollar."""
    if not document.draft.lines and document.draft.kind is not DocumentKind.STATEMENT:
        raise DocumentRefused("has-lines", "lines", "nothing that costs was used in this month")
    for fault in total_faults(document):
        raise DocumentRefused("adds-up", "totals", fault)
