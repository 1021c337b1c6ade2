"""Pages of the origins that an operator names may call from a browser; without the setting none may."""

import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import pytest

from gigarouter import settings as config
from gigarouter.settings import Settings, SettingsError
from router.api.server.cors import EXPOSED
from tests.harness.served_api import Credentials, ServedApi, served
from tests.house.source import ROOT, product

pytestmark = pytest.mark.anyio

APP, OTHER = "https://app.example", "https://evil.example"


@pytest.fixture(scope="module")
async def open_api(installation: tuple[Settings, Credentials]) -> AsyncIterator[ServedApi]:
    settings, made = installation
    async with served(settings, made, cors_origins=[APP, "http://localhost:5173"]) as running:
        yield running


def _origin(origin: str) -> bytes:
    return b"origin: " + origin.encode()


def _preflight(origin: str, method: bytes = b"POST") -> list[bytes]:
    names = b"access-control-request-headers: authorization,content-type,x-stainless-lang"
    return [_origin(origin), b"access-control-request-method: " + method, names]


async def test_a_preflight_of_an_allowed_page_is_answered(open_api: ServedApi) -> None:
    for origin in (APP, "http://localhost:5173"):
        answer = await open_api.raw("OPTIONS", "/v1/embeddings", *_preflight(origin))
        assert answer.status == 204
        assert answer.headers["access-control-allow-origin"] == origin
        assert "POST" in answer.headers["access-control-allow-methods"].split(", ")
        assert answer.headers["access-control-allow-headers"] == "authorization,content-type,x-stainless-lang"
        assert int(answer.headers["access-control-max-age"]) > 0
        assert "origin" in answer.headers["vary"].lower()
        assert "access-control-allow-credentials" not in answer.headers


async def test_an_allowed_page_reads_the_answer_its_headers_and_every_refusal(open_api: ServedApi) -> None:
    origin = _origin(APP)
    done = await open_api.embed(open_api.bearer, origin)
    refused = await open_api.embed(origin)
    unknown = await open_api.raw("GET", "/v1/nothing", origin)
    assert (done.status, refused.status, unknown.status) == (200, 401, 404)
    for answer in (done, refused, unknown):
        assert answer.headers["access-control-allow-origin"] == APP
        assert answer.headers["access-control-expose-headers"] == EXPOSED
        assert "origin" in answer.headers["vary"].lower()
    ours = {name for name in done.headers if name.startswith(("x-", "openai-"))} - {"x-content-type-options"}
    assert ours <= set(EXPOSED.split(", "))
    assert (await open_api.raw("OPTIONS", "/v1/nothing", *_preflight(APP))).status == 204, "else no page reads the 404"


@pytest.mark.parametrize(
    "origin", [OTHER, "null", "https://app.example.evil.example", "http://app.example", f"{APP}:8443", ""]
)
async def test_no_other_page_may_read_anything(open_api: ServedApi, origin: str) -> None:
    for answer in (
        await open_api.raw("OPTIONS", "/v1/embeddings", *_preflight(origin)),
        await open_api.embed(open_api.bearer, _origin(origin)),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert "origin" in answer.headers["vary"].lower()


async def test_operators_operations_are_never_let_out(open_api: ServedApi) -> None:
    for path in ("/admin/v1/accounts", "/admin/openapi.json", "/metrics"):
        for method, headers in (("OPTIONS", _preflight(APP, b"GET")), ("GET", [_origin(APP)])):
            answer = await open_api.raw(method, path, *headers)
            assert not [name for name in answer.headers if name.startswith("access-control-")], path


async def test_no_page_may_call_without_the_setting(api: ServedApi) -> None:
    for answer in (
        await api.raw("OPTIONS", "/v1/embeddings", *_preflight(APP)),
        await api.embed(api.bearer, _origin(APP)),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_every_page_may_call_where_the_setting_says_so(installation: tuple[Settings, Credentials]) -> None:
    settings, made = installation
    running: AbstractAsyncContextManager[ServedApi] = served(settings, made, cors_origins=["*"])
    async with running as api:
        answer = await api.embed(api.bearer, _origin(OTHER))
        assert answer.headers["access-control-allow-origin"] == "*"


def test_every_header_of_ours_is_exposed() -> None:
    """Read from the code: what an answer says in a header, a page may read, or it is named here."""
    hidden = {"x-gigarouter-dry-run"}
    code = "\n".join((ROOT / file).read_text() for file in product() if file.startswith(("router/", "billing/")))
    written = set(re.findall(r'"(x-gigarouter-[a-z-]+|x-ratelimit-[a-z-]+|idempotency-replayed)"', code))
    assert written - hidden <= set(EXPOSED.split(", "))


@pytest.mark.parametrize(
    "value", ["https://app.example/", "app.example", "https://a.example/path", "null", "*.example"]
)
def test_what_is_no_origin_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("GIGAROUTER_CORS_ORIGINS", value)
    with pytest.raises(SettingsError, match="an origin is a scheme, a host"):
        config.load()


def test_origins_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIGAROUTER_CORS_ORIGINS", "https://App.example, http://[::1]:5173,*")
    assert config.load().cors_origins == [APP, "http://[::1]:5173", "*"]
