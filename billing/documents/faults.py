"""Pure. Why a document is not issued: the rule that it fails, and the field; or that another one comes first."""


class DocumentRefused(Exception):
    """A document fails a rule; ``field`` is of the document, or a business term of EN 16931 such as BT-31."""

    def __init__(self, rule: str, field: str, message: str) -> None:
        super().__init__(f"{rule} ({field}): {message}")
        self.rule = rule
        self.field = field
        self.message = message


class DocumentWaits(Exception):
    """A document cannot be issued yet: another one has to be first."""
