"""litellm as the product imports it, once for the tests of a module."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from providers.litellm import kind


@contextmanager
def loaded() -> Iterator[list[object]]:
    """litellm is loaded inside; what comes is where its import connected to, if this was the first."""
    places: list[object] = []

    def nowhere(*place: object, **_: object) -> list[object]:
        places.append(place)
        return []

    with pytest.MonkeyPatch.context() as patch:
        for name, value in kind.ENVIRONMENT.items():
            patch.setenv(name, value)
        with pytest.MonkeyPatch.context() as spy:
            spy.setattr(socket, "getaddrinfo", nowhere)
            spy.setattr(socket.socket, "connect", lambda _, place: places.append(place))
            asyncio.run(kind.load())
        yield places
