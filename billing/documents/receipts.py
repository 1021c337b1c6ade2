"""Pure. Proves offline that a call is in a document: from its receipt, the proof, and the document's JSON alone."""

from typing import Literal

import msgspec

from billing.documents.document import Document
from billing.documents.merkle import is_proved
from billing.money import from_usd

_LEAF_FIELDS = 7


class Proof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """That a call is in a line of a document: its leaf, and the path of hashes from it to the line's root."""

    document: str
    line: int
    leaf: str
    index: int
    size: int
    path: tuple[str, ...]
    root: str
    schema: Literal["gigarouter.proof/1"] = "gigarouter.proof/1"


class ReceiptPrice(msgspec.Struct, frozen=True):
    """The price in force, as a receipt has it."""

    per_million_tokens: str


class ReceiptCharge(msgspec.Struct, frozen=True):
    """What was charged, as a receipt has it."""

    tokens: int


class CallReceipt(msgspec.Struct, frozen=True):
    """What of ``GET /v1/requests/{id}`` is in a leaf."""

    id: str
    model: str
    cost: str
    price: ReceiptPrice
    charge: ReceiptCharge


def receipt_faults(receipt: CallReceipt | None, proof: Proof, document: Document) -> list[str]:
    """Why a receipt is not proved to be in a document; nothing where it is.

    Without a receipt the leaf alone is proved.
    """
    if proof.document != document.name:
        return [f"the proof is for {proof.document}, the document is {document.name}"]
    if not 1 <= proof.line <= len(document.draft.lines):
        return [f"the document has no line {proof.line}"]
    usage = document.draft.lines[proof.line - 1].usage
    if usage is None:
        return [f"line {proof.line} has no calls"]
    faults = []
    if (proof.root, proof.size) != (usage.root, usage.calls):
        faults.append("root or number of calls are not those of the document's line")
    try:
        path, root = [bytes.fromhex(one) for one in proof.path], bytes.fromhex(usage.root)
    except ValueError:
        return [*faults, "the path is not of hashes in hex"]
    if not is_proved(proof.leaf.encode(), proof.index, usage.calls, path, root):
        faults.append("the path does not lead from the leaf to the line's root")
    return faults + ([] if receipt is None else _differences(receipt, proof.leaf))


def _differences(receipt: CallReceipt, leaf: str) -> list[str]:
    fields = leaf.split("\t")
    if len(fields) != _LEAF_FIELDS:
        return [f"a leaf has {_LEAF_FIELDS} facts apart by tabs"]
    said = {
        "id": receipt.id,
        "model": receipt.model,
        "price": str(from_usd(receipt.price.per_million_tokens)),
        "tokens": str(receipt.charge.tokens),
        "cost": str(from_usd(receipt.cost)),
    }
    has = {"id": fields[0], "model": fields[2], "price": fields[4], "tokens": fields[5], "cost": fields[6]}
    return [f"{name}: the receipt has {said[name]}, the leaf {has[name]}" for name in said if said[name] != has[name]]
