"""The one error of the embedded servers."""


class CannotStart(Exception):
    """A server of ours cannot start; the message is one sentence for the person at the terminal."""
