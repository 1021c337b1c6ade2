"""Checks the XML of invoices by EN 16931's rules, as they come on its standard input, until that ends.

:class:`billing.documents.checker.Checker` starts it. It imports neither typst nor factur-x: Saxon's heap is all of it.
"""

import os
import signal
import sys

import msgspec

from billing.documents.faults import DocumentRefused
from billing.documents.render_messages import NICENESS, Answer, Refusal, WrittenXml, read_message, write_message
from billing.documents.schematron import SchematronChecker


def main() -> None:
    """Answer each document's XML."""
    # Ctrl-C in a terminal reaches the whole group; this one ends when the one that started it has.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    # The pipe is this module's: what a library prints goes to standard error.
    documents, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    checker = SchematronChecker()
    while (message := read_message(documents)) is not None:
        answer = _check(checker, msgspec.msgpack.decode(message, type=WrittenXml))
        write_message(answers, msgspec.msgpack.encode(answer))


def _check(checker: SchematronChecker, written: WrittenXml) -> Answer:
    try:
        # UBL first: its rules have EN 16931's names.
        checker.check("ubl-2.1", written.ubl)
        checker.check("factur-x", written.cii)
    except DocumentRefused as refused:
        return Answer(refusal=Refusal(refused.rule, refused.field, refused.message))
    return Answer()


if __name__ == "__main__":
    main()
