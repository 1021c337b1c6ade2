"""Trying a model from its page: a call like any other, charged once however often its form is sent."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from playwright.async_api import Browser, Page, expect

from billing.money import NanoUSD
from billing.values import Cap, CapPeriod
from gigarouter.web import NICENESS
from router.identity.members import Role, add_member
from router.identity.people.limits import TRIALS_OF_PERSON, count_trial
from router.identity.people.people import ensure_person
from router.identity.people.sessions import open_session
from router.identity.people.values import Method, Place
from store.embedded import Embedded
from store.ids import AccountId, KeyId, new_id, wire
from tests.builders.database import NON_COMMERCIAL, DatabaseBuilder
from tests.builders.settings import settings_of
from tests.harness.browser import Site, Window, a_site, a_window
from tests.harness.fake_upstream import Reply, Upstream, tokens_of
from tests.harness.pages import a_member
from tests.harness.pictures import take_pictures
from tests.harness.processes import Process, free_port
from tests.harness.served_api import Credentials, ServedApi, served
from tests.harness.trials import MODEL, TEXTS, Form, Shop, form_page, losing, reader, wait_for, with_send

pytestmark = pytest.mark.anyio
COLD, RESTRICTED, SOON = "tests/cold", "tests/restricted", "codefuse-ai/F2LLM-v2-4B"
SECRET = re.compile(r"gr_(?:live|test)_\w{8}_\w{32}_\w{6}")
NANO = 1_000_000
STATEMENTS_MAX = 6


@pytest.fixture(scope="module")
def shop(servers: Embedded, module_database_url: str, secret_key: str) -> Iterator[Shop]:
    servers.redis.command("FLUSHALL")
    build = DatabaseBuilder(module_database_url, secret_key)
    build.import_seed()
    account, poor = build.an_account(5_000_000_000, "Acme"), build.an_account(0, "Poor")
    with Upstream(16).in_thread() as upstream:
        model = build.a_model(MODEL, nano_per_mtok=NANO, dimensions=16, trained_dimensions=[4, 8, 16])
        build.an_endpoint(model, upstream.base_url)
        build.a_model(COLD)
        build.a_claim(build.a_model(RESTRICTED), NON_COMMERCIAL)
        yield Shop(
            settings_of(build.url, servers.redis_url, secret_key),
            build,
            upstream,
            account,
            build.a_key_and_its_id(account)[1],
            build.a_key_and_its_id(account, is_test=True)[1],
            poor,
            build.a_key_and_its_id(poor)[1],
        )


@pytest.fixture(scope="module")
async def api(shop: Shop) -> AsyncIterator[ServedApi]:
    async with served(shop.settings, Credentials("", "", MODEL)) as running:
        yield running


@pytest.fixture(scope="module")
async def site(browser: Browser, shop: Shop, api: ServedApi) -> AsyncIterator[Site]:
    settings = shop.settings.model_copy(update={"web_api_url": f"http://127.0.0.1:{api.server.port}"})
    async with a_site(settings) as running:
        yield running


async def type_and_send(page: Page, texts: tuple[str, ...], key: KeyId) -> None:
    """From the model's page to the vectors, by keyboard alone."""
    for number, text in enumerate(texts, 1):
        if number == 3:
            await page.get_by_text("Up to three more").focus()
            await page.keyboard.press("Enter")
        await page.get_by_role("textbox", name=f"Text {number}").focus()
        await page.keyboard.type(text)
    # Others of the module's tests make keys, too.
    await page.get_by_role("combobox", name="Charged to").select_option(wire(KeyId, key))
    for name in ("See what it costs", re.compile("Embed 3 texts for at most")):
        await page.get_by_role("button", name=name).focus()
        await page.keyboard.press("Enter")


@pytest.mark.parametrize("script", [True, False])
async def test_from_the_models_page_to_cosines_and_a_map_by_keyboard_and_the_same_again_costs_nothing(
    browser: Browser, site: Site, shop: Shop, script: bool
) -> None:
    before = await shop.charges()
    viewer = a_member(shop.account, Role.DEVELOPER if script else Role.OWNER)
    window: Window = await a_window(browser, site, viewer, java_script_enabled=script)
    page = await window.open(f"/models/{MODEL}#try")
    await type_and_send(page, tuple(f"{text} {script}" for text in TEXTS), shop.live)
    await expect(page.get_by_role("heading", level=2, name="3 vectors")).to_be_visible()
    for width in ("16", "4"):
        table = page.get_by_role("table", name=f"Cosines at {width} numbers")
        await expect(table.get_by_text("nearest")).to_have_count(3)
        await expect(page.get_by_role("img", name="The texts on a plane")).to_have_count(2)
    [cost] = (await shop.charges())[len(before) :]
    await expect(page.get_by_text(f"$0.{cost:09d}".rstrip("0"), exact=True)).to_be_visible()
    if script:
        await window.check_accessible()
        await window.check_fits()
        await take_pictures(window, "try-it-result")
        await check_a_refusal(browser, site, shop)
    await page.reload()
    await expect(page.get_by_text("This time nothing was charged")).to_be_visible()
    await page.get_by_role("button", name="See what it costs").click()
    await page.get_by_role("button", name=re.compile("Embed 3 texts")).click()
    await expect(page.get_by_text("This time nothing was charged")).to_be_visible()
    assert await shop.charges() == [*before, cost]
    # The page says that the explanation is there a second later; a busy machine takes longer.
    window.expected.add(404)
    await page.get_by_role("link", name="Why the call went where it did").click()
    async with asyncio.timeout(30):
        while await page.get_by_role("heading", level=1).inner_text() != "Replayed":
            await asyncio.sleep(0.2)
            await page.reload()
    await window.close()


