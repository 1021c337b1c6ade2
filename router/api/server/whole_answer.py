"""Gathers an answer of unknown length for a client of HTTP/1.0, which has no chunks, and sends it with its length.

uvicorn would send chunks to such a client. All answers but the largest vectors say their length and pass untouched.
"""

from router.api.exchange import Message, Send

_WITHOUT_BODY = (204, 304)


class WholeAnswer:
    """The ``send`` of one request."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._pieces: list[bytes] = []

    async def __call__(self, message: Message) -> None:
        """Takes the answer's messages in order, passes on or keeps each."""
        if message["type"] == "http.response.start" and not _says_its_length(message):
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            self._pieces.append(message.get("body", b""))
            if not message.get("more_body", False):
                await self._send_whole(self._start, b"".join(self._pieces))

    async def _send_whole(self, start: Message, body: bytes) -> None:
        self._start = None
        self._pieces.clear()
        headers = [*start.get("headers", ()), (b"content-length", b"%d" % len(body))]
        await self._send({**start, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def _says_its_length(start: Message) -> bool:
    return start["status"] in _WITHOUT_BODY or any(name == b"content-length" for name, _ in start.get("headers", ()))
