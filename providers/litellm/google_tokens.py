"""Fetches Google's access tokens for a service account: a signed assertion (RFC 7523) buys a token for an hour.

Tokens are fetched over our own wire, within the call's deadline, and kept until shortly before they expire; concurrent
calls share one fetch. Google's own library has an HTTP client of its own, which our guard would not see.
"""

import asyncio
import base64
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlencode

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from typing_extensions import override

from providers.outcomes import Broken, CredentialRefused, Failure, TimedOut
from providers.statuses import failure, read_error
from providers.wire import Answer, Networks, Pool, parse_origin, request

SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
# Google accepts no assertion that lasts longer. Clocks may differ a little, and it refuses one from the future.
ASSERTION_LASTS_S: Final = 3600
BACKDATED_S: Final = 10
# A token is renewed in its last minutes: a call may take long, and the token expires by Google's clock.
RENEW_BEFORE_S: Final = 300.0
MAX_BODY: Final = 64 * 1024


class ServiceAccount(msgspec.Struct, frozen=True):
    """The key file of a service account, as Google's console hands it out."""

    client_email: str
    private_key: str
    project_id: str
    type: str
    private_key_id: str = ""
    token_uri: str = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address

    @override
    def __repr__(self) -> str:
        """The account's name, without its key."""
        return f"ServiceAccount({self.client_email})"


class _WrappedKeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    vertex_credentials: str


class _Token(msgspec.Struct, frozen=True):
    access_token: str
    expires_in: float


def service_account(credential: str | None) -> ServiceAccount:
    """Read the key file from a credential: the file itself, or the text ``vertex_credentials`` of a JSON object.

    Raises ``ValueError`` for an operator to read; nothing of the credential is in it.
    """
    expected = "Vertex AI takes the JSON key of a service account as its credential"
    if credential is None:
        raise ValueError(expected)
    try:
        if '"vertex_credentials"' in credential:
            credential = msgspec.json.decode(credential, type=_WrappedKeyFile).vertex_credentials
        account = msgspec.json.decode(credential, type=ServiceAccount)
    except msgspec.MsgspecError:
        raise ValueError(expected) from None
    if account.type != "service_account":
        raise ValueError(f"{expected}, and this is no service account's")
    return account


class GoogleTokens:
    """The access tokens of one service account; shared by the concurrent calls of one event loop."""

    def __init__(
        self, account: ServiceAccount, allowed: Networks, pool: Pool, clock: Callable[[], float] = time.time
    ) -> None:
        """``clock`` gives Unix time. Raises ``ValueError`` for a key or an address that cannot be used."""
        origin = parse_origin(account.token_uri, allowed)
        self._account = account
        self._key = _key(account.private_key)
        self._head = origin.head(
            "", {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        )
        self._channel = pool.channel(origin)
        self._clock = clock
        self._fetching = asyncio.Lock()
        self._token = ""
        self._valid_until = 0.0

    async def token(self, deadline_s: float) -> str:
        """A token that stays valid for minutes. Raises CredentialRefused, and as the wire does."""
        if self._clock() < self._valid_until:
            return self._token
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(deadline_s), self._fetching:
                if self._clock() >= self._valid_until:
                    remaining_s = deadline_s - (asyncio.get_running_loop().time() - began)
                    await self._fetch(remaining_s)
                return self._token
        except TimeoutError as error:
            raise TimedOut(detail="no token in time") from error

    def forget(self) -> None:
        """Drop a token that was refused: the next call fetches another one."""
        self._valid_until = 0.0

    def close(self) -> None:
        """Close pooled connections."""
        self._channel.close()

    async def _fetch(self, deadline_s: float) -> None:
        now = self._clock()
        form = urlencode({"grant_type": GRANT, "assertion": assertion(self._account, self._key, now)})
        answer = await self._channel.exchange(request(self._head, form.encode()), deadline_s, MAX_BODY)
        if answer.status != 200:
            raise _failure(answer, now)
        try:
            token = msgspec.json.decode(answer.body, type=_Token)
        except msgspec.MsgspecError as error:
            raise Broken(detail="a token that cannot be read") from error
        self._token, self._valid_until = token.access_token, now + token.expires_in - RENEW_BEFORE_S


def assertion(account: ServiceAccount, key: RSAPrivateKey, now: float) -> str:
    """A JSON Web Token, signed with RS256, with which the account asks for a token. ``now`` is Unix time."""
    issued = int(now) - BACKDATED_S
    head = {"alg": "RS256", "typ": "JWT", "kid": account.private_key_id}
    claims = {
        "iss": account.client_email,
        "scope": SCOPE,
        "aud": account.token_uri,
        "iat": issued,
        "exp": issued + ASSERTION_LASTS_S,
    }
    signed = b".".join(_base64(msgspec.json.encode(part)) for part in (head, claims))
    return b".".join((signed, _base64(key.sign(signed, PKCS1v15(), SHA256())))).decode("ascii")


def _failure(answer: Answer, now: float) -> Failure:
    """The failure for a refused assertion: OAuth reports all that is wrong with one by 400 or 401."""
    if 400 <= answer.status < 500 and answer.status not in (408, 429):
        codes = " ".join(read_error(answer.body).codes)
        return CredentialRefused(detail=f"no token: status {answer.status} {codes}".rstrip(), status=answer.status)
    return failure(answer.status, answer.headers, answer.body, now)


def _key(pem: str) -> RSAPrivateKey:
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("the private key of the service account cannot be read") from None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("the private key of a service account is an RSA key")
    return key


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
