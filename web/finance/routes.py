"""The rows of the finance console in the table of all pages. What reads is for all operators; writes are finance's."""

from router.identity.members import Role
from web.finance import (
    books,
    close,
    differences,
    document_writes,
    documents,
    exports,
    manual,
    overview,
    queues,
)
from web.ops.write import Write
from web.route import STAFF, PageFunction, Route, Who

WRITERS = frozenset({Role.FINANCE_ADMIN})


def _read(path: str, show: PageFunction) -> Route:
    return Route(path=f"/finance{path}", show=show, who=Who.OPERATOR, roles=STAFF)


def _write(path: str, write: Write) -> Route:
    return Route(path=f"/finance{path}", show=write.show, act=write.act, who=Who.OPERATOR, roles=WRITERS, fresh=True)


FINANCE: tuple[Route, ...] = (
    _read("", overview.show),
    _read("/books", books.show),
    _read("/manual/{article}", manual.show),
    _read("/manual/pictures/{picture}", manual.show_picture),
    _read("/documents", documents.LIST.show),
    _read("/documents/find", documents.find),
    _write("/documents/issue", document_writes.ISSUE),
    _read("/documents/{number}", documents.show),
    _read("/documents/{number}/files/{format}", documents.download),
    _read("/documents/{number}/verification", documents.verify),
    _write("/documents/{number}/credit", document_writes.CREDIT),
    _write("/documents/{number}/void", document_writes.VOID),
    _write("/documents/{number}/send", document_writes.SEND),
    _write("/documents/{number}/collect", document_writes.COLLECT),
    _read("/document-requests", documents.REQUESTS.show),
    _write("/document-requests/{order}/retry", document_writes.RETRY),
    _read("/close", close.show_months),
    _read("/close/{month}", close.show),
    _write("/close/{month}/start", close.START),
    _write("/close/{month}/sign-off", close.SIGN_OFF),
    _write("/close/{month}/finish", close.FINISH),
    _read("/close/{month}/late", close.LATE.show),
    _read("/close/{month}/papers", close.show_papers),
    _read("/close/{month}/papers/{paper}", close.download_paper),
    _read("/differences", differences.LIST.show),
    _read("/differences/{difference}", differences.show),
    _write("/differences/{difference}/edit", differences.EDIT),
    _write("/differences/{difference}/resolve", differences.RESOLVE),
    _read("/reconciliations", queues.RECONCILIATIONS.show),
    _write("/reconciliations/new", queues.RECONCILE),
    _read("/exports", exports.LIST.show),
    _write("/exports/new", exports.NEW),
    _read("/exports/{export}", exports.show),
    _write("/exports/{export}/cancel", exports.CANCEL),
    _read("/exports/{export}/files/{name}", exports.download),
    _read("/reviews", queues.REVIEWS.show),
    _write("/reviews/{review}/resolve", queues.RESOLVE_REVIEW),
    _read("/disputes", queues.DISPUTES.show),
    _read("/refunds", queues.REFUNDS.show),
    _write("/refunds/new", queues.REFUND),
    _read("/payments", queues.PAYMENTS.show),
    _read("/receivables", queues.RECEIVABLES.show),
    _write("/receivables/{receivable}/pay", queues.PAY),
    _write("/receivables/{receivable}/write-off", queues.WRITE_OFF),
)
