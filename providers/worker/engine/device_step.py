"""Runs one step on the device and handles its faults. Called on the model thread only.

Where memory is short, the pack is split and run again, and only an input that fails alone fails. Any other fault fails
the rows of this step only; after several faults in a row, or when the device no longer responds, ``broken`` is set and
the process should end.
"""

import gc
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch

from providers.worker.engine.health import Metrics, Watchdog
from providers.worker.errors import OutputInvalid, StepFailed, WorkerError
from providers.worker.frames import FloatMatrix
from providers.worker.model.tokenizer import Encoded

logger = logging.getLogger("gigarouter.worker")

Row = npt.NDArray[np.float32]
Interrupt = Callable[[], None]

FAULTS_IN_A_ROW_MAX = 3
# A step may take this many times what its tokens should, and never less than the second number.
STEP_PATIENCE = 20
STEP_LIMIT_MIN_S = 60.0
RETRY_AFTER_S = 1.0


class EmbeddingModel(Protocol):
    """What a step needs of a model."""

    def embed(self, pack: Sequence[Encoded], interrupt: Interrupt | None = None) -> FloatMatrix:
        """Embed a pack: [sequences, width] float32."""
        ...

    def filler_tokens(self, tokens: int) -> int:
        """How many tokens are added to a pack of this size."""
        ...

    def is_responsive(self) -> bool:
        """Whether the device still computes."""
        ...


class DeviceSteps:
    """Runs packs on one model."""

    def __init__(self, model: EmbeddingModel, *, watchdog: Watchdog, metrics: Metrics) -> None:
        self.broken = False
        self._model = model
        self._watchdog = watchdog
        self._metrics = metrics
        self._faults = 0
        self._depth = 0

    def run(
        self, rows: Sequence[Encoded], *, tokens_per_s: float, interrupt: Interrupt | None = None
    ) -> tuple[list[Row | WorkerError], bool]:
        """Run a pack. Returns a vector or an error per row, and whether the device ran out of memory on the way."""
        tokens = sum(len(row.ids) for row in rows)
        if not self._depth:
            self._watchdog.begin(max(STEP_LIMIT_MIN_S, STEP_PATIENCE * tokens / tokens_per_s))
        self._depth += 1
        try:
            results, out_of_memory = self._run(rows, interrupt)
        finally:
            self._depth -= 1
            if not self._depth:
                self._watchdog.end_of_step()
        self._metrics.pack_tokens.observe(tokens)
        self._metrics.filler.inc(self._model.filler_tokens(tokens))
        return results, out_of_memory

    def _run(
        self, rows: Sequence[Encoded], interrupt: Interrupt | None, *, again: bool = True
    ) -> tuple[list[Row | WorkerError], bool]:
        try:
            matrix = self._model.embed(rows, interrupt)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as fault:
            if not _is_lack_of_memory(fault):
                return self._fault_rows(rows, fault), False
            self._metrics.faults.labels("memory").inc()
            logger.warning("out of memory in a step of %d inputs", len(rows))
            _free_memory()
            if len(rows) == 1 and again:
                return self._run(rows, None, again=False)[0], True
            if len(rows) == 1:
                message = "The device has too little memory for this input now; send it again later."
                return [StepFailed(message, retry_after_s=RETRY_AFTER_S)], True
            half = len(rows) // 2
            first, _ = self._run(rows[:half], None, again=False)
            second, _ = self._run(rows[half:], None, again=False)
            return first + second, True
        self._faults = 0
        return [_check_vector(row) for row in matrix], False

    def _fault_rows(self, rows: Sequence[Encoded], fault: BaseException) -> list[Row | WorkerError]:
        self._metrics.faults.labels("device").inc()
        self._faults += 1
        logger.error("the device failed a step of %d inputs: %s", len(rows), str(fault).splitlines()[:1])
        if self._faults >= FAULTS_IN_A_ROW_MAX or not self._model.is_responsive():
            self.broken = True
        message = "The device failed this step; send the request again."
        return [StepFailed(message, retry_after_s=RETRY_AFTER_S) for _ in rows]


def _check_vector(row: Row) -> Row | WorkerError:
    """The row, or an error where it has a NaN, an infinity, or the length 0."""
    square = float(np.dot(row, row))
    if square > 0 and np.isfinite(square):
        return row
    return OutputInvalid("The model gave no usable vector for this input.")


def _is_lack_of_memory(fault: BaseException) -> bool:
    if isinstance(fault, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(fault)
    return "can't allocate memory" in text or "not enough memory" in text or "CUBLAS_STATUS_ALLOC_FAILED" in text


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
