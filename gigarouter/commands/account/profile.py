"""Keeps what `gigarouter login` got: the address and the management key, in the user's configuration folder.

The file is the user's alone (0600), and is replaced whole.
"""

import tempfile
from pathlib import Path

import msgspec

from gigarouter import settings
from store.faults import CannotStart


class Profile(msgspec.Struct, frozen=True):
    """One login."""

    url: str
    key: str
    account: str
    scopes: tuple[str, ...]
    expires_at: str


def profile_file() -> Path:
    """Where it is."""
    return settings.load().config_dir.expanduser() / "login.json"


def read_profile() -> Profile | None:
    """The login, if there is one. Raises ``CannotStart`` for a file that cannot be read."""
    try:
        return msgspec.json.decode(profile_file().read_bytes(), type=Profile)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as fault:
        raise CannotStart(f"{profile_file()} cannot be read: {fault}. `gigarouter login` makes it anew.") from fault


def write_profile(profile: Profile) -> Path:
    """Keep a login in the place of the one before. Raises ``CannotStart``."""
    path = profile_file()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Made with 0600: the key is never in a file that others can read.
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".login-", delete=False) as part:
            part.write(msgspec.json.format(msgspec.json.encode(profile), indent=1) + b"\n")
        Path(part.name).replace(path)
    except OSError as fault:
        raise CannotStart(f"{path} cannot be written: {fault.strerror}.") from fault
    return path


def delete_profile() -> None:
    """Forget the login."""
    profile_file().unlink(missing_ok=True)
