"""Prints what `up` would have mailed, a line for each new mail, so that a sign-in code is where its reader looks."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mail.folder import read_folder

# So many of what came since the last look are printed.
AT_MOST = 10


class MailWatch:
    """Looks into the folder of mails. ``say`` prints a line; ``page`` is where mails are read."""

    def __init__(self, path: Path, say: Callable[[str], None], page: str) -> None:
        self._path, self._say, self._page = path, say, page
        self._seen = {mail.name for mail in read_folder(path, at_most=AT_MOST)}
        self._changed_at = 0

    def look(self) -> None:
        """Print what is new. A file that cannot be read is no reason to end."""
        with suppress(OSError):
            changed_at = self._path.stat().st_mtime_ns
            if changed_at == self._changed_at:
                return
            fresh = [mail for mail in read_folder(self._path, at_most=AT_MOST) if mail.name not in self._seen]
            for mail in reversed(fresh):
                self._seen.add(mail.name)
                self._say(f"Mail to {mail.to}: {mail.subject}   ({self._page})")
            self._changed_at = changed_at
