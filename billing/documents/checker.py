"""Has XML checked by a process of its own, so that Saxon's heap and typst's fonts are not one process's memory.

Saxon grows to some 250 MB and gives little back; pages and their XML take 130. Beside each other, a document's PDF is
put together while its XML is checked.
"""

import subprocess
import sys
from contextlib import suppress

import msgspec

from billing.documents.faults import DocumentRefused
from billing.documents.render_messages import Answer, WrittenXml, read_message, write_message

_MODULE = "billing.documents.check_process"


class Checker:
    """The process that checks; it ends with the one that started it, whose end of the pipe closes then."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", _MODULE]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - ours

    def start(self, written: WrittenXml) -> None:
        """Let a document's XML be checked; each is followed by :meth:`finish`."""
        assert self._process.stdin is not None, "it was started with a pipe"
        write_message(self._process.stdin, msgspec.msgpack.encode(written))

    def finish(self) -> None:
        """Raise :class:`DocumentRefused` for the first rule that was broken, and ``EOFError`` where it has ended."""
        assert self._process.stdout is not None, "it was started with a pipe"
        message = read_message(self._process.stdout)
        if message is None:
            raise EOFError(f"{_MODULE} ended while it checked a document")
        refusal = msgspec.msgpack.decode(message, type=Answer).refusal
        if refusal is not None:
            raise DocumentRefused(refusal.rule, refusal.field, refusal.message)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        with suppress(OSError):
            self._process.communicate()
