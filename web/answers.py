"""What a page's function gives back: a page, a redirect, or a file."""

from collections.abc import AsyncIterator
from typing import ClassVar, TypeAlias

import msgspec

Cookie: TypeAlias = str
Headers: TypeAlias = tuple[tuple[str, str], ...]


class Crumb(msgspec.Struct, frozen=True):
    """A step of the path to a page: its name and, but for the last, its address."""

    name: str
    href: str | None = None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A page's values. A subclass is one kind of page and names its template, which is beside its module.

    ``status`` is that of the answer. ``holds_secret``: never compressed, and kept nowhere. ``scripts`` are modules
    beside the one that every page has.
    """

    template: ClassVar[str]
    scripts: ClassVar[tuple[str, ...]] = ()

    title: str
    description: str | None = None
    crumbs: tuple[Crumb, ...] = ()
    canonical: str | None = None
    status: int = 200
    holds_secret: bool = False
    cookies: tuple[Cookie, ...] = ()
    headers: Headers = ()


class Redirect(msgspec.Struct, frozen=True, kw_only=True):
    """Another page to read: after a write (303), or because it is elsewhere (301, 302)."""

    to: str
    status: int = 303
    cookies: tuple[Cookie, ...] = ()


class File(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that are no page: CSV, JSON, Atom. ``name``: a browser saves it by that name. ``body`` may be streamed."""

    body: bytes | AsyncIterator[bytes]
    media: str
    name: str | None = None
    status: int = 200
    holds_secret: bool = False
    cache: str | None = None
    headers: Headers = ()


Answer: TypeAlias = Page | Redirect | File
