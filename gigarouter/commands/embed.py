"""`gigarouter embed`: the vectors of a few texts, for a first look or a script."""

from typing import Annotated, Any

import msgspec
import typer

from gigarouter.commands.account.client import client
from gigarouter.commands.admin.client import Call
from gigarouter.commands.admin.generate import EXIT_CODES, FAILED, fail

SHOWN = 4


def command(
    model: Annotated[str, typer.Argument(help="The model, by id or alias.")],
    texts: Annotated[list[str], typer.Argument(help="The texts, each in quotes.")],
    dimensions: Annotated[int | None, typer.Option(help="Shorten vectors to so many numbers.")] = None,
    input_type: Annotated[str | None, typer.Option(help="query or document: the model's prompt goes first.")] = None,
    summary: Annotated[
        bool, typer.Option("--summary", help="Only how long the vectors are and how they begin.")
    ] = False,
) -> None:
    """Print the answer of `POST /v1/embeddings` as JSON; the call is charged like any other."""
    body: dict[str, Any] = {"model": model, "input": texts}
    body |= {"dimensions": dimensions} if dimensions is not None else {}
    body |= {"input_type": input_type} if input_type is not None else {}
    reply = client().send(Call(method="POST", path="/v1/embeddings", body=body))
    if reply.is_error:
        error = reply.answer.get("error", {}) if isinstance(reply.answer, dict) else {}
        fail(error.get("message") or f"The API answered {reply.status}.", EXIT_CODES.get(reply.status, FAILED))
    if not summary:
        typer.echo(msgspec.json.encode(reply.answer).decode())
        return
    for text, row in zip(texts, reply.answer["data"], strict=True):
        vector = row["embedding"]
        beginning = " ".join(f"{number:.4f}" for number in vector[:SHOWN])
        typer.echo(f"{len(vector)} dimensions: {beginning} …  {text}")
