"""Walks the one table of routes: each role on each page, and hostile addresses on each, which are never our fault."""

import re
from datetime import timedelta

import pytest

from router.identity.members import OPERATOR_ROLES, Role
from router.identity.people.values import OpenView
from store.ids import AccountId, AccountViewId, new_id, wire
from tests.harness.pages import Pages, a_member, an_operator
from web.route import Route, Who
from web.routes import ROUTES
from web.viewer import NOBODY, Viewer

pytestmark = pytest.mark.anyio

MEMBERS = (Role.OWNER, Role.DEVELOPER, Role.FINANCE)
IDS = ("nothing", "req_00", "..", "%2e%2e%2f", "a%00b", "%ED%A0%80", "x" * 300, "-1", "٣", "a'b\"<i>", "?#&")
QUERIES = (
    *("limit=0", "limit=-1", "limit=9" + "9" * 20, "limit=%D9%A3", "cursor=zzz", "cursor=%00", "sort=-", "q=%ED%A0%80"),
    *(
        "zone=None/Nowhere",
        "zone=..%2F..%2Fetc%2Fpasswd",
        "from=0000-01-01",
        "to=9999-99-99",
        "from=1900-01-01&to=2100-01-01",
    ),
    *(
        "from=2027-01-01&to=2026-01-01",
        "m=..&m=%2F&m=a&m=b&m=c",
        "next=//evil",
        "page=1",
        "price_max=nan",
        "price_max=1e400",
    ),
    *(
        "tokens=-5",
        "tokens=" + "9" * 20,
        "status=all&status=none",
        "key_id=acct_0",
        "model=%3F%23",
        "code=1",
        "by=%3Ci%3E",
    ),
)


def filled(route: Route, account: AccountId, value: str = "nothing") -> str:
    path = route.path.replace("{account}", wire(AccountId, account))
    return re.sub(r"\{\w+(:path)?\}", lambda _: value, path)


def reader_of(route: Route, account: AccountId, pages: Pages) -> Viewer:
    """Somebody who may have the page."""
    if route.who is Who.OPERATOR:
        return an_operator(sorted(route.roles)[-1], now=pages.now)
    return a_member(account, sorted(route.roles or {Role.OWNER})[-1], now=pages.now)


async def test_a_role_without_the_page_learns_who_can_give_it(pages: Pages, account: AccountId) -> None:
    for route in ROUTES:
        if route.who not in (Who.MEMBER, Who.OPERATOR):
            continue
        roles = MEMBERS if route.who is Who.MEMBER else OPERATOR_ROLES
        for role in set(roles) - route.roles:
            viewer = (
                a_member(account, role, now=pages.now) if route.who is Who.MEMBER else an_operator(role, now=pages.now)
            )
            method = "GET" if route.show else "POST"
            answer = await pages.reader(viewer).request(method, filled(route, account))
            assert answer.status_code == 403, (route.path, role)
            assert "can give you" in answer.text, (route.path, role)


async def test_an_account_is_seen_by_who_started_to_see_it_and_changed_by_nobody_of_us(
    pages: Pages, account: AccountId
) -> None:
    unknown = AccountId(new_id())
    view = OpenView(AccountViewId(new_id()), account, "Acme", pages.now + timedelta(minutes=20))
    strangers = [an_operator(), an_operator(Role.FINANCE_ADMIN), an_operator(view=view)]
    for route in (row for row in ROUTES if row.who is Who.MEMBER):
        for method in ("GET", "POST") if route.show and route.act else ("GET",) if route.show else ("POST",):
            answers = [await pages.reader(one).request(method, filled(route, unknown)) for one in strangers]
            answers += [await pages.reader(one).request(method, filled(route, account)) for one in strangers[:2]]
            for answer in answers:
                assert answer.status_code == 404, (route.path, method)
                assert "Acme" not in answer.text.partition("<main")[2], (route.path, method)
            # A sign-in of hours ago is enough for who changes nothing.
            answer = await pages.reader(strangers[2]).request(method, filled(route, account))
            if method == "POST":
                assert (answer.status_code, "nothing was done" in answer.text) == (403, True), route.path
            else:
                owner = await pages.reader(a_member(account, now=pages.now)).get(filled(route, account))
                assert answer.status_code == owner.status_code < 500, (route.path, answer.status_code)
                assert answer.headers["cache-control"] == "no-store", route.path


async def test_a_slash_too_many_leads_to_the_page_and_nowhere_else(pages: Pages, account: AccountId) -> None:
    for route in ROUTES:
        path = filled(route, account)
        for viewer in (NOBODY, reader_of(route, account, pages)):
            client, method = pages.reader(viewer), "GET" if route.show else "POST"
            for slashes in ("/", "//") if path != "/" else ():
                answer = await client.request(method, f"{path}{slashes}?a=%C3%A4&b=//evil")
                found = (answer.status_code, answer.headers.get("location"))
                assert found == (308, f"{path}?a=%C3%A4&b=//evil"), route.path
    client = pages.reader()
    for evil in (
        "//evil/",
        "///evil/",
        "/\\evil/",
        "/%2f%2fevil/",
        "//evil/%2e%2e/",
        "/models/a/b/c/",
        "/v1/models/",
        "//",
    ):
        answer = await client.get(f"http://127.0.0.1:8001{evil}")
        assert answer.status_code in (200, 404), evil
        assert "location" not in answer.headers, evil


# A person's own pages want a session of Postgres': tests/parts/web/test_sign_in.py opens one.
WALKED = [row for row in ROUTES if row.show and row.who is not Who.PERSON]


async def test_no_address_is_our_fault(pages: Pages, account: AccountId) -> None:
    faults = []
    for route in WALKED:
        client = pages.reader(reader_of(route, account, pages))
        addresses = [f"{filled(route, account)}?{query}" for query in QUERIES]
        if "{" in route.path.replace("{account}", ""):
            addresses += [filled(route, account, value) for value in IDS]
        for address in addresses:
            answer = await client.get(address)
            is_html = "text/html" in answer.headers.get("content-type", "")
            if answer.status_code >= 500 or (is_html and "<i>" in answer.text):
                faults.append((answer.status_code, address))
    assert not faults
