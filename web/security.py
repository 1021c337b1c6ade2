"""Gives each answer the headers that keep a page to itself: what may run in it, who may frame it, who may keep it."""

from collections.abc import Sequence

from web.origins import Origins

Headers = list[tuple[bytes, bytes]]
HSTS = "max-age=31536000; includeSubDomains"


def content_policy(checkout_origins: Sequence[str] = ()) -> str:
    """The Content-Security-Policy: our own files alone, nothing inline, and forms to us and to the checkout."""
    targets = " ".join(["'self'", *checkout_origins])
    return "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",
            "connect-src 'self'",
            f"form-action {targets}",
            "base-uri 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types gigarouter",
        ]
    )


def security_headers(origins: Origins, policy: str) -> Headers:
    """The headers of every answer."""
    headers = {
        "content-security-policy": policy,
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=()",
        "referrer-policy": "same-origin",
        "x-content-type-options": "nosniff",
    }
    if origins.is_tls:
        headers["strict-transport-security"] = HSTS
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def caching(*, is_personal: bool, cache: str | None) -> Headers:
    """Who may keep an answer: of a person's nobody, of a public page whoever asks again first."""
    if is_personal:
        return [(b"cache-control", b"no-store")]
    return [(b"cache-control", (cache or "no-cache").encode()), (b"vary", b"cookie, accept-encoding")]
