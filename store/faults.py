"""Pure. The errors that keep a process of ours from starting; each message is a sentence for the terminal."""


class CannotStart(Exception):
    """Base; ``gigarouter`` prints the message without a traceback and exits with 1."""


class Unavailable(CannotStart):
    """Something ended, does not answer or found no room. The same may succeed in a moment, unlike any other refusal."""


class Killed(Unavailable):
    """A program that was started was killed from outside, which says nothing of the next try."""


class UnsafeServer(CannotStart):
    """The configuration of a server could lose money."""
