"""Closes a connection whose peer still sends, after the answer has reached it (nginx calls this a lingering close).

To close a socket with unread data in it is to reset the connection, and a reset makes the peer's system drop the answer
that was on its way. So the sending side is closed, what still comes is thrown away for a while, and then it is cut.
"""

import asyncio
from typing import Protocol

from uvicorn.protocols.http.flow_control import FlowControl

LINGER_S = 3.0
LINGER_BYTES = 64 * 1024 * 1024


class ConnectionOwner(Protocol):
    """The protocol that owns the connection."""

    loop: asyncio.AbstractEventLoop
    flow: FlowControl

    @property
    def is_mid_request(self) -> bool:
        """Whether the peer has begun a request that is not all here."""
        ...


class LingeringTransport:
    """Wraps the transport: ``close`` waits until the peer could read the answer."""

    def __init__(self, transport: asyncio.Transport, protocol: ConnectionOwner) -> None:
        self._transport = transport
        self._protocol = protocol
        self._since: float | None = None
        self._discarded = 0
        self.write = transport.write
        self.abort = transport.abort
        self.get_extra_info = transport.get_extra_info
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def is_closing(self) -> bool:
        """Whether nothing more will be answered."""
        return self._since is not None or self._transport.is_closing()

    def close(self) -> None:
        """Close when what was written has left; while the peer is in the middle of a request, not at once."""
        if self._since is not None or self._transport.is_closing():
            return
        if not self._protocol.is_mid_request:
            self._transport.close()
            return
        self._since = self._protocol.loop.time()
        self._protocol.flow.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def discard(self, size: int) -> None:
        """Throws away ``size`` bytes that the peer sent after the answer; aborts past the bound."""
        self._discarded += size
        if self._discarded > LINGER_BYTES:
            self._transport.abort()

    def close_when_overdue(self, now: float) -> None:
        """Closes the connection of a peer that has had :data:`LINGER_S` to stop sending."""
        if self._since is not None and now - self._since > LINGER_S:
            self._transport.close()
