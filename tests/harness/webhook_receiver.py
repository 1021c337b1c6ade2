"""A customer's server that receives webhooks: keeps what came, and answers as it is told, call by call."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook
from typing_extensions import override


class Received:
    """One delivery as it came."""

    def __init__(self, path: str, headers: dict[str, str], body: bytes) -> None:
        self.path = path
        self.headers = headers
        self.body = body

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def read(self, secret: str) -> Any:
        """The event, verified by the standard's own library. Raises where the signature is another's."""
        return Webhook(secret).verify(self.body, self.headers)


class Receiver:
    """``answers`` are statuses of the next calls, 200 after them; ``hold`` makes calls wait until it is released."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/hooks/"
        self.received: list[Received] = []
        self.answers: deque[int] = deque()
        self.hold = threading.Event()
        self.hold.set()

    def of(self, kind: str, secret: str) -> list[Received]:
        """The deliveries of a type, which are all verified."""
        return [one for one in list(self.received) if one.read(secret)["type"] == kind]


@contextmanager
def webhook_receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.received.append(Received(self.path, {name.lower(): v for name, v in self.headers.items()}, body))
            receiver.hold.wait(60)
            status = receiver.answers.popleft() if receiver.answers else 200
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("location", "/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        @override
        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(server.server_port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()
