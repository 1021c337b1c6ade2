"""GitHub and a service of OpenID Connect behind their wire: codes with PKCE, tokens, keys, addresses."""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey
from typing_extensions import override


class IdentityService:
    """What the service knows. ``claims`` are put over those of the next ID token; ``emails`` are GitHub's."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.key = ECKey.generate_key("P-256", {"kid": "one", "use": "sig", "alg": "ES256"})
        self.claims: dict[str, Any] = {}
        self.emails: list[dict[str, Any]] = []
        self.signs_with = self.key
        self._asked: dict[str, dict[str, str]] = {}

    def authorize(self, address: str) -> tuple[str, str]:
        """Somebody says yes at the address to which the browser was led: the code and state of the way back."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert asked["code_challenge_method"] == "S256"
        code = hashlib.sha256(asked["state"].encode()).hexdigest()
        self._asked[code] = asked
        return code, asked["state"]

    def metadata(self) -> dict[str, str]:
        """The discovery document."""
        where = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "jwks"}
        return {"issuer": self.url} | {name: f"{self.url}/{path}" for name, path in where.items()}

    def token(self, form: dict[str, str]) -> dict[str, Any] | None:
        """The tokens for a code, once, to whoever has what its challenge was made of."""
        asked = self._asked.pop(form.get("code", ""), None)
        if asked is None:
            return None
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != asked["code_challenge"]:
            return None
        now = int(time.time())
        claims = {"iss": self.url, "aud": asked["client_id"], "sub": "subject-1", "iat": now, "exp": now + 300}
        claims |= {"nonce": asked.get("nonce", ""), "email": "ann@example.com", "email_verified": True} | self.claims
        id_token = jwt.encode({"alg": "ES256", "kid": "one"}, claims, self.signs_with)
        return {"access_token": "access", "token_type": "Bearer", "id_token": id_token}


@contextmanager
def identity_service() -> Iterator[IdentityService]:
    """A service on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            service: IdentityService = self.server.service  # type: ignore[attr-defined]
            match self.path:
                case "/.well-known/openid-configuration":
                    self._say(service.metadata())
                case "/jwks":
                    self._say({"keys": [service.key.as_dict(private=False)]})
                case "/user" if self.headers["authorization"] == "Bearer access":
                    self._say({"id": 4711, "login": "ann"})
                case "/user/emails" if self.headers["authorization"] == "Bearer access":
                    self._say(service.emails)
                case _:
                    self._say({"error": "not found"}, 404)

        def do_POST(self) -> None:
            service: IdentityService = self.server.service  # type: ignore[attr-defined]
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            tokens = service.token({name: values[0] for name, values in parse_qs(body).items()})
            self._say(tokens or {"error": "invalid_grant"}, 200 if tokens else 400)

        def _say(self, answer: object, status: int = 200) -> None:
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        @override
        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.service = IdentityService(f"http://127.0.0.1:{server.server_port}")  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.service  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