async def check_a_refusal(browser: Browser, site: Site, shop: Shop) -> None:
    """The page of a model that nobody serves: accessible, narrow, and what was typed is there."""
    window = await a_window(browser, site, a_member(shop.account), color_scheme="dark")
    page = await window.open(f"/models/{COLD}#try")
    await take_pictures(window, "try-it-form")
    await page.get_by_role("textbox", name="Text 1").fill("What was typed")
    window.expected.add(503)
    await page.get_by_role("button", name="See what it costs").click()
    await expect(page.get_by_role("alert")).to_contain_text("no_provider_available")
    await expect(page.get_by_role("textbox", name="Text 1")).to_have_value("What was typed")
    await window.check_accessible()
    await window.check_fits()
    await take_pictures(window, "try-it-refused")
    await window.close()


async def test_the_cost_is_said_before_is_the_ledgers_after_and_the_key_is_as_it_was(
    site: Site, shop: Shop, api: ServedApi
) -> None:
    form = await Form(site.pages, shop.account).open(shop.live)
    digest = await shop.value("SELECT digest FROM keys WHERE id = $1", shop.live)
    quoted = await form.cost()
    assert "At most" in quoted.text
    before = await shop.charges()
    answer = await form.send()
    assert answer.status_code == 200, answer.text
    [cost] = (await shop.charges())[len(before) :]
    # A million nano-USD for a million tokens.
    assert cost == sum(map(tokens_of, TEXTS)) <= int(form.fields["most"])
    assert answer.headers["cache-control"] == "no-store"
    keys = await form.client.get(form.path.replace("/try", "/keys"))
    assert "works on" not in keys.text
    assert await shop.rows("SELECT * FROM old_secrets") == []
    connection = await api.context.db.connect()
    await api.context.receipts.statistics.write(connection, site.pages.now)
    await connection.close()
    assert await shop.rows("SELECT * FROM key_uses WHERE key_id = $1", shop.live) == []
    assert await shop.value("SELECT digest FROM keys WHERE id = $1", shop.live) == digest
    [newest] = await shop.rows("SELECT * FROM audit WHERE action LIKE 'trial.%' ORDER BY at DESC LIMIT 1")
    assert (newest["actor"][:4], newest["subject"]) == ("mem_", wire(KeyId, shop.live))
    for page in (quoted, answer, keys):
        assert not SECRET.search(page.text)
    await wait_for(lambda: shop.rows("SELECT * FROM routes WHERE account_id = $1", shop.account))
    for table in ("audit", "routes", "idempotency", "sign_in_counts", "usage_events", "outbox"):
        if await shop.value("SELECT to_regclass($1)::text", table):
            for row in await shop.rows(f"SELECT t::text AS content FROM {table} t"):
                assert "quokka" not in row["content"], table
                assert not SECRET.search(row["content"]), table


async def test_a_form_that_is_sent_twice_or_loses_its_answer_is_charged_once_and_another_text_is_another_call(
    site: Site, shop: Shop
) -> None:
    form = await Form(site.pages, shop.account).open(shop.live, "one", "two")
    await form.cost()
    before = await shop.charges()
    shop.upstream.script.append(Reply(delay_s=0.7))
    both = await asyncio.gather(form.send(), form.send())
    assert [answer.status_code for answer in both] == [200, 200]
    assert sum("This time nothing was charged" in answer.text for answer in both) == 1
    assert len(await shop.charges()) == len(before) + 1
    assert await shop.rows("SELECT * FROM old_secrets") == []
    # The reader goes back, and types something that costs more than what was confirmed.
    form.type("one", "two, and a good deal more than that")
    assert "changed after you saw the cost" in (await form.send()).text
    await form.cost()
    assert "2 vectors" in (await form.send()).text
    assert len(await shop.charges()) == len(before) + 2
    # The answer is lost on its way to the pages.
    form.type("three", "four")
    await form.cost()
    lost = with_send(site.pages, losing(site.pages.context.send_call))
    gone = await (await Form(lost, shop.account).open(shop.live, "three", "four")).client.post(
        form.path, data=form.fields | {"act": "call"}
    )
    assert gone.status_code == 503
    assert "api_unreachable" in gone.text
    assert "Embed 2 texts" in gone.text
    assert "This time nothing was charged" in (await form.send()).text
    assert len(await shop.charges()) == len(before) + 3


