"""Declares what a row of the table of routes says: a path, its functions, and who may."""

import re
from collections.abc import Awaitable, Callable, Iterable
from enum import StrEnum
from typing import TypeAlias
from urllib.parse import quote

import msgspec
from starlette.routing import compile_path

from router.identity.members import OPERATOR_ROLES, Role
from web.answers import Answer
from web.request import PageRequest

PageFunction: TypeAlias = Callable[[PageRequest], Awaitable[Answer]]

# As much as an operation takes: what is too long in it is said at its field, with all that was typed.
FORM_BYTES_MAX = 256 * 1024
MEMBERS = frozenset({Role.OWNER, Role.DEVELOPER, Role.FINANCE})
OWNERS = frozenset({Role.OWNER})
# Keys, usage and calls; money and documents.
BUILDERS = frozenset({Role.OWNER, Role.DEVELOPER})
MONEY = frozenset({Role.OWNER, Role.FINANCE})
STAFF = OPERATOR_ROLES


class Who(StrEnum):
    """For whom a page is."""

    ANYONE = "anyone"
    # Whoever is signed in.
    PERSON = "person"
    # A member, with one of the roles, of the account that the path names as {account}.
    MEMBER = "member"
    # An operator with one of the roles.
    OPERATOR = "operator"


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A row: ``show`` answers GET, ``act`` POST. ``fresh``: it wants a sign-in of the last 15 minutes.

    ``takes_files``: its form may have a file. ``only_workshop``: there in `up` and tests alone. ``any_origin``: its
    POST needs no page of ours before it, for its address is a secret that says all, and no cookie counts.
    """

    path: str
    show: PageFunction | None = None
    act: PageFunction | None = None
    who: Who = Who.ANYONE
    roles: frozenset[Role] = frozenset()
    fresh: bool = False
    body_bytes_max: int = FORM_BYTES_MAX
    takes_files: bool = False
    only_workshop: bool = False
    any_origin: bool = False

    def __post_init__(self) -> None:
        if self.who in (Who.MEMBER, Who.OPERATOR) and not self.roles:
            raise AssertionError(f"{self.path} says no roles; this is a bug")
        if (self.who is Who.MEMBER) != ("{account}" in self.path and not self.path.startswith(STAFF_PATHS)):
            raise AssertionError(f"{self.path}: a member's page has {{account}} in its path; this is a bug")

    @property
    def methods(self) -> tuple[str, ...]:
        """What the path takes, for ``Allow``."""
        return (*(("GET", "HEAD") if self.show else ()), *(("POST",) if self.act else ()), "OPTIONS")

    def function(self, method: str) -> PageFunction | None:
        """What answers a method; None where nothing does."""
        return self.act if method == "POST" else self.show if method in ("GET", "HEAD") else None


# Where the account of a path is one that operators look at.
STAFF_PATHS = ("/ops/", "/finance/")


class RouteTable:
    """Finds the row of a path, the first that fits."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._exact = {route.path: route for route in reversed(self.routes) if "{" not in route.path}
        self._patterns: list[tuple[re.Pattern[str], Route]] = [
            (compile_path(route.path)[0], route) for route in self.routes if "{" in route.path
        ]

    def find(self, path: str) -> tuple[Route, dict[str, str]] | None:
        """The row and the values of its path; None where there is no such page."""
        if (exact := self._exact.get(path)) is not None:
            return exact, {}
        for pattern, route in self._patterns:
            if (match := pattern.fullmatch(path)) is not None:
                return route, match.groupdict()
        return None

    def without_slash(self, path: str) -> str | None:
        """The address of the page that is meant, of a path that ends with a slash too many; None where there is none.

        What leads elsewhere, as ``//evil/`` would, is no row's path.
        """
        stripped = path.rstrip("/")
        if stripped == path or self.find(stripped) is None:
            return None
        return quote(stripped)

    def is_form(self, address: str) -> bool:
        """Whether a form can be sent to an address of ours."""
        found = self.find(address) if address.startswith("/") and not address.startswith(("//", "/\\")) else None
        return found is not None and found[0].act is not None and address.isprintable()

    def is_page(self, address: str) -> bool:
        """Whether an address is one of our pages, and so may be returned to: a path with a query, and no more."""
        path = address.partition("?")[0]
        found = self.find(path) if path.startswith("/") and not path.startswith(("//", "/\\")) else None
        return found is not None and found[0].show is not None and address.isprintable()
