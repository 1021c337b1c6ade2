"""Whatever anybody types or plants: every page of the table answers with a sentence, and shows texts as texts.

The addresses are those of things that there are, so that what is sent reaches what reads it.
"""

import asyncio
import re
from collections.abc import Iterator
from itertools import cycle

import pytest

from gigarouter.settings import Settings
from store.embedded import Embedded
from store.ids import AccountId, wire
from tests.builders.database import DatabaseBuilder
from tests.harness.one_of_each import (
    TABLES,
    address_of,
    an_account_with_everything,
    make_by_pages,
    path_values,
    reader_of,
)
from tests.harness.pages import Pages, a_member, served_pages
from tests.harness.reading import forms_of, words_of
from web.request import FORM_MEDIA
from web.route import Route, Who
from web.routes import ROUTES

pytestmark = pytest.mark.anyio

MARKER = "<i>\"'\u202e&"
LONG = "W" * 80
# What somebody types into any field, whatever it is for.
VALUES = (
    *(
        "",
        "0",
        "-1",
        "-0.000000001",
        "9" * 20,
        "1e400",
        "nan",
        "٣",
        "1,000.5",
        "0000-00-00",
        "9999-99-99",
        "1900-01-01",
    ),
    *("acct_" + "0" * 32, "../..", "a/../b", "%2F", "?a#b", "//evil", "javascript:alert(1)", "None/Nowhere", LONG),
    *(MARKER, "\ud83d".encode("utf-8", "surrogatepass").decode("latin-1"), "on", "ä" * 300, " ", "\u202eevil", "{}"),
)
FIELDS = re.compile(r'<(?:input|select|textarea|button)[^>]* name="([^"]+)"')
# What reads these columns knows their values.
KNOWN_WORDS = ("kind", "status", "state", "lane", "outcome", "format")
# A person's own pages want a session of Postgres': tests/parts/web/test_sign_in.py opens one.
SHOWN = [route for route in ROUTES if route.show and route.who is not Who.PERSON]
ACTED = [route for route in ROUTES if route.act and route.who is not Who.PERSON]
# Their forms are not on the page that has the same address.
OF_OTHER_PAGES = {"next": "//evil", "confirm": "1", "once": "x", "version": "x", "act": "vote", "answer": "x"}
SKIPPED = ("/-/",)


@pytest.fixture(scope="module")
def account(build: DatabaseBuilder, servers: Embedded) -> AccountId:
    return an_account_with_everything(build, servers)


@pytest.fixture(scope="module")
async def values(settings: Settings, build: DatabaseBuilder, account: AccountId) -> dict[str, str]:
    async with served_pages(settings) as pages:
        await make_by_pages(pages, account)
    return await asyncio.to_thread(path_values, build, account)


def walked(routes: list[Route], values: dict[str, str]) -> Iterator[tuple[Route, str]]:
    for route in routes:
        if not route.path.startswith(SKIPPED):
            yield route, address_of(route, values)


async def test_any_value_in_any_field_gives_a_page_with_a_sentence(
    pages: Pages, account: AccountId, values: dict[str, str]
) -> None:
    """Each field that a page has gets values in turn, in its query and posted to it, so that each meets several."""
    typed, faults = cycle(VALUES), list[tuple[int, str, dict[str, str]]]()
    for route, address in walked([*SHOWN, *(one for one in ACTED if not one.show)], values):
        client = pages.reader(reader_of(route, account, pages.now))
        names = list(OF_OTHER_PAGES)
        if route.show:
            page = await client.get(address)
            if page.status_code == 500:
                faults.append((page.status_code, address, {}))
            names += list(dict.fromkeys(FIELDS.findall(page.text.partition("<main")[2])))
        for _ in range(2):
            sent = {name: next(typed) for name in names}
            answers = [await client.get(address, params=sent)] if route.show else []
            if route.act:
                answers.append(await client.post(address, data=sent))
            for answer in answers:
                is_html = "text/html" in answer.headers.get("content-type", "")
                is_said = not is_html or len(words_of(answer)) > 20
                # What is not set up here, such as payments, is 503 and a sentence.
                if answer.status_code == 500 or (is_html and "<i>" in answer.text) or not is_said:
                    faults.append((answer.status_code, address, sent))
    assert not faults, faults


# Every text column of a table that takes it; those of a partition are its table's.
_PLANT = """
DO $plant$
DECLARE spot record;
BEGIN
    SET LOCAL session_replication_role = replica;
    FOR spot IN SELECT c.table_name AS place, c.column_name AS name FROM information_schema.columns c
        JOIN pg_class t ON t.relname = c.table_name AND t.relkind IN ('r', 'p') AND NOT t.relispartition
        WHERE c.table_schema = 'public' AND c.data_type = 'text' AND c.column_name <> ALL(%s)
    LOOP
        BEGIN
            EXECUTE format('UPDATE %%I SET %%2$I = %%2$I || %%3$L', spot.place, spot.name, $marker$%s$marker$);
        EXCEPTION WHEN check_violation OR unique_violation OR raise_exception THEN NULL;
        END;
    END LOOP;
END $plant$
"""


async def test_a_text_of_the_database_is_markup_nowhere(
    pages: Pages, build: DatabaseBuilder, account: AccountId, values: dict[str, str]
) -> None:
    """Every text column that takes it ends with what a browser would read as markup."""

    await asyncio.to_thread(build.rows, _PLANT % (f"ARRAY{list(KNOWN_WORDS)}", MARKER))
    await pages.context.reads.catch_up()
    seen, faults = 0, []
    for route, address in walked(SHOWN, values):
        answer = await pages.reader(reader_of(route, account, pages.now)).get(address)
        seen += "&lt;i&gt;" in answer.text
        is_html = "text/html" in answer.headers.get("content-type", "")
        if answer.status_code == 500 or (is_html and "<i>" in answer.text):
            faults.append((answer.status_code, address))
    assert not faults, faults
    assert seen > 20, seen


