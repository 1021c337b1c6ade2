"""Provider credentials at rest: each encrypted under a data key of its own, which the settings' secret keys wrap.

The first secret key wraps, all of them unwrap, so that a key is rotated by putting a new one in front, wrapping again
(:meth:`CredentialCipher.rewrap`) and taking the old one out; what a data key encrypts stays as it is. What is sealed
is bound to the provider and the host it is for, or the vendor where its library knows the host: moved to another row,
or kept after the URL or the vendor was changed, it opens to nothing, so a credential never travels to where it was
not given for.
"""

import secrets
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from store.ids import ProviderId

NONCE_BYTES = 12
NOT_SET = "the credential was sealed under a secret key that is not set"


class CredentialUnreadable(Exception):
    """A sealed credential does not open: another secret key, another provider's row, or another host."""


class _Envelope(msgspec.Struct, frozen=True, array_like=True):
    wrapped: bytes
    nonce: bytes
    sealed: bytes


class CredentialCipher:
    """Seals and opens credentials under ``secret_keys`` (url-safe base64 of 32 bytes each, the newest first)."""

    def __init__(self, secret_keys: Sequence[str]) -> None:
        """Raises ``ValueError`` where there is no key or one is not of the form."""
        if not secret_keys:
            raise ValueError("no secret key is set, so provider credentials cannot be kept; set one")
        masters = [Fernet(key) for key in secret_keys]
        self._first = masters[0]
        self._masters = MultiFernet(masters)

    def cipher(self, provider_id: ProviderId, place: str, secret: str) -> bytes:
        """What to store; ``place`` as of :func:`place_of`."""
        data_key, nonce = AESGCM.generate_key(256), secrets.token_bytes(NONCE_BYTES)
        sealed = AESGCM(data_key).encrypt(nonce, secret.encode(), _bound_to(provider_id, place))
        return msgspec.msgpack.encode(_Envelope(self._first.encrypt(data_key), nonce, sealed))

    def open(self, provider_id: ProviderId, place: str, stored: bytes) -> str:
        """The credential. Raises :class:`CredentialUnreadable`."""
        envelope = _envelope(stored)
        data_key = self._unwrap(envelope)
        try:
            secret = AESGCM(data_key).decrypt(envelope.nonce, envelope.sealed, _bound_to(provider_id, place))
        except InvalidTag:
            raise CredentialUnreadable("the credential was given for another provider, host or vendor") from None
        return secret.decode()

    def is_first(self, stored: bytes) -> bool:
        """Whether the first secret key wraps it, so that it needs no other one."""
        try:
            self._first.decrypt(_envelope(stored).wrapped)
        except (InvalidToken, CredentialUnreadable):
            return False
        return True

    def rewrap(self, stored: bytes) -> bytes:
        """The same, wrapped by the first secret key. Raises :class:`CredentialUnreadable`."""
        envelope = _envelope(stored)
        wrapped = self._first.encrypt(self._unwrap(envelope))
        return msgspec.msgpack.encode(msgspec.structs.replace(envelope, wrapped=wrapped))

    def _unwrap(self, envelope: _Envelope) -> bytes:
        try:
            return self._masters.decrypt(envelope.wrapped)
        except InvalidToken:
            raise CredentialUnreadable(NOT_SET) from None


def place_of(base_url: str | None, options: Mapping[str, object]) -> str:
    """What a credential is bound to: the URL's scheme, host and port; without a URL its vendor, whose host is known."""
    vendor = options.get("vendor")
    if base_url is None and isinstance(vendor, str):
        return f"the vendor {vendor}"
    parts = urlsplit(base_url or "")
    return f"{parts.scheme}://{(parts.netloc or '').rpartition('@')[2].lower()}"


def _bound_to(provider_id: ProviderId, place: str) -> bytes:
    return f"{provider_id.hex} {place}".encode()


def _envelope(stored: bytes) -> _Envelope:
    try:
        return msgspec.msgpack.decode(stored, type=_Envelope)
    except msgspec.DecodeError:
        raise CredentialUnreadable(NOT_SET) from None
