"""Frames the messages to and from the processes that render and check: four bytes of length, then MessagePack.

One way goes a document as :func:`billing.documents.document.encode` writes it, the other way an :class:`Answer`.
"""

from typing import IO

import msgspec

from billing.documents.files import DocumentFile

_LENGTH_BYTES = 4

# Of the processes that render and check: customers' calls go first where cores are scarce.
NICENESS = 10


class Refusal(msgspec.Struct, frozen=True):
    """The rule that a document fails, the field, and why."""

    rule: str
    field: str
    message: str


class WrittenXml(msgspec.Struct, frozen=True):
    """A document in both syntaxes, to be checked."""

    ubl: bytes
    cii: bytes


class Answer(msgspec.Struct, frozen=True):
    """What became of a document: its files, or its refusal."""

    files: list[DocumentFile] = []
    refusal: Refusal | None = None


def write_message(pipe: IO[bytes], message: bytes) -> None:
    """Send a message. Raises ``OSError`` where nobody reads."""
    pipe.write(len(message).to_bytes(_LENGTH_BYTES) + message)
    pipe.flush()


def read_message(pipe: IO[bytes]) -> bytes | None:
    """The next message; None where the other end has ended, be it in the middle of one."""
    head = pipe.read(_LENGTH_BYTES)
    if len(head) < _LENGTH_BYTES:
        return None
    size = int.from_bytes(head)
    message = pipe.read(size)
    return message if len(message) == size else None
