"""Whatever the bytes: a valid request or an InvalidRequest, in bounded time, and nothing of the input is said back."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router import errors
from router.request.body import MAX_BODY_BYTES, MAX_INPUTS, MAX_TOKENS, parse
from router.request.estimate import token_bound
from router.values import EmbedRequest

CORPUS = [json.loads(line) for line in (Path(__file__).parent / "hostile_bodies.jsonl").read_text().splitlines()]
# The loop may be held for 50 ms, by parsing and the steps after it together; CPU time, on a core that others use too.
HELD_MS = 50
MESSAGE_MAX = 600


def _outcome(body: bytes) -> str:
    """What became of a body; raises for anything but a request or an InvalidRequest."""
    try:
        request = parse(body)
    except errors.InvalidRequest as refusal:
        return _named(refusal)
    assert (request.texts is None) != (request.token_ids is None)
    assert 1 <= request.inputs <= MAX_INPUTS
    return type(request).__name__


def _named(refusal: errors.InvalidRequest) -> str:
    assert len(refusal.message) < MESSAGE_MAX
    assert refusal.message.isprintable()
    return type(refusal).__name__


def test_each_hostile_body_is_what_the_corpus_says() -> None:
    found = {case["name"]: _outcome(case["body"].encode("latin-1")) for case in CORPUS}
    assert found == {case["name"]: case["is"] for case in CORPUS}


@settings(max_examples=2_000, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_an_invalid_request(body: bytes) -> None:
    _outcome(body)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)
_FIELDS = st.sampled_from(
    ["model", "input", "encoding_format", "dimensions", "input_type", "user", "provider", "models", "other"]
)


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(_FIELDS, _JSON, max_size=7))
def test_any_json_object_is_a_request_or_an_invalid_request(body: dict[str, object]) -> None:
    _outcome(json.dumps(body).encode())


@settings(max_examples=1_500, deadline=None)
@given(st.sampled_from(CORPUS), st.integers(0, 400), st.binary(max_size=3), st.integers(0, 3))
def test_any_mutation_of_the_corpus_is_too(case: dict[str, str], at: int, instead: bytes, cut: int) -> None:
    body = case["body"].encode("latin-1")
    _outcome(body[:at] + instead + body[at + cut :])


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
_ID = st.integers(0, 2**31 - 1)
_INPUTS = st.one_of(
    _TEXT,
    st.lists(_TEXT, min_size=1, max_size=8),
    st.lists(_ID, min_size=1, max_size=8),
    st.lists(st.lists(_ID, min_size=1, max_size=4), min_size=1, max_size=8),
)


@settings(max_examples=1_000, deadline=None)
@given(_INPUTS, st.booleans(), st.sampled_from([None, (",", ":"), (" , ", " : ")]))
def test_every_valid_input_comes_out_as_it_went_in(
    value: str | list[str] | list[int] | list[list[int]], ascii_only: bool, separators: tuple[str, str] | None
) -> None:
    """An array of ids is one input; an array of texts or of arrays is many, in their order."""
    body = json.dumps({"model": "m", "input": value}, ensure_ascii=ascii_only, separators=separators, indent=None)
    request = parse(body.encode())
    if isinstance(value, str):
        assert request.texts == [value]
    elif isinstance(value[0], str):
        assert request.texts == value
    elif isinstance(value[0], int):
        assert request.token_ids == [value]
    else:
        assert request.token_ids == value


@pytest.mark.parametrize(("count", "outcome"), [(MAX_INPUTS, "EmbedRequest"), (MAX_INPUTS + 1, "TooManyInputs")])
@pytest.mark.parametrize("item", ["a", "\\\\" * 40, '\\"' * 40, "x" * 600, [1]], ids=lambda item: str(item)[:6])
def test_2048_inputs_pass_and_one_more_does_not(item: object, count: int, outcome: str) -> None:
    assert _outcome(json.dumps({"model": "m", "input": [item] * count}).encode()) == outcome


@pytest.mark.parametrize(("tokens", "outcome"), [(MAX_TOKENS, "EmbedRequest"), (MAX_TOKENS + 1, "TooManyTokens")])
@pytest.mark.parametrize("lists", [0, 1, 100, MAX_INPUTS])
def test_300_000_token_ids_pass_and_one_more_does_not(lists: int, tokens: int, outcome: str) -> None:
    ids = [7] * tokens
    step = -(-tokens // lists) if lists else 0
    value = [ids[start : start + step] for start in range(0, tokens, step)] if lists else ids
    assert _outcome(json.dumps({"model": "m", "input": value}).encode()) == outcome


def test_an_error_says_nothing_of_the_input() -> None:
    for body in (
        b'{"model":"m","input":["canary-4711",1]}',
        b'{"model":"m","input":"canary-4711',
        b'{"model":{"a":"canary-4711"},"input":"a"}',
        b'{"model":"m","input":"a","user":["canary-4711"]}',
        b'{"model":"m","input":"a","dimensions":"canary-4711"}',
        b'{"model":"m","input":"a","other":"canary-4711"}',
    ):
        with pytest.raises(errors.InvalidRequest) as refused:
            parse(body)
        texts = [refused.value.message, str(refused.value.details), refused.value.param or "", refused.value.detail]
        assert "canary" not in " ".join(texts)


def test_the_messages_have_the_phrases_that_clients_look_for() -> None:
    for body, phrase in {
        b"nonsense": "could not parse the JSON body",
        b'{"input":"a"}': "you must provide a model parameter",
        b'{"model":"m","input":""}': "'$.input' is invalid. Please check the API reference",
        b'{"model":"m","input":"a","nonsense":1}': "Unrecognized request argument supplied: nonsense",
        b'{"model":"m","input":"a","dimensions":-1}': "-1 is less than the minimum of 1 - 'dimensions'",
        b'{"model":"m","input":"a","encoding_format":"x"}': "Supported values: ['float', 'base64']",
    }.items():
        with pytest.raises(errors.InvalidRequest) as refused:
            parse(body)
        assert phrase in refused.value.message


def _filled(head: bytes, unit: bytes, tail: bytes) -> bytes:
    """A body of the largest size that is taken."""
    start, end = b'{"model":"m",' + head, tail + b"}"
    return start + unit * ((MAX_BODY_BYTES - len(start) - len(end)) // len(unit)) + end


WORST: dict[str, Callable[[], bytes]] = {
    "nulls": lambda: _filled(b'"input":[', b"null,", b"null]"),
    "small ids": lambda: _filled(b'"input":[', b"1,", b"1]"),
    "ids": lambda: _filled(b'"input":[', b"151642,", b"1]"),
    "the most ids, in lists": lambda: json.dumps({"model": "m", "input": [[151642] * 146] * 2048}).encode(),
    "lists of one": lambda: _filled(b'"input":[', b"[1],", b"[1]]"),
    "empty lists": lambda: _filled(b'"input":[', b"[],", b"[]]"),
    "nested lists": lambda: _filled(b'"input":', b"[", b""),
    "nested objects": lambda: _filled(b'"input":', b'{"a":', b""),
    "empty texts": lambda: _filled(b'"input":[', b'"",', b'""]'),
    "short texts": lambda: _filled(b'"input":[', b'"a",', b'"a"]'),
    "texts of backslashes": lambda: _filled(b'"input":[', b'"\\\\",', b'"a"]'),
    "texts ended by quotes": lambda: _filled(b'"input":[', b'"\\"",', b'"a"]'),
    "49,000 texts of backslashes": lambda: _filled(b'"input":[' + b'"a",' * 49_000 + b'"', b"\\\\", b'"]'),
    "a text of backslashes": lambda: _filled(b'"input":"', b"\\\\", b'"'),
    "a text of quotes": lambda: _filled(b'"input":["', b'\\"', b'"]'),
    "a text of escapes": lambda: _filled(b'"input":"', b"\\u6f22", b'"'),
    "a text of Chinese": lambda: _filled(b'"input":"', "漢".encode(), b'"'),
    "a text of accents": lambda: _filled(b'"input":"', "é".encode(), b'"'),
    "a text of marks": lambda: _filled(b'"input":"', "\u0316\u0301".encode(), b'"'),
    "a text of ASCII": lambda: _filled(b'"input":"', b"a", b'"'),
    "one number": lambda: _filled(b'"input":[', b"9", b"]"),
    "spaces": lambda: _filled(b'"input":', b" ", b'"a"'),
    "fields again and again": lambda: _filled(b'"input":"a"', b',"input":[1]', b',"input":"a"'),
    "a long name": lambda: _filled(b'"', b"\\n", b'":1'),
    "a long model": lambda: _filled(b'"model":"', b"\\n", b'"'),
    "a long user": lambda: _filled(b'"input":"a","user":"', "漢".encode(), b'"'),
    "long dimensions": lambda: _filled(b'"input":"a","dimensions":', b"9", b""),
    "unknown nulls": lambda: _filled(b'"input":"a"', b',"n":null', b""),
    "an unknown null beside a long input": lambda: _filled(b'"n":null,"input":"', b"a", b'"'),
    "half a pair at the end": lambda: _filled(b'"input":["', b"a", b'","\\ud83d"]'),
    "half pairs": lambda: _filled(b'"input":["', b"\\ud83d", b'"]'),
    "half pairs in texts": lambda: _filled(b'"input":[', b'"a",', b'"\\ud83d"]'),
    "a text of backslashes and half a pair": lambda: _filled(b'"input":["', b"\\\\", b'\\ude00"]'),
    "a byte that is not UTF-8": lambda: _filled(b'"input":["', "é".encode(), b'\xff"]'),
    "a line break": lambda: _filled(b'"input":["a","', b"a", b'\n"]'),
    "line breaks": lambda: _filled(b'"input":["a","', b"\n", b'"]'),
    "no escape": lambda: _filled(b'"input":["a","', b"\\n", b'\\x"]'),
    "cut off": lambda: _filled(b'"input":["a","', b"\\n", b""),
    "cut off in lists": lambda: _filled(b'"input":', b"[[", b'"\\ud83d'),
    "a number among texts": lambda: _filled(b'"input":["', b"a", b'",1]'),
}


@pytest.mark.parametrize("name", WORST)
def test_no_body_within_the_limit_holds_the_loop(name: str) -> None:
    """Parsing and the bound on its tokens run without a pause, so they are measured together."""
    body = WORST[name]()
    assert len(body) <= MAX_BODY_BYTES

    def hold() -> float:
        began = time.thread_time()
        try:
            request: EmbedRequest | None = parse(body)
        except errors.InvalidRequest:
            request = None
        if request is not None:
            sum(map(token_bound, request.texts or ()))
            max(map(max, request.token_ids or [[0]]))
        return (time.thread_time() - began) * 1000

    held = min(hold() for _ in range(3))
    print(f"{name}: {held:.1f} ms")
    assert held < HELD_MS


def test_a_byte_more_than_the_limit_is_refused_unread() -> None:
    with pytest.raises(errors.BodyTooLarge):
        parse(b" " * (MAX_BODY_BYTES + 1))
