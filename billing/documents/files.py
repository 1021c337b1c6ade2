"""Pure. A document's files as values, each with its hash."""

from hashlib import sha256

import msgspec


class DocumentFile(msgspec.Struct, frozen=True):
    """One of a document's files: ``pdf``, ``json``, ``csv``, ``ubl``, ``facturx``."""

    format: str
    media: str
    content: bytes
    sha256: bytes


def file_of(format: str, media: str, content: bytes) -> DocumentFile:
    """A file with its hash."""
    return DocumentFile(format, media, content, sha256(content).digest())
