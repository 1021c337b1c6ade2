"""What every page has from the shell: who may, what a form must prove, headers, errors that are pages."""

import re

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from router.errors import HeadersTooLarge
from router.identity.members import Role
from store.ids import AccountId, RequestId, new_id, wire
from tests.harness.pages import Pages, a_member, an_operator
from web.route import Who
from web.routes import ROUTES
from web.shell import ACCOUNT_NAV, KEYS, PUBLIC_NAV, STAFF_NAV

pytestmark = pytest.mark.anyio


def address(path: str, account: AccountId) -> str:
    known = path.replace("{account}", wire(AccountId, account))
    return re.sub(r"\{\w+\}", "name", re.sub(r"\{\w+:path\}", "org/name", known))


@pytest.mark.parametrize("path", [row.path for row in ROUTES if row.who is not Who.ANYONE])
async def test_who_may_not_read_a_page_learns_nothing_from_it(pages: Pages, account: AccountId, path: str) -> None:
    [row] = [row for row in ROUTES if row.path == path]
    known, unknown = address(path, account), address(path, AccountId(new_id()))
    method = "GET" if row.show else "POST"
    nobody = pages.reader()
    answers = [await nobody.request(method, one) for one in (known, unknown)]
    assert answers[0].status_code == answers[1].status_code in (303, 401)
    strangers = [a_member(AccountId(new_id()), now=pages.now), an_operator(now=None)]
    if row.who is Who.OPERATOR:
        strangers = [a_member(account, role, now=pages.now) for role in (Role.OWNER, Role.DEVELOPER, Role.FINANCE)]
    elif row.who is Who.PERSON:
        return
    for stranger in strangers:
        client = pages.reader(stranger)
        seen, missing = [await client.request(method, one) for one in (known, unknown)]
        assert seen.status_code == missing.status_code
        assert seen.status_code == 404
        assert without_ids(seen.text) == without_ids(missing.text)


def without_ids(text: str) -> str:
    return re.sub(r"(req|acct)_[0-9a-f]{32}", "", text)


async def test_a_sign_in_of_yesterday_is_asked_for_again(pages: Pages, account: AccountId) -> None:
    stale = pages.reader(an_operator(now=None))
    answer = await stale.get(f"/ops/accounts/{wire(AccountId, account)}/name")
    assert answer.status_code in (303, 401)


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:8001"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"origin": "http://127.0.0.1:8001"}, True),
        ({"origin": "http://127.0.0.1:8002"}, False),
        ({"origin": "null"}, False),
        ({}, False),
    ],
)
async def test_a_form_passes_only_from_a_page_of_ours(pages: Pages, headers: dict[str, str], passes: bool) -> None:
    client = pages.reader()
    client.headers.pop("sec-fetch-site")
    answer = await client.post("/theme", data={"theme": "dark"}, headers=headers)
    assert answer.status_code == (303 if passes else 403)
    assert ("set-cookie" in answer.headers) is passes


async def test_every_answer_keeps_the_page_to_itself(pages: Pages) -> None:
    for path in ("/models", "/nothing", "/-/parts", "/assets/x/site.css"):
        answer = await pages.reader().get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "require-trusted-types-for 'script'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["referrer-policy"] == "same-origin"
        # Not on the machine's own address, where there is no TLS.
        assert "strict-transport-security" not in answer.headers


async def test_what_a_person_reads_is_kept_nowhere(pages: Pages, account: AccountId) -> None:
    signed_in, visitor = pages.reader(a_member(account)), pages.reader(name="nobody")
    assert (await signed_in.get("/models")).headers["cache-control"] == "no-store"
    public = await visitor.get("/models")
    assert public.headers["cache-control"] == "no-cache"
    assert "cookie" in public.headers["vary"]


async def test_another_host_is_not_answered_and_probes_are(pages: Pages) -> None:
    client = pages.reader()
    for host in ("evil.example", "127.0.0.1:8002", "127.0.0.1.evil.example:8001"):
        refused = await client.get("/models", headers={"host": host})
        assert refused.status_code == 421
        assert "evil" not in refused.text
        assert (await client.get("/health", headers={"host": host})).status_code == 200
    assert (await client.get("/models", headers={"host": "localhost:8001"})).status_code == 200
    assert (await client.get("/ready")).text == "ready"


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("nothing=1", "nothing"),
        ("sort=best", "sort"),
        ("sort=id&sort=price", "twice"),
        ("q=%00", "NUL"),
        ("q=%ED%A0%80", "UTF-8"),
        ("&".join(f"q{number}=" for number in range(2_000)), "longer than 8192 bytes"),
        ("&".join("q=" for _ in range(500)), "more than 200"),
    ],
)
async def test_an_address_that_cannot_be_read_gets_a_sentence(pages: Pages, query: str, word: str) -> None:
    answer = await pages.reader().get(f"/models?{query}")
    assert answer.status_code == 400
    assert word in answer.text
    assert "<code>invalid_request</code>" in answer.text


