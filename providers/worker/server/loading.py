"""Answers every request while the model loads: 503 ``model_warming`` with Retry-After.

So a caller can tell a worker that starts from one that is gone, and a taken port is found before minutes of loading. It
is a thread of its own that does one short exchange at a time; the server proper takes over the same socket.
"""

import contextlib
import re
import socket
import threading
from types import TracebackType
from typing import Final, Self

RETRY_AFTER_S: Final = 2
ACCEPT_S: Final = 0.2
PEER_S: Final = 1.0
REQUEST_BYTES_MAX: Final = 16 << 20

BODY: Final = (
    b'{"status":"warming","error":{"message":"The model is being loaded.","type":"server_error",'
    b'"code":"model_warming","param":null}}'
)
_ANSWER: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: %d\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b"
) % (RETRY_AFTER_S, len(BODY), BODY)
_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length:[ \t]*([0-9]{1,9})\r\n")


class LoadingResponder:
    """Answers on a listening socket until its ``with`` block ends."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="loading", daemon=True)

    def __enter__(self) -> Self:
        self._listener.settimeout(ACCEPT_S)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        self._listener.settimeout(None)

    def _serve(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(OSError):
                peer, _ = self._listener.accept()
                with peer:
                    peer.settimeout(PEER_S)
                    _exchange(peer)


def _exchange(peer: socket.socket) -> None:
    """Read the request to its end, or a reset would lose the answer; then answer and close."""
    received = b""
    while (end := received.find(b"\r\n\r\n")) < 0 and len(received) < REQUEST_BYTES_MAX:
        if not (piece := peer.recv(1 << 16)):
            return
        received += piece
    length = _LENGTH.search(received[: end + 2])
    remaining = min(REQUEST_BYTES_MAX, int(length[1]) if length else 0) - (len(received) - end - 4)
    while remaining > 0 and (piece := peer.recv(1 << 16)):
        remaining -= len(piece)
    peer.sendall(_ANSWER)
    peer.shutdown(socket.SHUT_WR)
    peer.recv(1)
