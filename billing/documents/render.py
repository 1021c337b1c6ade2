"""Has documents rendered and checked by a process of its own, which is started with the first one and ends when idle.

So neither the memory of 300 MB nor the lock of Python's interpreter, which the making of a PDF holds, is the jobs
process': its other jobs go on while a month's documents are issued.
"""

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import msgspec

from billing.documents.document import Document, encode
from billing.documents.faults import DocumentRefused
from billing.documents.files import DocumentFile
from billing.documents.render_messages import Answer, read_message, write_message

_MODULE = "billing.documents.render_process"


class RendererFailed(Exception):
    """The process that renders ended twice with one document; its standard error says why, if it could."""


class Renderer:
    """Renders and checks documents, one at a time."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="documents")
        self._process: subprocess.Popen[bytes] | None = None

    async def render(self, document: Document) -> list[DocumentFile]:
        """All files of a document.

        Raises :class:`DocumentRefused`, which names the rule and the field, and :class:`RendererFailed`.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._render, document)

    def render_now(self, document: Document) -> list[DocumentFile]:
        """The same, and waits for it."""
        return self._thread.submit(self._render, document).result()

    def close(self) -> None:
        """End the process, once what it renders is rendered."""
        self._thread.shutdown()
        self._end()

    def _render(self, document: Document) -> list[DocumentFile]:
        message = encode(document)
        # It ends when it is idle, and an operating system that is out of memory ends it: then another does it.
        answered = self._ask(message) or self._ask(message)
        if answered is None:
            raise RendererFailed(f"{_MODULE} ended while it rendered {document.name}")
        answer = msgspec.msgpack.decode(answered, type=Answer)
        if answer.refusal is not None:
            raise DocumentRefused(answer.refusal.rule, answer.refusal.field, answer.refusal.message)
        return answer.files

    def _ask(self, message: bytes) -> bytes | None:
        """The answer; None where the process ended instead."""
        if self._process is None:
            self._process = _start()
        assert self._process.stdin is not None, "it was started with a pipe"
        assert self._process.stdout is not None, "it was started with a pipe"
        answer = None
        with suppress(OSError):
            write_message(self._process.stdin, message)
            answer = read_message(self._process.stdout)
        if answer is None:
            self._end()
        return answer

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            with suppress(OSError):
                self._process.communicate()
            self._process = None


def _start() -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", _MODULE]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - this very program