async def test_what_never_became_a_request_gets_a_page(pages: Pages) -> None:
    answer = pages.app.refuse_unread(HeadersTooLarge("The head of the request is too large."), RequestId(new_id()))
    text, headers = b"".join(answer.body).decode(), dict(answer.headers)
    assert (answer.status, headers[b"content-type"]) == (431, b"text/html; charset=utf-8")
    assert "The head of the request is too large." in text.partition("<main")[2]
    assert b"content-security-policy" in headers
    assert headers[b"cache-control"] == b"no-store"


async def test_texts_that_are_typed_are_text(pages: Pages) -> None:
    client = pages.reader()
    for typed in ("%zz", "<script>alert(1)</script>", "٣", '"><b>', "\u202egnp"):
        answer = await client.get("/models", params={"q": typed})
        assert answer.status_code == 200
        assert "<script>alert" not in answer.text
        assert "<b>" not in answer.text
        assert "\u202e" not in answer.text


async def test_errors_are_pages_with_the_apis_codes(pages: Pages) -> None:
    client = pages.reader()
    missing = await client.get("/nothing/here")
    assert missing.status_code == 404
    assert "<code>not_found</code>" in missing.text
    assert missing.headers["x-request-id"] in missing.text
    wrong = await client.request("PUT", "/models")
    assert wrong.status_code == 405
    assert wrong.headers["allow"] == "GET, HEAD, OPTIONS"
    assert (await client.request("OPTIONS", "/models")).status_code == 204
    large = await client.post("/theme", data={"theme": "x" * 1_000_000})
    assert large.status_code == 413
    unread = await client.post("/theme", json={"theme": "dark"})
    assert unread.status_code == 400


async def test_no_reading_page_can_write(pages: Pages, account: AccountId) -> None:
    with pytest.raises(DBAPIError, match="read-only transaction"):
        async with pages.context.reads.db.transaction() as connection:
            await connection.execute(text("UPDATE accounts SET name = 'x'"))
    async with pages.context.reads.db.transaction() as connection:
        assert await connection.scalar(text("SHOW statement_timeout")) == "5s"


async def test_a_page_sends_few_statements(pages: Pages, account: AccountId) -> None:
    operator = pages.reader(an_operator(now=pages.now))
    for path in ("/models", f"/ops/accounts/{wire(AccountId, account)}/name"):
        with pages.counted() as statements:
            assert (await operator.get(path)).status_code == 200
        assert len(statements) <= 6, statements


async def test_assets_never_change_under_their_address(pages: Pages) -> None:
    client = pages.reader()
    page = await client.get("/-/parts")
    found = re.findall(r'(?:href|src)="(/assets/[^"]+)"', page.text)
    assert len(found) == 3
    for asset in found:
        answer = await client.get(asset)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
    assert (await client.get("/assets/0000/site.css")).status_code == 404


async def test_keys_of_one_letter_are_turned_off_by_a_form_and_no_two_are_one(pages: Pages) -> None:
    client = pages.reader()
    assert len(set(KEYS.values())) == len(KEYS)
    assert set(KEYS) == {name for name, *_ in (*PUBLIC_NAV, *STAFF_NAV, *ACCOUNT_NAV)}
    shown = await client.get("/shortcuts")
    assert "They are turned on" in shown.text
    assert "data-shortcuts" in shown.text
    for back, to in {"/models?q=a": "/models?q=a", "//evil.example": "/shortcuts"}.items():
        answer = await client.post("/shortcuts", data={"shortcuts": "off", "next": back})
        assert answer.headers["location"] == to
    assert "They are turned off" in (await client.get("/shortcuts")).text
    assert "data-shortcuts" not in (await client.get("/models")).text
    await client.post("/shortcuts", data={"shortcuts": "on"})
    assert "data-shortcuts" in (await client.get("/models")).text
    assert (await client.post("/shortcuts", data={"shortcuts": "maybe"})).status_code == 400


async def test_the_theme_is_in_a_cookie_and_leads_back_to_pages_of_ours_alone(pages: Pages) -> None:
    client = pages.reader()
    for back, to in {"/models?q=a": "/models?q=a", "//evil.example": "/", "https://evil.example": "/"}.items():
        answer = await client.post("/theme", data={"theme": "dark", "next": back})
        assert answer.headers["location"] == to
    assert 'data-theme="dark"' in (await client.get("/models")).text
