"""``python -m bench.gpu.faulty_worker``: the worker, but the ids of :data:`TRIGGER` make its device fail.

On a GPU the trigger becomes an id that the embedding table has no row for, which is a real device assert: the context
is lost and every later call fails. A CPU raises an ordinary error for it, so there the device is made to look lost.
"""

import sys
from collections.abc import Callable, Sequence

from providers.worker import process as worker
from providers.worker.frames import FloatMatrix
from providers.worker.model.encoder import Encoder
from providers.worker.model.tokenizer import Encoded

# The first ids of the text that is the device's last; no text of ours is tokenized like that.
TRIGGER = [3, 1, 4, 1, 5, 9, 2, 6]
NO_SUCH_ROW = 1 << 24
LOST = "CUDA error: device-side assert triggered"

_embed = Encoder.embed
_answers = Encoder.is_responsive


class Device:
    """Whether the fault has come."""

    lost = False


def embed(self: Encoder, pack: Sequence[Encoded], interrupt: Callable[[], None] | None = None) -> FloatMatrix:
    """As the encoder does, until the trigger."""
    if not any(row.ids[: len(TRIGGER)] == TRIGGER for row in pack):
        return _embed(self, pack, interrupt)
    if self._device.type != "cuda":
        Device.lost = True
        raise RuntimeError(LOST)
    return _embed(self, [Encoded(ids=[NO_SUCH_ROW] * len(row.ids)) for row in pack], interrupt)


def answers(self: Encoder) -> bool:
    """A lost device answers nothing."""
    return not Device.lost and _answers(self)


if __name__ == "__main__":
    Encoder.embed = embed  # type: ignore[method-assign]
    Encoder.is_responsive = answers  # type: ignore[method-assign]
    sys.exit(worker.main())
