"""An event loop whose time passes at once, and in which a process can be frozen: its callbacks wait until it thaws.

Everything that a process does is told by the context variable :data:`PROCESS`, which its tasks and futures inherit.
Messages between processes and servers wait in wires, which can be cut in each direction alone; what waits comes late.
"""

import asyncio
import selectors
from collections import defaultdict
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any

from typing_extensions import override

PROCESS: ContextVar[str] = ContextVar("PROCESS", default="")
LATENCY_S = 0.0005


class _Skips(selectors.SelectSelector):
    """Waits for nothing: time is set forward to when the next timer is due."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    @override
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing will ever happen any more"
        self.now += timeout
        return []


class _Callback:
    """A callback that is put off while its process is frozen."""

    def __init__(self, loop: "VirtualLoop", function: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.handle: asyncio.Handle | None = None
        self._loop, self._function, self._args = loop, function, args

    def __call__(self) -> None:
        process = PROCESS.get()
        if process in self._loop.frozen:
            self._loop.backlog[process].append((self, copy_context()))
        elif self.handle is None or not self.handle.cancelled():
            self._function(*self._args)


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module."""

    def __init__(self) -> None:
        self._skips = _Skips()
        self.frozen: set[str] = set()
        self.backlog: dict[str, list[tuple[_Callback, Context]]] = defaultdict(list)
        # A connection that its process has given up still carries what was sent.
        self.wires: list[Wire] = []
        super().__init__(self._skips)

    @override
    def time(self) -> float:
        return self._skips.now

    @override
    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        wrapped = _Callback(self, callback, args)
        wrapped.handle = super().call_soon(wrapped, context=context)
        return wrapped.handle

    @override
    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        wrapped = _Callback(self, callback, args)
        handle = super().call_at(when, wrapped, context=context)
        wrapped.handle = handle
        return handle

    def freeze(self, process: str) -> None:
        self.frozen.add(process)

    def thaw(self, process: str) -> None:
        self.frozen.discard(process)
        for callback, context in self.backlog.pop(process, []):
            super().call_soon(callback, context=context)

    def start(self, process: str, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Run a coroutine as a part of a process."""
        context = copy_context()
        context.run(PROCESS.set, process)
        return self.create_task(work, context=context)


class Gate:
    """What can be shut: a direction of a link, or a server that is frozen."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()

    def set(self, *, is_open: bool) -> None:
        if is_open:
            self._open.set()
        else:
            self._open.clear()

    async def passed(self) -> None:
        await self._open.wait()


class Link:
    """The way between one process and one server."""

    def __init__(self, server: Gate) -> None:
        self.to_server, self.from_server, self.server = Gate(), Gate(), server


class Wire:
    """A connection: requests are done in their order, each as one step of the server; replies come in that order."""

    def __init__(self, loop: VirtualLoop, link: Link) -> None:
        self._link = link
        self._requests: asyncio.Queue[tuple[Callable[[], Any], asyncio.Future[Any]]] = asyncio.Queue()
        self._replies: asyncio.Queue[tuple[asyncio.Future[Any], Any, Exception | None]] = asyncio.Queue()
        self._tasks = [loop.start("", self._carry_requests()), loop.start("", self._carry_replies())]
        loop.wires.append(self)

    def request(self, step: Callable[[], Any]) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._requests.put_nowait((step, future))
        return future

    async def _carry_requests(self) -> None:
        while True:
            step, future = await self._requests.get()
            await asyncio.sleep(LATENCY_S)
            await self._link.to_server.passed()
            await self._link.server.passed()
            try:
                self._replies.put_nowait((future, step(), None))
            except Exception as fault:  # noqa: BLE001 - it is the reply
                self._replies.put_nowait((future, None, fault))

    async def _carry_replies(self) -> None:
        while True:
            future, reply, fault = await self._replies.get()
            await asyncio.sleep(LATENCY_S)
            await self._link.from_server.passed()
            if future.done():
                continue
            if fault is not None:
                future.set_exception(fault)
            else:
                future.set_result(reply)
