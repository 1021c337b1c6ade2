"""Who calls, where that can wait: a key made a moment ago by another process is known here too."""

from collections.abc import Awaitable, Callable
from datetime import datetime

from router.errors import KeyUnknown
from router.identity.keys import KeyIndex, authenticate, well_formed
from router.values import Caller


async def authenticate_caller(
    authorization: str | None, keys: KeyIndex, now: datetime, catch_up: Callable[[], Awaitable[None]]
) -> Caller:
    """As :func:`router.identity.keys.authenticate`, asked twice about a well-formed key that is not in memory.

    A key with a wrong checksum is refused at once; the second look costs no query of its own.
    """
    try:
        return authenticate(authorization, keys, now)
    except KeyUnknown:
        if authorization is None or not well_formed(authorization[7:]):
            raise
    await catch_up()
    return authenticate(authorization, keys, now)