async def test_pages_that_are_killed_between_call_and_answer_charge_once_and_leave_a_secret_of_a_minute(
    site: Site, shop: Shop, api: ServedApi, tmp_path: Path
) -> None:
    email = "killed@example.com"

    async def sign_in(work: Any) -> str:
        await add_member(work, shop.account, email, Role.OWNER)
        person, _ = await ensure_person(work, email)
        return (await open_session(work, person, Method.CODE, Place("Firefox", "127.0.0.0/24")))[0]

    cookie = await asyncio.to_thread(shop.build.as_owner, sign_in)
    port = free_port()
    environment = {
        "DATABASE_URL": shop.build.url,
        "GIGAROUTER_SECRET_KEYS": shop.settings.secret_keys[0].get_secret_value(),
        "GIGAROUTER_WEB_PORT": str(port),
        "GIGAROUTER_WEB_API_URL": f"http://127.0.0.1:{api.server.port}",
        "GIGAROUTER_DATA_DIR": str(tmp_path),
    }
    web = Process("web", ["gigarouter", "web"], environment, tmp_path, port)
    web.start()
    try:
        await asyncio.to_thread(web.wait_until_ready)
        # Pages give way to calls.
        assert os.getpriority(os.PRIO_PROCESS, web.pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)
        form = await Form(site.pages, shop.account).open(shop.live, "killed", "pages")
        await form.cost()
        before, calls = await shop.charges(), len(shop.upstream.calls)
        shop.upstream.script.append(Reply(delay_s=1.5))
        headers = {"sec-fetch-site": "same-origin", "cookie": f"__Host-session={cookie}"}
        async with httpx.AsyncClient(base_url=web.url, headers=headers) as client:
            data = form.fields | {"act": "call"}
            first = asyncio.create_task(client.post(form.path, data=data, timeout=60))

            async def has_reached_the_provider() -> bool:
                assert not first.done(), (await first).text
                return len(shop.upstream.calls) > calls

            await wait_for(has_reached_the_provider)
            web.kill()
            with pytest.raises(httpx.HTTPError):
                await first
    finally:
        web.kill()
    [left] = await shop.rows("SELECT works_until - now() AS rest FROM old_secrets WHERE is_trial")
    assert left["rest"].total_seconds() <= 60
    again = await form.send()
    assert "This time nothing was charged" in again.text
    assert len(await shop.charges()) == len(before) + 1
    assert "quokka" not in web.said_since_start()
    assert not SECRET.search(web.said_since_start())
    await shop.rows("DELETE FROM old_secrets")


async def test_what_stands_against_a_call_is_said_in_the_apis_words_and_charges_nothing(
    site: Site, shop: Shop, api: ServedApi
) -> None:
    pages = site.pages
    before = await shop.charges()
    # What memory knows is said before anything is sent.
    for model, status, code in ((RESTRICTED, 403, "license_restricted"), (COLD, 503, "no_provider_available")):
        answer = await (await Form(pages, shop.account).open(shop.live, model=model)).cost()
        assert (answer.status_code, code in answer.text) == (status, True), answer.text
    assert "no endpoint of it" in (await form_page(pages, shop, COLD)).lower()
    soon = await form_page(pages, shop, SOON)
    assert "announced and not served yet" in soon
    assert 'name="text1"' not in soon
    # What the API alone knows.
    capped = await shop.a_key(cap=Cap(NanoUSD(1), CapPeriod.TOTAL))
    poor = await Form(pages, shop.poor).open(shop.poor_key)
    for form, status, code in (
        (await Form(pages, shop.account).open(capped), 403, "key_budget_exhausted"),
        (poor, 402, "credit_exhausted"),
    ):
        await form.cost()
        answer = await form.send()
        assert (answer.status_code, code in answer.text) == (status, True), answer.text
    shop.upstream.always = Reply(status=500)
    try:
        form = await Form(pages, shop.account).open(shop.live, "down")
        await form.cost()
        down = await form.send()
        assert (down.status_code, "provider_unavailable" in down.text) == (503, True), down.text
    finally:
        shop.upstream.always = Reply()
    assert await shop.charges() == before
    # A test key is free, and its vectors are made up.
    form = await Form(pages, shop.account).open(shop.test)
    await form.cost()
    made_up = await form.send()
    assert "3 vectors" in made_up.text
    assert await shop.charges() == before


