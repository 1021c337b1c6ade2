"""What keeps a process of ours from starting. Each message is a sentence for the person at the terminal."""


class CannotStart(Exception):
    """Base; ``gigarouter`` prints the message without a traceback and exits with 1."""


class Unfit(CannotStart):
    """A server that we were given is set up so that money could be lost."""
