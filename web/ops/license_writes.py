"""Holds what is done at the license desk, each as a page: claims, rulings, waivers, evidence that is closed."""

from catalog.values import Signer, Term
from web.ops.licenses import LICENSES
from web.ops.write import OPERATIONS, Field, Write

MODEL = Field(name="model", label="Model", is_required=True, hint="By id or alias.")
LICENSE = Field(name="license", label="License", is_required=True, hint="An SPDX id or LicenseRef-….")
EVIDENCE = Field(
    name="evidence", label="Evidence", is_required=True, hint="Where it can be seen: a URL, a document's number."
)
CRUMBS = (OPERATIONS, LICENSES)


def _of_a_model(operation: str, verb: str, explanation: str, fields: tuple[Field, ...], names: dict[str, str]) -> Write:
    return Write(
        operation=operation,
        verb=verb,
        explanation=explanation,
        from_path={"model": "model"},
        noun="{model}",
        fields=fields,
        names=names,
        back="/ops/licenses/{model}",
        crumbs=CRUMBS,
        is_dangerous=operation == "create_resolution",
    )


CLAIM = _of_a_model(
    "create_claim",
    "Record a claim about",
    "What a source says binds until it is resolved; a claim is never edited.",
    (LICENSE, Field(name="source", label="Who says so", is_required=True), EVIDENCE),
    {"model": "Model", "license": "License", "source": "Who says so", "evidence": "Evidence"},
)
RESOLVE = _of_a_model(
    "create_resolution",
    "Rule on the license of",
    "It settles every claim that is recorded now, and replaces the ruling before it. Chips, pages, the API and each "
    "call follow within a second.",
    (
        LICENSE,
        Field(name="reason", label="Reason", kind="area", is_required=True, hint="Why this one."),
        EVIDENCE,
    ),
    {"model": "Model", "license": "License that holds", "reason": "Reason", "evidence": "Evidence"},
)
WAIVE = _of_a_model(
    "create_waiver",
    "Sign a waiver for",
    "A signed lifting of one term of the license.",
    (
        Field(
            name="term",
            label="Term",
            kind="choice",
            options=tuple((term.value, term.value.replace("_", " ")) for term in Term),
        ),
        Field(
            name="signer",
            label="Whose decision",
            kind="choice",
            options=tuple((signer.value, signer.value) for signer in Signer),
        ),
        Field(name="signed_by", label="Signed by", is_required=True, hint="Whose signature it is."),
        EVIDENCE,
        Field(name="expires_at", label="Expires at", hint="Such as 2027-01-31T00:00:00Z; empty: never."),
    ),
    {"model": "Model", "term": "Term", "signed_by": "Signed by", "evidence": "Evidence", "expires_at": "Expires"},
)
END_WAIVER = Write(
    operation="revoke_waiver",
    verb="End the waiver of",
    name="term",
    explanation="The term holds again; the waiver stays in the record.",
    values={"waiver_id": "waiver"},
    reads="retrieve_waiver",
    names={"model": "Model", "term": "Term", "status": "Status"},
    has_body=False,
    back="/ops/licenses",
    done="/ops/licenses/{model}",
    crumbs=CRUMBS,
    is_dangerous=True,
)
CLOSE_EVIDENCE = Write(
    operation="resolve_evidence",
    verb="Close the evidence about",
    name="model",
    explanation="Evidence is closed once. A claim or a ruling that follows from it is recorded apart.",
    values={"evidence_id": "evidence"},
    reads="retrieve_evidence",
    fields=(
        Field(
            name="state",
            label="It was found to be",
            kind="choice",
            options=(("accepted", "right"), ("rejected", "wrong")),
        ),
        Field(name="note", label="Reason", kind="area", is_required=True, hint="What was done with it."),
    ),
    names={"model": "Model", "state": "State", "note": "Note"},
    back="/ops/licenses",
    done="/ops/licenses/{model}",
    crumbs=CRUMBS,
)
