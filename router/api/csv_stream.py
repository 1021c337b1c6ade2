"""Answers CSV that Postgres writes, as it comes; nothing of it is kept in memory."""

from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from router.api.operation import CSV
from router.errors import StoreUnavailable
from store.postgres import STORE_FAULTS

Take = Callable[[bytes], Awaitable[None]]


class CsvStream(Response):
    """A response whose body ``copy`` gives to the function that it gets.

    Where Postgres cannot be read before anything was sent it is ``StoreUnavailable``; later the connection breaks off,
    so that nobody takes a part for the whole.
    """

    def __init__(self, copy: Callable[[Take], Awaitable[None]], filename: str) -> None:
        super().__init__(media_type=CSV)
        self._copy = copy
        self.headers["cache-control"] = "no-store"
        self.headers["content-disposition"] = f'attachment; filename="{filename}"'
        del self.headers["content-length"]

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the head with the first block."""
        begun = False

        async def take(block: bytes) -> None:
            nonlocal begun
            if not begun:
                begun = True
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": block, "more_body": True})

        try:
            await self._copy(take)
        except STORE_FAULTS as fault:
            if begun:
                raise
            raise StoreUnavailable(
                "This cannot be read right now. Try again in a moment.", retry_after_s=1, detail=str(fault)
            ) from fault
        await send({"type": "http.response.body", "body": b""})