TYPED = re.compile(r'<(?:input(?![^>]*type="(?:hidden|checkbox|radio|file|password)")|textarea)[^>]*? name="([^"]+)"')
# Of these nothing is sent back, or they ask somebody outside.
NOT_SENT_BACK = ("/credential", "/models", "/test", "/check", "/sign-in")


async def test_a_form_with_far_too_much_comes_back_with_all_of_it_and_a_sentence(
    pages: Pages, account: AccountId, values: dict[str, str]
) -> None:
    """More than 64 KiB, in all fields of each form together."""
    acted = {address for _, address in walked(ACTED, values)}
    seen, faults = set[str](), []
    # The consoles' forms are at the address that they are posted to.
    for route, address in walked([one for one in SHOWN if one.act or one.who is not Who.OPERATOR], values):
        client = pages.reader(reader_of(route, account, pages.now))
        page = await client.get(address)
        for form in forms_of(page) if "text/html" in page.headers.get("content-type", "") else []:
            action = form.action or address
            names = [name for name in dict.fromkeys(TYPED.findall(page.text)) if name in form.fields]
            if action not in acted - seen or action.startswith("/sign-in") or action.endswith(NOT_SENT_BACK):
                continue
            seen |= {action}
            typed = {name: f"{number}" + "Y" * (70_000 // len(names)) for number, name in enumerate(names)}
            if not typed:
                continue
            answer = await client.post(action, data=form.fields | typed)
            is_back = all(text in answer.text for text in typed.values())
            if answer.status_code >= 500 or not is_back or 'class="wrong"' not in answer.text:
                faults.append((answer.status_code, action, words_of(answer)[:300]))
    assert not faults, faults
    assert len(seen) > 30, seen


# Bodies that no page of ours sends, and what may answer them.
BODIES = {
    b"&".join(b"f%d=1" % number for number in range(10_000)): (400,),
    # A page that takes files has room for it, and no such field.
    b"name=" + b"x" * 1_000_000: (400, 413),
    b"name=%zz&note=%": (303, 400, 404, 409, 200, 422, 503),
    b"name=a%00b": (400,),
    b"name=%ED%A0%80": (400,),
    b"name=\xff": (400,),
}


async def test_a_form_that_no_page_sends_is_refused_by_every_page(
    pages: Pages, account: AccountId, values: dict[str, str]
) -> None:
    faults = []
    for route, address in walked(ACTED, values):
        client = pages.reader(reader_of(route, account, pages.now))
        for body, expected in BODIES.items():
            answer = await client.post(address, content=body, headers={"content-type": FORM_MEDIA.decode()})
            if answer.status_code not in expected or (not answer.content and answer.status_code != 303):
                faults.append((answer.status_code, address, body[:20]))
            if answer.status_code == 413 and "longest field, name, has 1,000,000 characters" not in answer.text:
                faults.append((answer.status_code, address, answer.content))
    assert not faults, faults


async def test_an_id_of_another_kind_and_one_of_another_account_are_ids_of_nothing(
    pages: Pages, build: DatabaseBuilder, account: AccountId, values: dict[str, str]
) -> None:
    stranger = await asyncio.to_thread(build.an_account, 1, "Stranger")
    of_others, faults = values | {"account": wire(AccountId, stranger)}, []
    for route in SHOWN:
        names = [name for name in re.findall(r"{(\w+)", route.path) if name in TABLES or name in ("call", "number")]
        if not names:
            continue
        client = pages.reader(reader_of(route, account, pages.now))
        another = values | {
            name: values["endpoint" if name != "endpoint" else "key"] for name in [*names, "management"]
        }
        answers = [await client.get(address_of(route, another))]
        if route.who is Who.MEMBER:
            client = pages.reader(reader_of(route, stranger, pages.now))
            answers.append(await client.get(address_of(route, of_others)))
        faults += [(one.status_code, str(one.url)) for one in answers if one.status_code not in (400, 404)]
    assert not faults, "\n".join(map(str, faults))


async def test_a_cursor_of_another_account_shows_nothing_of_it(
    pages: Pages, build: DatabaseBuilder, account: AccountId, values: dict[str, str]
) -> None:
    stranger = await asyncio.to_thread(build.an_account, 1, "Another")
    base = f"/accounts/{values['account']}"
    owner = pages.reader(a_member(account, now=pages.now), "owner")
    other = pages.reader(a_member(stranger, now=pages.now), "other")
    for page in ("calls", "credit/movements", "documents", "audit"):
        first = await owner.get(f"{base}/{page}")
        found = re.search(r'rel="next"[^>]*|href="[^"]*(cursor=[^"&]+)', first.text)
        cursor = found[1] if found and found[1] else f"cursor={values['call']}"
        answer = await other.get(f"/accounts/{wire(AccountId, stranger)}/{page}?{cursor}")
        assert answer.status_code in (200, 400), page
        ids = set(re.findall(r"\breq_[0-9a-f]{32}", first.text)) - set(re.findall("Request <code>(.*?)<", first.text))
        # The address that was asked for stands in the page, as what leads back to it.
        shown = answer.text.replace(cursor.partition("=")[2], "")
        assert not [one for one in ids if one in shown], page
