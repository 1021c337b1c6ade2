"""An authenticator in software (WebAuthn level 3): makes a passkey for a host and signs challenges with it."""

import hashlib
import json
import os
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

_USER_PRESENT, _USER_VERIFIED, _BACKUP_ELIGIBLE, _BACKED_UP, _HAS_KEY = 0x01, 0x04, 0x08, 0x10, 0x40


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


class Authenticator:
    """Holds one passkey. ``counts``: whether its counter grows, which that of a synced passkey does not."""

    def __init__(self, origin: str, *, counts: bool = True, verifies: bool = True) -> None:
        self.origin = origin
        self.counts = counts
        self.verifies = verifies
        self.credential_id = os.urandom(32)
        self.user_handle = b""
        self.count = 0
        self._key = ec.generate_private_key(ec.SECP256R1())

    def create(self, options: str) -> str:
        """What ``navigator.credentials.create`` gives, with ``toJSON()``."""
        wanted = json.loads(options)
        self.user_handle = urlsafe_b64decode(wanted["user"]["id"] + "==")
        client = self._client_data("webauthn.create", wanted["challenge"])
        attestation = {"fmt": "none", "attStmt": {}, "authData": self._data(wanted["rp"]["id"], with_key=True)}
        response = {"clientDataJSON": _text(client), "attestationObject": _text(cbor2.dumps(attestation))}
        return self._json(response | {"transports": ["internal"]})

    def get(self, options: str) -> str:
        """What ``navigator.credentials.get`` gives, with ``toJSON()``."""
        wanted = json.loads(options)
        client = self._client_data("webauthn.get", wanted["challenge"])
        self.count += self.counts
        data = self._data(wanted["rpId"], with_key=False)
        signature = self._key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        response = {"clientDataJSON": _text(client), "authenticatorData": _text(data), "signature": _text(signature)}
        return self._json(response | {"userHandle": _text(self.user_handle)})

    def _json(self, response: dict[str, Any]) -> str:
        one = {"id": _text(self.credential_id), "rawId": _text(self.credential_id), "type": "public-key"}
        return json.dumps(one | {"response": response, "clientExtensionResults": {}})

    def _client_data(self, kind: str, challenge: str) -> bytes:
        return json.dumps({"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False}).encode()

    def _data(self, host: str, *, with_key: bool) -> bytes:
        flags = _USER_PRESENT | (_USER_VERIFIED if self.verifies else 0)
        flags |= 0 if self.counts else _BACKUP_ELIGIBLE | _BACKED_UP
        data = hashlib.sha256(host.encode()).digest()
        if not with_key:
            return data + struct.pack(">BI", flags, self.count)
        numbers = self._key.public_key().public_numbers()
        key = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        made = struct.pack(">BI16sH", flags | _HAS_KEY, self.count, bytes(16), len(self.credential_id))
        return data + made + self.credential_id + cbor2.dumps(key)
