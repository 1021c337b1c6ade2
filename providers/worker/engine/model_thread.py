"""The one thread that touches the device: it loads the model, and then runs it."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class ModelThread:
    """Runs functions on one thread, one after the other.

    Each thread that computes gets helpers of its own from the OpenMP library, and once there are more of them than
    cores they sleep at every barrier instead of waiting for it: loading and running on one thread was measured at 1.2
    to 1.4 times the speed on two cores. The thread is a daemon, unlike an executor's, so that Ctrl-C ends a download.
    """

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Run ``work`` after all earlier work; the future gets its result or its exception."""
        future: Future[T] = Future()

        def step() -> None:
            try:
                future.set_result(work())
            except Exception as error:  # noqa: BLE001 - who awaits the future gets it
                future.set_exception(error)

        self._waiting.put(step)
        return future

    def end(self) -> None:
        """Finish all earlier work and end the thread."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (step := self._waiting.get()) is not None:
            step()
