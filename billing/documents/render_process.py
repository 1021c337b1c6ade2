"""Renders the documents that come on its standard input, until that ends.

:class:`billing.documents.render.Renderer` starts it. It ends with the process that started it, whose end of the pipe
closes then, when nothing came for a minute, so that its memory is free between months, and by any fault of ours, whose
traceback is on standard error.
"""

import os
import select
import signal
import sys
from collections.abc import Callable
from contextlib import closing

import msgspec

from billing.documents.document import Document, decode
from billing.documents.faults import DocumentRefused
from billing.documents.file_renderer import FileRenderer
from billing.documents.files import DocumentFile
from billing.documents.render_messages import NICENESS, Answer, Refusal, read_message, write_message

IDLE_S = 60.0


def main() -> None:
    """Answer each document."""
    # Ctrl-C in a terminal reaches the whole group; this one ends when the one that started it has.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    # The pipe is this module's: what a library prints goes to standard error.
    documents, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    renderer = FileRenderer()
    with closing(renderer):
        while select.select([documents], [], [], IDLE_S)[0]:
            message = read_message(documents)
            if message is None:
                return
            write_message(answers, msgspec.msgpack.encode(_answer(renderer.render, message)))


def _answer(render: Callable[[Document], list[DocumentFile]], message: bytes) -> Answer:
    try:
        return Answer(files=render(decode(message)))
    except DocumentRefused as refused:
        return Answer(refusal=Refusal(refused.rule, refused.field, refused.message))


if __name__ == "__main__":
    main()
