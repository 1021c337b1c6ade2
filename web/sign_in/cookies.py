"""Names and writes the cookies of signing in: the session's, and that of a browser which waits for a code.

Both are ``__Host-`` cookies: this host's alone, Secure, and read by no script. Chromium and Firefox take them from
http://127.0.0.1 and localhost, too.
"""

from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import quote, unquote

from router.identity.people.codes import CODE_LASTS
from router.identity.people.values import LIFE

SESSION, BROWSER, NEXT, OUTSIDE = "__Host-session", "__Host-browser", "__Host-next", "__Host-outside"


def session_cookie(secret: str) -> str:
    """The cookie of somebody who is signed in."""
    return _cookie(SESSION, secret, LIFE)


def browser_cookie(secret: str) -> str:
    """The cookie of a browser that waits for a code, or whose challenge is to be signed."""
    return _cookie(BROWSER, secret, CODE_LASTS)


def next_cookie(address: str) -> str:
    """The cookie that says where somebody was who follows the link of a mail."""
    return _cookie(NEXT, quote(address, safe="/"), CODE_LASTS)


def outside_cookie(attempt: str) -> str:
    """The cookie of a browser that another service is asked about."""
    return _cookie(OUTSIDE, attempt, CODE_LASTS)


def forget(name: str) -> str:
    """The cookie that takes another one back."""
    return _cookie(name, "", timedelta())


def next_of(cookies: Mapping[str, str]) -> str:
    """Where somebody was; whoever uses it asks first whether it is a page of ours."""
    return unquote(cookies.get(NEXT, ""))


def _cookie(name: str, value: str, lasts: timedelta) -> str:
    return f"{name}={value}; Path=/; Max-Age={int(lasts.total_seconds())}; Secure; HttpOnly; SameSite=Lax"
