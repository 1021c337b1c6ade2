"""The rows of the finance console in the table of all pages. What reads is for all operators; writes are finance's."""

import msgspec

from router.identity.members import Role
from web.finance import (
    books,
    close,
    contracts,
    differences,
    document_writes,
    documents,
    exports,
    invoice_maps,
    lines,
    manual,
    meter_mirrors,
    overview,
    provider_invoices,
    queues,
    receivables,
    results,
    schedules,
)
from web.ops.write import Write
from web.route import STAFF, PageFunction, Route, Who
from web.uploads import FORM_WITH_FILE_BYTES_MAX

WRITERS = frozenset({Role.FINANCE_ADMIN})


def _read(path: str, show: PageFunction) -> Route:
    return Route(path=f"/finance{path}", show=show, who=Who.OPERATOR, roles=STAFF)


def _write(path: str, write: Write) -> Route:
    return Route(path=f"/finance{path}", show=write.show, act=write.act, who=Who.OPERATOR, roles=WRITERS, fresh=True)


def _upload(path: str, write: Write) -> Route:
    return msgspec.structs.replace(_write(path, write), takes_files=True, body_bytes_max=FORM_WITH_FILE_BYTES_MAX)


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
    _read("/meter-mirrors", meter_mirrors.LIST.show),
    _write("/meter-mirrors/on", meter_mirrors.ON),
    _write("/meter-mirrors/{mirror}/off", meter_mirrors.OFF),
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
    _read("/receivables", receivables.RECEIVABLES.show),
    _write("/receivables/{receivable}/pay", receivables.PAY),
    _write("/receivables/{receivable}/pay-back", receivables.PAY_BACK),
    _write("/receivables/{receivable}/write-off", receivables.WRITE_OFF),
    _read("/results", results.show),
    _read("/provider-invoices", provider_invoices.LIST.show),
    _upload("/provider-invoices/import", provider_invoices.IMPORT),
    _read("/provider-invoices/{invoice}", provider_invoices.show),
    _write("/provider-invoices/{invoice}/settle", provider_invoices.SETTLE),
    _write("/provider-invoices/{invoice}/pay", provider_invoices.PAY),
    _write("/provider-invoices/{invoice}/void", provider_invoices.VOID),
    _read("/invoice-maps", invoice_maps.LIST.show),
    _write("/invoice-maps/new", invoice_maps.NEW),
    _write("/invoice-maps/{provider}", invoice_maps.CHANGE),
    _read("/contracts", contracts.LIST.show),
    _write("/contracts/new", contracts.NEW),
    _read("/contracts/{contract}", contracts.show),
    _write("/contracts/{contract}/end", contracts.END),
    _write("/contracts/{contract}/fund", contracts.FUND),
    _read("/lines", lines.LIST.show),
    _write("/lines/open", lines.OPEN),
    _read("/lines/{line}", lines.show),
    _write("/lines/{line}/edit", lines.EDIT),
    _write("/lines/{line}/end", lines.STOP),
    _read("/grant-schedules", schedules.LIST.show),
    _write("/grant-schedules/new", schedules.NEW),
    _write("/grant-schedules/{schedule}/end", schedules.STOP),
)
