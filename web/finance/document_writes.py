"""Declares what finance does with documents: issue, credit, void, mail, collect, and try again what was refused."""

from store.ids import DocumentRequestId
from web.finance.documents import DOCUMENTS
from web.finance.listing import FINANCE
from web.finance.write import FinanceWrite
from web.ops.write import Field, Json, Write

CRUMBS = (FINANCE, DOCUMENTS)
REASON = Field(name="reason", label="Reason", kind="area", is_required=True, hint="It is printed on the credit note.")
ONE = "/finance/documents/{number}"


def _before(document: Json) -> Json:
    return {**document, "order": "none"}


def _ordered(request: Json) -> Json:
    return {"order": f"{request['kind']} of it, {request['state']}".replace("_", " ")}


def _credit(operation: str, verb: str, explanation: str, *fields: Field, notes: tuple[str, ...]) -> FinanceWrite:
    return FinanceWrite(
        operation=operation,
        verb=verb,
        explanation=explanation,
        name="number",
        values={"number": "number"},
        reads="retrieve_document",
        view=_before,
        view_after=_ordered,
        keeps=True,
        fields=(REASON, *fields),
        names={"customer": "Customer", "total": "Total, USD", "credit_notes": "Credit notes", "order": "Order"},
        back=ONE,
        crumbs=CRUMBS,
        is_dangerous=True,
        notes=notes,
    )


CREDIT = _credit(
    "credit_document",
    "Credit",
    "A credit note takes all of it back, or a part. A part is an allowance: nothing is invoiced again.",
    Field(
        name="amount_usd", label="Net amount, USD", hint="In whole cents; empty: all. Its share of the tax follows it."
    ),
    Field(name="line", label="Line", kind="count", hint="The line that it is of; empty: the whole document."),
    notes=("Jobs issue the credit note within seconds. A document itself never changes.",),
)
VOID = _credit(
    "void_document",
    "Void",
    "A credit note takes all of the invoice back; where you say so, a new invoice of the month follows it.",
    Field(name="reissue", label="Issue the month anew", kind="check", initial="1"),
    notes=("Jobs issue the credit note within seconds, and after it the new invoice, with the details of today.",),
)
SEND = FinanceWrite(
    operation="send_document",
    verb="Mail",
    explanation="The document is mailed again. Jobs send it.",
    name="number",
    values={"number": "number"},
    reads="retrieve_document",
    view=lambda document: {**document, "mails": "none"},
    view_after=lambda mails: {"mails": ", ".join(mails["addresses"])},
    keeps=True,
    fields=(
        Field(
            name="emails",
            label="Addresses",
            kind="list",
            hint="With commas between them; empty: those of the customer's billing details.",
        ),
    ),
    names={"customer": "Customer", "total": "Total, USD", "mails": "Mail to"},
    back=ONE,
    crumbs=CRUMBS,
)
COLLECT = Write(
    operation="collect_document",
    verb="Collect",
    explanation="Stripe collects the invoice: it was issued without a key for Stripe, or a person has looked at it.",
    name="number",
    values={"number": "number"},
    reads="retrieve_document",
    names={"customer": "Customer", "due": "Due, USD", "collection": "Collection"},
    back=ONE,
    crumbs=CRUMBS,
    has_body=False,
)
ISSUE = Write(
    operation="issue_document",
    verb="Issue",
    noun="a document",
    name="number",
    explanation="An account's month. One month has one; after it was credited there may be another.",
    fields=(
        Field(name="account", label="Account", is_required=True, hint="Its id or name."),
        Field(name="period", label="Month", is_required=True, hint="Such as 2026-10; it must be over."),
        Field(
            name="kind",
            label="Kind",
            kind="choice",
            options=(("invoice", "Invoice"), ("statement", "Statement of the balance")),
        ),
        Field(name="seller", label="Seller", hint="Empty: the only one that there is."),
    ),
    names={"kind": "Kind", "account": "Account", "state": "State of the order"},
    back="/finance/documents",
    done="/finance/document-requests",
    crumbs=CRUMBS,
    notes=("Jobs issue it within seconds, or say in the list of orders what is wrong.",),
)
RETRY = Write(
    operation="retry_document_request",
    verb="Try again",
    noun="{order}",
    name="number",
    explanation="What was refused is tried again, once what was wrong is mended.",
    values={"request_id": "order"},
    kinds={"order": DocumentRequestId},
    names={"kind": "Kind", "account": "Account", "state": "State"},
    back="/finance/document-requests",
    crumbs=CRUMBS,
    has_body=False,
)
