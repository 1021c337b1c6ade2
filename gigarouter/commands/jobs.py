"""`gigarouter jobs`: the background jobs in this process."""

from gigarouter import settings
from gigarouter.jobs import run


def command() -> None:
    """Reap overdue holds and check the books until SIGTERM."""
    run(settings.load())
