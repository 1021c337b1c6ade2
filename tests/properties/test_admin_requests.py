"""Whatever an operator sends is understood or refused by name, and nothing of it comes back but the name."""

import json
from contextlib import suppress
from datetime import UTC
from typing import Any, ClassVar

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from router.api.documents import admin_routes
from router.api.faults import query_faults, refusal
from router.api.fields import PAGE_MAX, Instant, Usd
from router.api.forms import PageQuery, Resource, closed, opened
from router.errors import InvalidRequest, Refusal

FORMS: list[Any] = sorted(
    {route.body_field.field_info.annotation for route in admin_routes() if route.body_field is not None},
    key=lambda form: form.__name__,
)
SECRET = "sk-canary-4711"

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.just(SECRET),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def outcome(body: bytes, form: Any) -> Any:
    """What was read, or what was said instead."""
    try:
        # As FastAPI reads it: bytes, into a field of the form's type.
        return TypeAdapter(form).validate_python(body or b"{}", from_attributes=True)
    except ValidationError as problem:
        refused = refusal([{**one, "loc": ("body", *one["loc"])} for one in problem.errors()])
        return f"{refused.message} {json.dumps(refused.details)}" if len(refused.message) < 400 else "x" * 400
    except InvalidRequest as refused:
        return refused.message


def names_of(form: Any) -> list[str]:
    return list(form.model_fields)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_body_is_read_or_refused_without_being_repeated(form: Any, data: st.DataObject) -> None:
    names = st.sampled_from([*names_of(form), "other"])
    body = json.dumps(data.draw(st.dictionaries(names, values, max_size=4))).encode()
    said = outcome(body, form)
    assert isinstance(said, form) or (SECRET not in said and "x" * 400 not in said)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_no_fault_of_ours(body: bytes) -> None:
    for form in FORMS:
        said = outcome(body, form)
        # The message has its bound in `outcome`; the details name each of the form's fields once.
        assert isinstance(said, form) or ("x" * 400 not in said and len(said) < 400 + 80 * len(names_of(form)))


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["limit", "cursor", "page"]), st.text(max_size=12)), max_size=4))
def test_a_page_is_asked_for_within_bounds_or_refused(query: list[tuple[str, str]]) -> None:
    assert (not query_faults(query, dict.fromkeys(PageQuery.model_fields, False))) == (
        len(dict(query)) == len(query) and "page" not in dict(query) and not any("\0" in value for _, value in query)
    )
    with suppress(ValidationError, Refusal):
        part = PageQuery.model_validate(dict(query))
        assert 1 <= part.limit <= 100
        part.after()


@settings(deadline=None)
@given(st.integers(-1, PAGE_MAX + 1))
@example(0)
@example(1)
@example(PAGE_MAX)
@example(PAGE_MAX + 1)
def test_a_page_has_at_least_one_thing_and_at_most_a_hundred(limit: int) -> None:
    try:
        accepted = PageQuery.model_validate({"limit": str(limit)}).limit == limit
    except ValidationError:
        accepted = False
    assert accepted == (1 <= limit <= PAGE_MAX == 100)


@settings(deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_a_cursor_leads_back_to_where_the_page_ended(key: str) -> None:
    assert opened(closed(key)) == key


@settings(deadline=None)
@given(st.integers(0, 9 * 10**18))
def test_an_amount_comes_back_as_it_was_written(nano: int) -> None:
    usd = TypeAdapter[Any](Usd)
    assert usd.validate_json(usd.dump_json(nano)) == nano
    for wrong in (b"1", b"1.5", b"true", b"null", b'"1e3"', b'""', b'"-"'):
        with pytest.raises(ValidationError):
            usd.validate_json(wrong)


@settings(deadline=None)
@given(st.datetimes(timezones=st.timezones()))
def test_an_instant_comes_back_as_it_was_meant(at: Any) -> None:
    instant = TypeAdapter[Any](Instant)
    with suppress(OverflowError):
        # In UTC: Python holds two zones' times to differ where one of them comes twice a night, or never.
        assert instant.validate_json(instant.dump_json(at)) == at.astimezone(UTC)
    for wrong in (b'"2027-01-01T00:00:00"', b"1798761600", b'"2027-01-01"', b"null"):
        with pytest.raises(ValidationError):
            instant.validate_json(wrong)


class Thing(Resource):
    volatile: ClassVar[frozenset[str]] = frozenset({"seen"})
    once: ClassVar[frozenset[str]] = frozenset({"secret"})

    name: str
    facts: dict[str, int]
    seen: int = 0
    secret: str | None = None


things = st.builds(
    Thing,
    name=st.text(max_size=3),
    facts=st.dictionaries(st.text(max_size=2), st.integers(0, 3)),
    seen=st.integers(),
    secret=st.none() | st.just(SECRET),
)


@settings(deadline=None)
@given(things, things)
def test_the_version_is_the_content_and_nothing_else(one: Thing, other: Thing) -> None:
    assert (one.etag() == other.etag()) == ((one.name, one.facts) == (other.name, other.facts))
    assert one.storable().secret is None
    assert one.storable().etag() == one.etag()
