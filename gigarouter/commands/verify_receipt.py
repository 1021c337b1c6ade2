"""`gigarouter verify-receipt`: proves offline that a call is in an invoice. Needs no server and no key."""

from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import typer

from billing.documents.document import Document
from billing.documents.receipts import CallReceipt, Proof, receipt_faults
from store.faults import CannotStart

T = TypeVar("T")
NOT_PROVED = 1


def command(
    document: Annotated[
        Path, typer.Argument(help="The document's JSON: GET /v1/account/documents/{number}/files/json.")
    ],
    proof: Annotated[Path, typer.Argument(help="GET /v1/account/documents/{number}/proofs/{request_id}.")],
    receipt: Annotated[
        Path | None, typer.Argument(help="GET /v1/requests/{request_id}; without it the proof's own leaf is proved.")
    ] = None,
) -> None:
    """Prove that a call's receipt is in an invoice; exits with 1 and says why where it is not."""
    issued, path = _read(document, Document), _read(proof, Proof)
    try:
        faults = receipt_faults(None if receipt is None else _read(receipt, CallReceipt), path, issued)
    except ValueError as fault:
        raise CannotStart(f"{receipt} is no receipt: {fault}.") from fault
    for sentence in faults:
        typer.secho(f"Not proved: {sentence}.", err=True, fg="red")
    if faults:
        raise typer.Exit(NOT_PROVED)
    usage = issued.draft.lines[path.line - 1].usage
    assert usage is not None, "a proved line has usage; this is a bug"
    typer.echo(f"Proved: {path.leaf.split(chr(9))[0]} is call {path.index + 1} of {usage.calls} on line {path.line}")
    typer.echo(f"of {issued.name}, whose root is {usage.root}.")


def _read(file: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except OSError as fault:
        raise CannotStart(f"{file} cannot be read: {fault.strerror}.") from fault
    except msgspec.DecodeError as fault:
        raise CannotStart(f"{file} is not a {kind.__name__}: {fault}.") from fault