async def test_keys_of_others_and_keys_that_stopped_are_not_offered_and_sent_all_the_same_call_nothing(
    site: Site, shop: Shop
) -> None:
    pages = site.pages
    stopped = await shop.a_key()
    form = await Form(pages, shop.account).open(stopped)
    await shop.rows("UPDATE keys SET paused = true WHERE id = $1", stopped)
    assert wire(KeyId, stopped) not in (await form.client.get(f"{form.path}?model={MODEL}")).text
    for path in (f"/models/{MODEL}", f"{form.path}?model={MODEL}"):
        # The first page of a process connects, and reads the statistics.
        await form.client.get(path)
        with pages.counted() as statements:
            assert "See what it costs" in (await form.client.get(path)).text
        assert len(statements) <= STATEMENTS_MAX
    secrets = await shop.value("SELECT count(*) FROM audit WHERE action LIKE 'trial.%'")
    answers = []
    for key_id in (wire(KeyId, stopped), wire(KeyId, shop.poor_key), "key_0", "<i>"):
        form.fields |= {"key_id": key_id, "most": "1" + "0" * 9}
        answers.append(await form.send())
    assert {answer.status_code for answer in answers} == {422}
    assert all("Choose one of these keys" in answer.text and "<i>" not in answer.text for answer in answers)
    assert await shop.value("SELECT count(*) FROM audit WHERE action LIKE 'trial.%'") == secrets
    for role, status in ((Role.DEVELOPER, 200), (Role.FINANCE, 403)):
        viewer = a_member(shop.account, role, now=pages.now)
        assert (await reader(pages, viewer).get(form.path)).status_code == status
    stranger = reader(pages, a_member(shop.poor, now=pages.now))
    assert (await stranger.post(form.path, data=form.fields)).status_code == 404


async def test_a_member_of_several_accounts_chooses_account_and_key_in_the_form(shop: Shop, site: Site) -> None:
    both = a_member(shop.account, now=site.pages.now)
    poor = a_member(shop.poor, Role.DEVELOPER, now=site.pages.now).memberships[0]
    money = a_member(shop.poor, Role.FINANCE, now=site.pages.now)
    both = msgspec.structs.replace(
        both, memberships=(*both.memberships, msgspec.structs.replace(poor, account_name="Poor"))
    )
    client = reader(site.pages, both)
    await client.get(f"/models/{MODEL}")
    with site.pages.counted() as statements:
        page = await client.get(f"/models/{MODEL}")
    assert len(statements) <= STATEMENTS_MAX
    found = re.findall(r'<optgroup label="(\w+)">(.*?)</optgroup>', page.text, re.DOTALL)
    keys = {name: re.findall(r'value="(key_\w+)"', options) for name, options in found}
    assert wire(KeyId, shop.live) in keys["Acme"]
    assert keys["Poor"] == [wire(KeyId, shop.poor_key)]
    form = Form(site.pages, shop.account, both)
    fields = (await form.open(shop.live)).fields | {"act": "cost"}
    for account, key in ((shop.account, shop.live), (shop.poor, shop.poor_key), (shop.account, KeyId(new_id()))):
        led = await client.post("/me/try", data=fields | {"key_id": wire(KeyId, key)})
        assert (led.status_code, led.headers["location"]) == (307, f"/accounts/{wire(AccountId, account)}/try")
    priced = await client.post("/me/try", data=fields, follow_redirects=True)
    assert (priced.status_code, "What it costs" in priced.text) == (200, True)
    # Whoever handles money alone tries nothing, and is led to no account.
    assert (await reader(site.pages, money).post("/me/try", data=fields)).status_code == 404


async def test_a_person_is_limited_for_an_hour_and_pages_without_the_api_say_how_to_call(
    site: Site, shop: Shop
) -> None:
    viewer = msgspec.structs.replace(a_member(shop.account), person="eager", email="eager@acme.example")
    form = await Form(site.pages, shop.account, viewer).open(shop.live, "eager")
    await form.cost()
    for _ in range(TRIALS_OF_PERSON.hits):
        await count_trial(site.pages.context.writes.db, "eager", f"{_}@acme.example", "203.0.113.0/24")
    answer = await form.send()
    assert answer.status_code == 429
    assert "or call the API by your key" in answer.text
    assert "A higher limit of the key" not in answer.text
    alone = with_send(site.pages, None)
    assert "make no calls themselves" in await form_page(alone, shop, MODEL)
    assert "make no calls themselves" in (await (await Form(alone, shop.account).open(shop.live)).cost()).text
