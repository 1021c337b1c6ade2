"""``python -m bench.gpu.saturate PORT TEXTS CALLERS``: keep a worker's batch lane full until standard input ends.

It writes a line when the first answer has come, and at the end what the answers held.
"""

import http.client
import json
import sys
import threading
import time
from pathlib import Path

import msgspec

from providers.worker import frames


class Tally:
    """What the callers have had so far."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.tokens = 0
        self.refused = 0
        self.first = threading.Event()
        self.over = threading.Event()

    def answered(self, tokens: int) -> None:
        with self.lock:
            self.tokens += tokens
        self.first.set()


def call(port: int, body: bytes, tally: Tally) -> None:
    """One request after the other on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    while not tally.over.is_set():
        connection.request("POST", "/embed", body, {"content-type": frames.REQUEST_TYPE})
        answer = connection.getresponse()
        content = answer.read()
        if answer.status == 200:
            tally.answered(sum(frames.decode_answer(content)[0].tokens))
        else:
            tally.refused += 1
            time.sleep(0.05)
    connection.close()


def main() -> int:
    port, texts, callers = int(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()), int(sys.argv[3])
    body = msgspec.msgpack.encode({"texts": texts, "lane": "batch"})
    tally = Tally()
    for _ in range(callers):
        threading.Thread(target=call, args=(port, body, tally), daemon=True).start()
    tally.first.wait(120)
    began, before = time.perf_counter(), tally.tokens
    print("began", flush=True)
    sys.stdin.read()
    seconds = time.perf_counter() - began
    summary = {"batch_tokens_per_s": (tally.tokens - before) / seconds, "batch_refused": tally.refused}
    print(json.dumps(summary), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
