"""Pure. Reads what our own worker answers at ``GET /info``: the facts by which it may vouch for a vector space."""

import msgspec

from providers.outcomes import Broken


class WorkerBuild(msgspec.Struct, frozen=True):
    """How a worker computes. ``derived`` names what was done to the published weights; None for nothing."""

    dtype: str
    derived: str | None = None


class WorkerIdentity(msgspec.Struct, frozen=True):
    """Which weights a worker serves. ``weights_sha256`` is over the SHA-256 of each file.

    ``pooling`` has the names of sentence-transformers.
    """

    model: str
    revision: str | None
    space: str
    weights_sha256: str
    dimensions: int
    pooling: tuple[str, ...]
    normalized: bool
    prompts: dict[str, str]
    build: WorkerBuild


_DECODER = msgspec.json.Decoder(WorkerIdentity)


def read_identity(body: bytes | bytearray) -> WorkerIdentity:
    """Read the body of ``GET /info``. Raises Broken where it is no worker's answer."""
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Broken(detail="an identity that cannot be read") from error
