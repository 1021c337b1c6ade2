"""Asks GitHub, or a service of OpenID Connect, who somebody is: with PKCE, a state and a nonce, by one library.

GitHub speaks OAuth 2 alone: the address is the primary one that it has verified. From an OpenID service it is the ID
token's, which says ``email_verified``. What a browser keeps meanwhile is an :class:`Attempt`.
"""

import secrets
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from httpx import HTTPError
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from router.errors import InvalidRequest
from router.identity.people.outside import OutsideIdentity
from router.identity.people.set_up import Service
from router.identity.people.values import require_email

T = TypeVar("T")
ALGORITHMS = ["RS256", "PS256", "ES256", "Ed25519", "EdDSA"]
TIMEOUT_S, LEEWAY_S = 10.0, 60


class Attempt(msgspec.Struct, frozen=True):
    """What one attempt is bound to. It is random, and the browser alone keeps it."""

    state: str
    nonce: str
    verifier: str


class _Metadata(msgspec.Struct, frozen=True):
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str


class _Email(msgspec.Struct, frozen=True):
    email: str
    primary: bool
    verified: bool


class _User(msgspec.Struct, frozen=True):
    id: int


def new_attempt() -> Attempt:
    """Begin an attempt."""
    return Attempt(secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(48))


async def begin(service: Service, attempt: Attempt, redirect_uri: str) -> str:
    """The address at the service to which the browser goes. Raises ``InvalidRequest`` where the service is away."""
    try:
        async with _client(service, redirect_uri) as client:
            where = await _metadata(client, service)
            url, _ = client.create_authorization_url(
                where.authorization_endpoint,
                state=attempt.state,
                code_verifier=attempt.verifier,
                **({} if service.api_url else {"nonce": attempt.nonce}),
            )
            return str(url)
    except (HTTPError, AuthlibBaseError, msgspec.MsgspecError) as fault:
        raise _unconfirmed(service, fault) from fault


async def finish(service: Service, attempt: Attempt, redirect_uri: str, code: str, now: datetime) -> OutsideIdentity:
    """Who the service says that somebody is. Raises ``InvalidRequest``, also for an address that is not verified."""
    try:
        async with _client(service, redirect_uri) as client:
            where = await _metadata(client, service)
            token: dict[str, Any] = await client.fetch_token(
                where.token_endpoint, code=code, code_verifier=attempt.verifier
            )
            if service.api_url:
                return await _of_github(client, service)
            keys = KeySet.import_key_set(await _get(client, where.jwks_uri, dict[str, Any]))  # type: ignore[arg-type]
    except (HTTPError, AuthlibBaseError, JoseError, msgspec.MsgspecError, ValueError) as fault:
        raise _unconfirmed(service, fault) from fault
    return _of_id_token(service, str(token.get("id_token", "")), keys, attempt, now)


def _of_id_token(service: Service, id_token: str, keys: KeySet, attempt: Attempt, now: datetime) -> OutsideIdentity:
    rules = jwt.JWTClaimsRegistry(
        now=int(now.timestamp()),
        leeway=LEEWAY_S,
        iss={"essential": True, "value": service.issuer},
        aud={"essential": True, "value": service.client_id},
        nonce={"essential": True, "value": attempt.nonce},
        sub={"essential": True},
        exp={"essential": True},
    )
    try:
        claims = jwt.decode(id_token, keys, algorithms=ALGORITHMS).claims
        rules.validate(claims)
    except (JoseError, ValueError) as fault:
        raise _unconfirmed(service, fault) from fault
    if claims.get("email_verified") is not True or not isinstance(claims.get("email"), str):
        raise _unverified(service)
    return OutsideIdentity(service.issuer, str(claims["sub"])[:300], require_email(claims["email"]))


async def _of_github(client: AsyncOAuth2Client, service: Service) -> OutsideIdentity:
    user = await _get(client, f"{service.api_url}/user", _User)
    emails = await _get(client, f"{service.api_url}/user/emails", list[_Email])
    primary = next((one.email for one in emails if one.primary and one.verified), None)
    if primary is None:
        raise _unverified(service)
    return OutsideIdentity(service.issuer, str(user.id), require_email(primary))


def _client(service: Service, redirect_uri: str) -> AsyncOAuth2Client:
    return AsyncOAuth2Client(
        client_id=service.client_id,
        client_secret=service.client_secret,
        redirect_uri=redirect_uri,
        scope="user:email" if service.api_url else "openid email",
        code_challenge_method="S256",
        timeout=TIMEOUT_S,
        headers={"accept": "application/json"},
    )


async def _metadata(client: AsyncOAuth2Client, service: Service) -> _Metadata:
    if service.api_url:
        base = f"{service.issuer}/login/oauth"
        return _Metadata(service.issuer, f"{base}/authorize", f"{base}/access_token", "")
    found = await _get(client, f"{service.issuer}/.well-known/openid-configuration", _Metadata, is_public=True)
    if found.issuer != service.issuer:
        raise ValueError(f"the service calls itself {found.issuer[:200]}")
    return found


async def _get(client: AsyncOAuth2Client, url: str, kind: type[T], *, is_public: bool = False) -> T:
    answer = await client.request("GET", url, withhold_token=is_public or client.token is None)
    answer.raise_for_status()
    return msgspec.json.decode(answer.content, type=kind)


def _unconfirmed(service: Service, fault: Exception) -> InvalidRequest:
    return InvalidRequest(
        f"{service.label} could not say who you are. Try again, or sign in by e-mail.",
        detail=f"{type(fault).__name__}: {fault}"[:500],
    )


def _unverified(service: Service) -> InvalidRequest:
    return InvalidRequest(
        f"{service.label} has no verified e-mail address of yours. Verify it there, or sign in by e-mail."
    )
