"""Encrypts what is secret at rest, each under a data key of its own, which the settings' secret keys wrap.

The first secret key wraps, all of them unwrap, so that a key is rotated by putting a new one in front, wrapping again
(:meth:`CredentialCipher.rewrap`) and taking the old one out; what a data key encrypts stays as it is. A ciphertext is
bound to what it belongs to. A provider's credential is bound to the provider and to the host, or to the vendor where
its library knows the host: moved to another row, or kept after the URL or the vendor was changed, it decrypts to
nothing, so a credential never travels to where it was not given for. What an answer shows once is bound to its request
(:mod:`router.changes.idempotency`).
"""

import hmac
import secrets
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from store.ids import ProviderId

NONCE_BYTES = 12
# Separates the keys of message authentication codes from those that wrap data keys.
MAC_PURPOSE = b"gigarouter: codes of requests"
NOT_SET = "the credential was sealed under a secret key that is not set"


class CredentialUnreadable(Exception):
    """A stored secret does not decrypt: another secret key, another row, or a credential's other host."""


class _Envelope(msgspec.Struct, frozen=True, array_like=True):
    wrapped_key: bytes
    nonce: bytes
    ciphertext: bytes


class CredentialCipher:
    """Encrypts and decrypts under ``secret_keys`` (url-safe base64 of 32 bytes each, the newest first)."""

    def __init__(self, secret_keys: Sequence[str]) -> None:
        """Raises ``ValueError`` where there is no key or one is not of the form."""
        if not secret_keys:
            raise ValueError("no secret key is set, so provider credentials cannot be kept; set one")
        keys = [Fernet(key) for key in secret_keys]
        self._first_key = keys[0]
        self._all_keys = MultiFernet(keys)
        self._mac_keys = [hmac.digest(key.encode(), MAC_PURPOSE, "sha256") for key in secret_keys]

    def encrypt(self, provider_id: ProviderId, binding: str, credential: str) -> bytes:
        """Encrypt a credential for storage; ``binding`` as of :func:`credential_binding`."""
        return self.seal(_associated_data(provider_id, binding), credential.encode())

    def decrypt(self, provider_id: ProviderId, binding: str, stored: bytes) -> str:
        """Decrypt a stored credential. Raises :class:`CredentialUnreadable`."""
        try:
            return self._open(_associated_data(provider_id, binding), stored).decode()
        except InvalidTag:
            raise CredentialUnreadable("the credential was given for another provider, host or vendor") from None

    def seal(self, associated: bytes, secret: bytes) -> bytes:
        """Encrypt what is secret, bound to ``associated``: whoever decrypts it must name the same."""
        data_key, nonce = AESGCM.generate_key(256), secrets.token_bytes(NONCE_BYTES)
        ciphertext = AESGCM(data_key).encrypt(nonce, secret, associated)
        return msgspec.msgpack.encode(_Envelope(self._first_key.encrypt(data_key), nonce, ciphertext))

    def unseal(self, associated: bytes, stored: bytes) -> bytes:
        """Decrypt what :meth:`seal` made. Raises :class:`CredentialUnreadable`, also for another ``associated``."""
        try:
            return self._open(associated, stored)
        except InvalidTag:
            raise CredentialUnreadable("it was sealed for something else") from None

    def macs(self, message: bytes) -> list[bytes]:
        """Compute a message authentication code of 32 bytes under each secret key, the newest first."""
        return [hmac.digest(key, message, "sha256") for key in self._mac_keys]

    def is_wrapped_by_first(self, stored: bytes) -> bool:
        """Whether the first secret key wraps the data key, so that no other one is needed."""
        try:
            self._first_key.decrypt(_envelope(stored).wrapped_key)
        except (InvalidToken, CredentialUnreadable):
            return False
        return True

    def rewrap(self, stored: bytes) -> bytes:
        """Wrap the data key by the first secret key, and leave the ciphertext. Raises :class:`CredentialUnreadable`."""
        envelope = _envelope(stored)
        wrapped_key = self._first_key.encrypt(self._unwrap(envelope))
        return msgspec.msgpack.encode(msgspec.structs.replace(envelope, wrapped_key=wrapped_key))

    def _open(self, associated: bytes, stored: bytes) -> bytes:
        envelope = _envelope(stored)
        return AESGCM(self._unwrap(envelope)).decrypt(envelope.nonce, envelope.ciphertext, associated)

    def _unwrap(self, envelope: _Envelope) -> bytes:
        try:
            return self._all_keys.decrypt(envelope.wrapped_key)
        except InvalidToken:
            raise CredentialUnreadable(NOT_SET) from None


def credential_binding(base_url: str | None, options: Mapping[str, object]) -> str:
    """Return what a credential is bound to: the URL's scheme, host and port; without a URL, the vendor."""
    vendor = options.get("vendor")
    if base_url is None and isinstance(vendor, str):
        return f"the vendor {vendor}"
    parts = urlsplit(base_url or "")
    return f"{parts.scheme}://{(parts.netloc or '').rpartition('@')[2].lower()}"


def _associated_data(provider_id: ProviderId, binding: str) -> bytes:
    return f"{provider_id.hex} {binding}".encode()


def _envelope(stored: bytes) -> _Envelope:
    try:
        return msgspec.msgpack.decode(stored, type=_Envelope)
    except msgspec.DecodeError:
        raise CredentialUnreadable(NOT_SET) from None
