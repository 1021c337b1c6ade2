"""Whatever an operator sends is understood or refused by name, and nothing of it comes back but the name."""

import json
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from router.api.admin.openapi import routes, told_of
from router.api.admin.parsing import body_of
from router.api.admin.responses import PAGE, PAGE_MAX, Resource, Slice, _closed, etag, slice_of
from router.api.exchange import EXCHANGE
from router.errors import InvalidRequest

FORMS = sorted(
    {told.body for route in routes() if (told := told_of(route)) and told.body}, key=lambda form: form.__name__
)
SECRET = "sk-canary-4711"

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.just(SECRET),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def outcome(body: bytes, form: type[msgspec.Struct]) -> Any:
    """What was read, or what was said instead."""
    request: Any = SimpleNamespace(scope={EXCHANGE: SimpleNamespace(body=body)})
    try:
        return body_of(request, form)
    except InvalidRequest as refused:
        return refused.message


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_body_is_read_or_refused_without_being_repeated(form: type[msgspec.Struct], data: st.DataObject) -> None:
    names = st.sampled_from([*form.__struct_fields__, "other"]) if form.__struct_fields__ else st.just("other")
    body = json.dumps(data.draw(st.dictionaries(names, values, max_size=4))).encode()
    said = outcome(body, form)
    assert isinstance(said, form) or (SECRET not in said and len(said) < 400)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_no_fault_of_ours(body: bytes) -> None:
    for form in FORMS:
        said = outcome(body, form)
        assert isinstance(said, form) or len(said) < 400


WHOLE = st.integers(-1, PAGE_MAX + 1).map(str)


@settings(deadline=None)
@given(st.fixed_dictionaries({"limit": WHOLE | st.text(max_size=12)}))
@example({"limit": "0"})
@example({"limit": "1"})
@example({"limit": str(PAGE_MAX)})
@example({"limit": str(PAGE_MAX + 1)})
def test_a_page_is_asked_for_within_bounds_or_refused(query: dict[str, str]) -> None:
    allowed = {f"{limit:0{digits}}": limit for limit in range(1, PAGE_MAX + 1) for digits in (1, 2, 3)}
    assert limit_or_fault(query) == allowed.get(query["limit"], "limit")


def limit_or_fault(query: dict[str, str]) -> int | str | None:
    """The limit as it was read, or the name of the field at fault."""
    try:
        return slice_of(query).limit
    except InvalidRequest as refused:
        return refused.param


@settings(deadline=None)
@given(st.text(max_size=12))
def test_a_cursor_that_is_none_of_ours_is_refused_or_harmless(cursor: str) -> None:
    with suppress(InvalidRequest):
        assert slice_of({"cursor": cursor}).limit == PAGE


@settings(deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_a_cursor_leads_back_to_where_the_page_ended(key: str) -> None:
    assert slice_of({"cursor": _closed(key)}) == Slice(20, key)


class Thing(Resource, frozen=True):
    volatile = frozenset({"seen"})

    name: str
    facts: dict[str, int]
    seen: int = 0


things = st.builds(Thing, st.text(max_size=3), st.dictionaries(st.text(max_size=2), st.integers(0, 3)), st.integers())


@settings(deadline=None)
@given(things, things)
def test_the_version_is_the_content_and_nothing_else(one: Thing, other: Thing) -> None:
    assert (etag(one) == etag(other)) == ((one.name, one.facts) == (other.name, other.facts))
