"""What our own worker says of itself at ``GET /info``: the facts that tell whether it may vouch for a vector space."""

import msgspec

from providers.outcomes import Broken


class WorkerBuild(msgspec.Struct, frozen=True):
    """How it computes. ``derived`` names what was done to the published weights; None for nothing."""

    dtype: str
    derived: str | None = None


class WorkerIdentity(msgspec.Struct, frozen=True):
    """``weights_sha256`` is over the SHA-256 of each weight file; ``pooling`` in the words of sentence-transformers."""

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
    """Raises Broken for what is not a worker's answer."""
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Broken(detail="an identity that cannot be read") from error
