"""Field values are read as RFC 9110 says: space and tab around them are no part of them, schemes have no case."""

import pytest

from tests.harness.served_api import ServedApi

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "credentials",
    [
        b"authorization: Bearer {key} ",
        b"authorization: \t Bearer {key}\t \t",
        b"authorization:Bearer {key}",
        b"authorization: Bearer   {key}",
        b"authorization: Bearer \t {key}",
        b"authorization: BEARER {key}",
        b"authorization: bearer  {key} ",
        b"Authorization: bEaReR {key}",
        b"x-api-key: \t{key} \t",
        b"api-key:{key} ",
        b"API-Key: {key}",
        b"authorization: \r\nx-api-key: {key}",
        b"authorization: Basic dXNlcjpwYXNz\r\napi-key: {key}",
        b"x-api-key: {key}\r\napi-key: {key} ",
    ],
)
async def test_a_key_is_found_however_its_header_is_spaced(api: ServedApi, credentials: bytes) -> None:
    header = credentials.replace(b"{key}", api.key.encode())
    assert (await api.embed(header)).status == 200
    assert (await api.raw("GET", "/v1/account", header)).status == 200


async def test_an_operators_key_is_found_however_its_header_is_spaced(api: ServedApi) -> None:
    for value in (f" \tBEARER  {api.operator} \t", f"bearer\t{api.operator}"):
        assert (await api.raw("GET", "/admin/v1/accounts", b"authorization:" + value.encode())).status == 200
    assert (await api.raw("GET", "/admin/v1/accounts", b"x-api-key: " + api.operator.encode())).status == 200


@pytest.mark.parametrize(
    ("credentials", "words"),
    [
        (b"authorization: {key}", "does not begin with 'Bearer '"),
        (b"authorization: Token {key}", "does not begin with 'Bearer '"),
        (b"authorization: Basic {key}", "does not begin with 'Bearer '"),
        (b"authorization: Bearer", "using Bearer auth"),
        (b"authorization: Bearer Bearer {key}", "the word Bearer, which is no part of a key"),
        (b"api-key: Bearer {key}", "the word Bearer, which is no part of a key"),
        (b'x-api-key: "{key}"', "quotation marks"),
    ],
)
async def test_a_key_in_another_form_is_told_what_is_wrong_with_the_form(
    api: ServedApi, credentials: bytes, words: str
) -> None:
    answer = await api.embed(credentials.replace(b"{key}", api.key.encode()))
    assert (answer.status, words in answer.error["message"]) == (401, True), answer.body
    assert api.key.encode() not in answer.body


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ([b"authorization: Bearer {key} {key}"], 401, "invalid_api_key"),
        ([b"authorization: Bearer{key}"], 401, "key_missing"),
        ([b"authorization: Bearer"], 401, "key_missing"),
        ([b"authorization: Bearer \t "], 401, "key_missing"),
        ([b"authorization: Bearer {key}", b"authorization: Bearer {key}"], 401, "invalid_api_key"),
        ([b"x-api-key: {key}", b"api-key: gr_live_another"], 401, "invalid_api_key"),
        ([b"authorization: Bearer {key}", b"idempotency-key: a", b"idempotency-key: b"], 400, None),
        ([b"authorization: Bearer {key}", b"idempotency-key: \t "], 400, None),
        ([b"authorization: Bearer {key}", b"content-encoding: gzip", b"content-encoding: identity"], 415, None),
    ],
)
async def test_what_is_two_things_or_none_is_refused(
    api: ServedApi, headers: list[bytes], status: int, code: str | None
) -> None:
    answer = await api.embed(*(header.replace(b"{key}", api.key.encode()) for header in headers))
    assert answer.status == status, answer.body
    assert code is None or answer.error["code"] == code


@pytest.mark.parametrize(
    ("header", "seen"),
    [
        (b"content-encoding:  Identity \t", None),
        (b"content-encoding: identity, IDENTITY", None),
        (b"content-encoding: ", None),
        (b"content-type: \tApplication/JSON ", None),
        (b"x-tier:\t BATCH \t", ("x-gigarouter-lane", "batch")),
        (b"prefer: \t Wait = 3 \t", ("preference-applied", "wait=3")),
        (b"x-request-id:  mine-1\t ", ("x-client-request-id", "mine-1")),
        (b"connection: \tClose ", ("connection", "close")),
        (b"expect: 100-Continue \t", None),
    ],
)
async def test_every_header_that_is_read_is_trimmed(
    api: ServedApi, header: bytes, seen: tuple[str, str] | None
) -> None:
    async with api.server.peer() as peer:
        body = b'{"model": "%b", "input": "hello"}' % api.model.encode()
        lines = [
            b"POST /v1/embeddings HTTP/1.1",
            b"Host: \ttest ",
            header,
            api.bearer,
            b"Content-Length: \t%d \t" % len(body),
        ]
        await peer.send(b"\r\n".join([*lines, b"", b""]) + body)
        if header.startswith(b"expect"):
            assert (await peer.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        answer = await peer.answer()
    assert answer.status == 200, answer.body
    if seen is not None:
        assert answer.headers[seen[0]] == seen[1]


async def test_an_idempotency_key_is_the_same_with_and_without_space_around_it(api: ServedApi) -> None:
    first = await api.embed(api.bearer, b"idempotency-key: spaced-1")
    again = await api.embed(b"authorization: bearer  " + api.key.encode(), b"idempotency-key:\tspaced-1 \t")
    assert (first.status, again.status) == (200, 200)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.body == first.body


async def test_an_operators_headers_are_trimmed(api: ServedApi) -> None:
    operator = b"authorization: Bearer " + api.operator.encode()
    body = {"name": "Trimmed"}
    made = await api.raw("POST", "/admin/v1/accounts", operator, b"idempotency-key: once-1", body=body)
    spaced = [b"authorization: BEARER  " + api.operator.encode() + b" ", b"idempotency-key: \tonce-1 "]
    again = await api.raw("POST", "/admin/v1/accounts", *spaced, body=body)
    assert (made.status, again.status, again.headers["idempotency-replayed"]) == (201, 201, "true")
    path = made.headers["location"]
    etag = made.headers["etag"].encode()
    edited = await api.raw("PATCH", path, operator, b"if-match: \t " + etag + b" \t", body={"name": "Trimmed again"})
    assert edited.status == 200, edited.body
    csv = await api.raw("GET", "/admin/v1/usage", operator, b"accept: \t Text/CSV ; Q=1 \t")
    assert csv.headers["content-type"].startswith("text/csv")
