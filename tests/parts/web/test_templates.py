"""Every template renders with every optional field absent, with all of them there, and for whoever reads."""

import types
from collections.abc import Iterator
from datetime import UTC, date, datetime
from enum import Enum
from importlib import import_module
from pkgutil import walk_packages
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

import msgspec
import pytest
from markupsafe import Markup

import web
from router.identity.members import Role
from store.ids import AccountId, MemberId, new_id
from web.answers import Page
from web.render import Renderer
from web.shell import NavItem, Shell
from web.static import Assets
from web.viewer import NOBODY, Membership, Viewer

HOSTILE = '<i>"\u202e'
PLAIN: dict[object, Any] = {str: HOSTILE, int: 7, float: 1.5, bool: True, bytes: b"x"}
PLAIN |= {Any: HOSTILE, object: HOSTILE, Markup: Markup("<p>ours</p>")}
PLAIN |= {datetime: datetime(2026, 11, 28, tzinfo=UTC), date: date(2026, 11, 28), UUID: UUID(int=1)}
RENDERER = Renderer()


def every_page() -> Iterator[type[Page]]:
    for module in walk_packages(web.__path__, "web."):
        import_module(module.name)
    pending = [Page]
    while pending:
        page = pending.pop()
        pending += page.__subclasses__()
        if "template" in vars(page):
            yield page


def sample(kind: Any, *, full: bool) -> Any:
    """A value of a type: the least that there can be, or one of everything."""
    origin, inner = get_origin(kind), get_args(kind)
    while hasattr(kind, "__supertype__"):
        kind = kind.__supertype__
    if origin is Annotated:
        return sample(inner[0], full=full)
    if origin in (Union, types.UnionType):
        if type(None) in inner and not full:
            return None
        return sample(next(one for one in inner if one is not type(None)), full=full)
    if origin is Literal:
        return inner[0]
    if origin is tuple and not (len(inner) == 2 and inner[1] is Ellipsis):
        return tuple(sample(one, full=full) for one in inner)
    if origin in (tuple, list, frozenset):
        return origin([sample(inner[0], full=full)]) if full else origin()
    if origin is not None and hasattr(origin, "keys"):
        if isinstance(inner[0], type) and issubclass(inner[0], Enum):
            return {name: sample(inner[1], full=full) for name in inner[0]}
        return {"name": sample(inner[1], full=full)} if full else {}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return a_struct(kind, full=full)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return next(iter(kind))
    return PLAIN[kind]


def a_struct(kind: type[msgspec.Struct], *, full: bool) -> Any:
    """A struct; without ``full`` each field that has a default has it."""
    values = {
        field.name: sample(field.type, full=full)
        for field in msgspec.structs.fields(kind)
        if (full and not is_fixed(field.name)) or field.required
    }
    return kind(**values)


def is_fixed(name: str) -> bool:
    return name in ("status", "cookies", "headers")


def a_shell(viewer: Viewer) -> Shell:
    item = NavItem(HOSTILE, "/x", is_here=True)
    account = viewer.memberships[0] if viewer.memberships else None
    return Shell(
        viewer=viewer,
        assets=Assets.read(),
        path="/x",
        here="/x",
        request_id="req_0",
        public_url="https://router.example",
        api_url="https://api.router.example",
        theme="dark",
        nav=(item,),
        sections=(item,),
        account=account,
    )


@pytest.mark.parametrize("page", list(every_page()), ids=lambda page: page.__qualname__)
@pytest.mark.parametrize("full", [False, True], ids=["least", "everything"])
def test_a_template_renders_whatever_is_absent_and_escapes_all_of_it(page: type[Page], full: bool) -> None:
    membership = Membership(AccountId(new_id()), HOSTILE, Role.OWNER, MemberId(new_id()))
    member = Viewer(person="p", name=HOSTILE, email="a@b.example", memberships=(membership,))
    for viewer in (NOBODY, member):
        html = RENDERER.render(a_struct(page, full=full), a_shell(viewer)).decode()
        assert "<i>" not in html
        assert "\u202e" not in html
        assert html.count("<main") == html.count("<h1") == 1
