"""The worker's metrics, and a watchdog that ends a process whose device hangs."""

import logging
import os
import threading
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

logger = logging.getLogger("gigarouter.worker")

# EX_SOFTWARE: the supervisor starts the process again.
EXIT_WEDGED = 70
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)


class Metrics:
    """The metrics of one engine, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        name = "gigarouter_worker_"
        own = self.registry
        self.requests = Counter(f"{name}requests", "Requests by how they ended.", ["outcome"], registry=own)
        self.tokens = Counter(f"{name}tokens", "Tokens embedded, special tokens included.", ["lane"], registry=own)
        self.filler = Counter(
            f"{name}filler_tokens", "Tokens computed for nobody, to bring a tiny pack to size.", registry=own
        )
        self.wasted = Counter(f"{name}canceled_tokens", "Tokens embedded for callers who had left.", registry=own)
        self.truncated = Counter(f"{name}truncated_inputs", "Inputs cut to the model's length, as asked.", registry=own)
        self.faults = Counter(f"{name}device_faults", "Steps that the device failed.", ["kind"], registry=own)
        self.interruptions = Counter(f"{name}interruptions", "Short packs run inside a long one.", registry=own)
        self.busy = Counter(f"{name}busy_seconds", "Time that the device computed.", registry=own)
        self.pack_tokens = Histogram(f"{name}pack_tokens", "Tokens per step.", buckets=_TOKENS, registry=own)
        self.stages = Histogram(
            f"{name}stage_seconds", "Time of a request per stage.", ["stage"], buckets=_SECONDS, registry=own
        )
        self.queue_tokens = Gauge(f"{name}queue_tokens", "Tokens that wait.", ["lane"], registry=own)
        self.queue_requests = Gauge(f"{name}queue_requests", "Requests that wait.", ["lane"], registry=own)
        self.rate = Gauge(f"{name}tokens_per_second", "What the device does when it is busy.", registry=own)
        self.budget = Gauge(f"{name}pack_budget_tokens", "The largest step now.", registry=own)

    def exposition(self) -> bytes:
        """The text that ``/metrics`` answers."""
        return generate_latest(self.registry)


class Watchdog:
    """Ends the process when a step takes longer than its limit, since a hung device takes no more commands."""

    def __init__(self, clock: Callable[[], float], end: Callable[[int], None] = os._exit) -> None:
        self._clock = clock
        self._end = end
        self._due: float | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stopped.set()
        self._thread.join()

    def begin(self, limit_s: float) -> None:
        """Note that a step begins, which must end within ``limit_s``."""
        self._due = self._clock() + limit_s

    def end_of_step(self) -> None:
        """Note that the step has ended."""
        self._due = None

    def _watch(self) -> None:
        while not self._stopped.wait(0.5):
            due = self._due
            if due is not None and self._clock() > due:
                logger.critical("the device did not finish a step in time; ending the process for its supervisor")
                self._end(EXIT_WEDGED)
                return
