"""Provider credentials at rest: encrypted under the settings' secret keys and bound to their provider and its host.

The first key encrypts, all of them decrypt, so that a key is rotated by putting a new one in front. What is sealed
names the provider and the host it is for: a token moved to another row, or kept after the URL was changed, opens to
nothing, so a credential never travels to an address it was not given for.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from store.ids import ProviderId


class CredentialUnreadable(Exception):
    """A sealed credential does not open: another secret key, another provider's row, or another host."""


class _Sealed(msgspec.Struct, frozen=True, array_like=True):
    provider: str
    host: str
    secret: str


class Seal:
    """Seals and opens credentials under ``secret_keys`` (url-safe base64 of 32 bytes each, the newest first)."""

    def __init__(self, secret_keys: Sequence[str]) -> None:
        """Raises ``ValueError`` where there is no key or one is not of the form."""
        if not secret_keys:
            raise ValueError("no secret key is set, so provider credentials cannot be kept; set one")
        self._fernet = MultiFernet([Fernet(key) for key in secret_keys])

    def seal(self, provider_id: ProviderId, base_url: str | None, secret: str) -> bytes:
        """The token to store."""
        return self._fernet.encrypt(msgspec.msgpack.encode(_Sealed(provider_id.hex, host_of(base_url), secret)))

    def open(self, provider_id: ProviderId, base_url: str | None, sealed: bytes) -> str:
        """The credential. Raises :class:`CredentialUnreadable`."""
        try:
            found = msgspec.msgpack.decode(self._fernet.decrypt(sealed), type=_Sealed)
        except (InvalidToken, msgspec.DecodeError):
            raise CredentialUnreadable("the credential was sealed under a secret key that is not set") from None
        if (found.provider, found.host) != (provider_id.hex, host_of(base_url)):
            raise CredentialUnreadable("the credential was given for another provider or another host")
        return found.secret


def host_of(base_url: str | None) -> str:
    """Scheme, host and port of a URL: what a credential is bound to."""
    parts = urlsplit(base_url or "")
    return f"{parts.scheme}://{(parts.netloc or '').rpartition('@')[2].lower()}"
