"""A worker of its own process that loses its device, and one that is told to stop while everybody asks.

Each caller opens a connection per request, so that what was sent before the event can be told from what came after.
"""

import http.client
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import msgspec

from bench.gpu.faulty_worker import TRIGGER
from bench.gpu.load import start_server
from bench.gpu.session import Figures, Session
from bench.worker import model
from bench.worker.contenders import Ours
from providers.worker import frames

CALLERS = 6
EXIT_S = 40.0


class Sent(msgspec.Struct, frozen=True):
    """One request: when it was sent, and how it ended: a status, ``refused`` at the door, or ``cut`` off."""

    at: float
    outcome: str


class Callers:
    """Threads that send one request after the other until they are stopped, or the door is shut."""

    def __init__(self, ours: Ours, body: bytes) -> None:
        self.sent: list[Sent] = []
        self._ours = ours
        self._body = body
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(CALLERS)
        self._running = [self._pool.submit(self._call) for _ in range(CALLERS)]

    def end(self) -> list[Sent]:
        """Stop and give what was sent, in order."""
        self._over.set()
        for running in self._running:
            running.result()
        self._pool.shutdown()
        return sorted(self.sent, key=lambda one: one.at)

    def _call(self) -> None:
        while not self._over.is_set():
            at = time.monotonic()
            outcome = send(self._ours, self._body)
            self.sent.append(Sent(at, outcome))
            if outcome == "refused":
                return


def send(ours: Ours, body: bytes) -> str:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", ours.port, timeout=60)
    try:
        connection.request("POST", "/embed", body, {"content-type": frames.REQUEST_TYPE})
        answer = connection.getresponse()
        answer.read()
    except ConnectionRefusedError:
        return "refused"
    except TimeoutError:
        return "hung"
    except (OSError, http.client.HTTPException):
        return "cut"
    finally:
        connection.close()
    return str(answer.status)


def device_assert(session: Session) -> Figures:
    """The trigger's request and those beside it get an answer, none hangs, and the process ends with 70."""
    ours = start_server(session, module="bench.gpu.faulty_worker")
    try:
        callers = Callers(ours, _body(session))
        time.sleep(session.amount.load_s / 2)
        ids = [*TRIGGER, *range(10, 30)]
        at = time.monotonic()
        outcome = send(ours, msgspec.msgpack.encode({"token_ids": [ids]}))
        code, seconds = _exit(ours, at)
        sent = callers.end()
    finally:
        ours.close()
    yield (
        "outcome",
        {
            "real": session.on_gpu,
            "exit_code": code,
            "exit_s": seconds,
            "trigger": outcome,
            "before": _tally([one for one in sent if one.at < at]),
            "after": _tally([one for one in sent if one.at >= at]),
            "hung": sum(one.outcome == "hung" for one in sent),
        },
    )


def terminate(session: Session) -> Figures:
    """All that was sent before the signal is answered, and the process ends with 0."""
    ours = start_server(session)
    try:
        callers = Callers(ours, _body(session))
        time.sleep(session.amount.load_s / 2)
        at = time.monotonic()
        ours.process.send_signal(signal.SIGTERM)
        code, seconds = _exit(ours, at)
        sent = callers.end()
    finally:
        ours.close()
    before = [one for one in sent if one.at < at]
    yield (
        "outcome",
        {
            "exit_code": code,
            "exit_s": seconds,
            "before": _tally(before),
            "after": _tally([one for one in sent if one.at >= at]),
            "lost": sum(one.outcome != "200" for one in before),
        },
    )


def _body(session: Session) -> bytes:
    lengths = session.skewed_lengths(max(4, session.amount.texts_of_batch // 4))
    return msgspec.msgpack.encode({"texts": model.texts_of(lengths, seed=4), "lane": "batch"})


def _exit(ours: Ours, since: float) -> tuple[int | None, float]:
    """The exit code and how long it took; None where the process does not end."""
    code: int | None = None
    while code is None and time.monotonic() - since < EXIT_S:
        code = ours.process.poll()
        time.sleep(0.02)
    return code, time.monotonic() - since


def _tally(sent: list[Sent]) -> str:
    """As ``200: 12, 503: 3``."""
    return ", ".join(f"{outcome}: {number}" for outcome, number in sorted(Counter(one.outcome for one in sent).items()))
