"""Pure. Why a document is not issued: the rule that it fails, and the field; or that another one comes first."""


class DocumentRefused(Exception):
    """A document fails a rule; ``field`` is of the document, or a business term of EN 16931 such as BT-31."""

    def __init__(self, rule: str, field: str, message: str) -> None:
        super().__init__(f"{rule} ({field}): {message}")
        self.rule = rule
        self.field = field
        self.message = message


class DocumentCarried(Exception):
    """An invoice is too small to be collected, and its month will be on a later one.

    ``drawn`` is what of it is unbilled; 0: it is on one already.
    """

    def __init__(self, message: str, drawn: int) -> None:
        super().__init__(message)
        self.drawn = drawn


class DocumentWaits(Exception):
    """A document cannot be issued yet: another one, or a booking, has to be first."""
