"""The console in Chromium: accessible, narrow, and without script; a conflict is settled with evidence by clicks."""

import asyncio
import re

import pytest
from playwright.async_api import expect
from sqlalchemy import text

from router.identity.members import Role
from store.ids import AccountId, KeyId, wire
from tests.builders.database import DatabaseBuilder
from tests.harness.browser import NewWindow, Site
from tests.harness.manual import Manual
from tests.harness.pages import an_operator
from tests.harness.pictures import take_pictures

pytestmark = pytest.mark.anyio

CONTESTED = "codefuse-ai/F2LLM-v2-4B"
SERVED = "acme/embed"
LONG = "a-model-with-a-name-of-eighty-characters-and-not-one-space-in-it-anywhere-at-all"

# A week of hourly probes, the last of which is further from the reference than it may be.
DRIFT = """
INSERT INTO probes (id, endpoint_id, at, occasion, verdict, report)
SELECT gen_random_uuid(), e.id, now() - n * interval '1 hour', 'periodic', 'same_space', jsonb_build_object('steps',
    jsonb_build_array(jsonb_build_object('name', 'canaries', 'agreement', jsonb_build_object('rows', 4,
        'cosine_min', 1 - 0.002 / (n + 1), 'cosine_median', 1 - 0.0002 / (n + 1)))))
FROM endpoints e, generate_series(0, 160) n WHERE e.model_id = $1
"""

# A million tokens that somebody used an hour ago, at no price.
USED = """
INSERT INTO usage_events (request_id, occurred_at, account_id, key_id, model_id, provider_id, endpoint_id, space,
    inputs, tokens, price_id, nano_per_mtok, cost_nano, charged_nano, overdraft_nano, held_nano, provider_cost_nano,
    latency_ms, attempts)
SELECT gen_random_uuid(), now() - interval '1 hour', :account, e.id, e.model_id, e.provider_id, e.id, 's', 1, 1000000,
    e.id, 0, 0, 0, 0, 0, 0, 90, 1
FROM endpoints e WHERE e.model_id = :model
"""


@pytest.fixture(scope="module")
def build(build: DatabaseBuilder) -> DatabaseBuilder:
    """With a model that is served, and a name that is hard to lay out."""
    model = build.a_model(f"acme/{LONG}")
    build.an_endpoint(model, "https://api.acme.example/v1", name="acme")
    build.rows(DRIFT, model)
    served = build.a_model(SERVED)
    for name, cost in (("near", 500_000), ("far", 900_000)):
        build.an_endpoint(served, f"https://{name}.example/v1", name=name, cost_nano_per_mtok=cost)
    build.rows(DRIFT, served)
    return build


async def test_the_console_is_accessible_and_fits_a_narrow_screen(
    open_window: NewWindow, site: Site, account: AccountId
) -> None:
    ops = await open_window(an_operator(Role.OPS, now=site.pages.now))
    one = f"/ops/accounts/{wire(AccountId, account)}"
    pages = {
        "ops": "/ops",
        "ops-providers": "/ops/providers",
        "ops-provider": "/ops/providers/acme",
        "ops-new-provider": "/ops/providers/new",
        "ops-models": "/ops/providers/acme/models",
        "ops-impact": f"/ops/prices/impact?model=acme/{LONG}&usd_per_mtok=0.02",
        "ops-spaces": "/ops/spaces",
        "ops-space": f"/ops/spaces/tests:acme/{LONG}?days=7",
        "ops-licenses": "/ops/licenses",
        "ops-license": f"/ops/licenses/{CONTESTED}",
        "ops-prices": "/ops/prices",
        "ops-route": f"/ops/route?model=acme/{LONG}&exclude=acme",
        "ops-account": one,
        "ops-suspend": f"{one}/suspend",
        "ops-audit": "/ops/audit",
    }
    for name, path in pages.items():
        await ops.open(path)
        await ops.check_accessible()
        await ops.check_fits()
        await take_pictures(ops, name)
    dark = await open_window(an_operator(now=site.pages.now), color_scheme="dark")
    await dark.open(f"/ops/licenses/{CONTESTED}")
    await dark.check_accessible()


async def test_a_conflict_is_settled_without_script_and_the_public_page_follows(
    open_window: NewWindow, site: Site
) -> None:
    ops = await open_window(an_operator(now=site.pages.now), java_script_enabled=False)
    public = await open_window()
    page = await ops.open("/ops")
    await page.get_by_role("link", name="License desk").click()
    await page.get_by_role("link", name=CONTESTED, exact=True).first.click()
    await page.get_by_role("link", name="Rule that Apache-2.0 holds").click()
    await expect(page.get_by_role("textbox", name="License")).to_have_value("Apache-2.0")
    await page.get_by_role("textbox", name="Reason").fill("The maker says so in writing.")
    await page.get_by_role("textbox", name="Evidence").fill("https://example.com/letter")
    await page.get_by_role("button", name="See what would change").click()
    await expect(page.get_by_role("cell", name="Apache-2.0")).to_be_visible()
    await page.get_by_role("button", name=f"Rule on the license of {CONTESTED}").click()
    await expect(page.get_by_role("status").first).to_contain_text("It is done")
    await site.pages.context.reads.catch_up()
    shown = await public.open(f"/models/{CONTESTED}")
    await expect(shown.get_by_text("Sources disagree.")).to_have_count(0)
    await expect(shown.get_by_text("commercial use permitted").first).to_be_visible()


async def test_whom_a_price_touches_is_read_before_it_is_set(
    open_window: NewWindow, site: Site, account: AccountId
) -> None:
    async with site.pages.context.writes.db.transaction() as tx:
        await tx.execute(text(USED), {"account": account, "model": f"acme/{LONG}"})
    window = await open_window(an_operator(Role.FINANCE_ADMIN, now=site.pages.now))
    page = await window.open(f"/ops/prices/new?model=acme/{LONG}")
    await page.get_by_role("textbox", name="Price, USD per 1M tokens").first.fill("0.02")
    await page.get_by_role("button", name="See what would change").click()
    await expect(page.get_by_role("heading", name="Whom it touches")).to_be_visible()
    await expect(page.get_by_role("row", name="Acme 1 1,000,000")).to_contain_text("0.02")
    await window.check_accessible()
    await window.check_fits()
    await take_pictures(window, "ops-price-impact")
    await page.get_by_role("link", name="The list by itself").click()
    await expect(page.get_by_role("row", name="Acme 1 1,000,000")).to_contain_text("1,000,000")


async def test_models_are_found_and_registered_by_clicks_without_script(open_window: NewWindow, site: Site) -> None:
    window = await open_window(an_operator(now=site.pages.now), java_script_enabled=False)
    page = await window.open("/ops/providers/new")
    await page.get_by_role("textbox", name="Name").fill("voyage")
    await page.get_by_role("combobox", name="Kind").select_option("Through LiteLLM")
    await page.get_by_role("textbox", name="Options").fill("vendor=voyage")
    await page.get_by_role("button", name="See what would change").click()
    await page.get_by_role("button", name="Register voyage").click()
    await page.get_by_role("link", name="Models", exact=True).last.click()
    await page.get_by_role("button", name="Ask voyage for its models").click()
    await page.get_by_role("checkbox", name="Register voyage-code-3", exact=True).check()
    await page.get_by_role("checkbox", name="Register voyage-law-2", exact=True).check()
    await window.check_fits()
    await take_pictures(window, "ops-models-found")
    await page.get_by_role("button", name="Go on with those chosen").click()
    first = page.get_by_role("group", name="voyage-code-3")
    await expect(first.get_by_role("textbox", name="Model")).to_have_value("voyageai/voyage-code-3")
    await expect(first.get_by_role("textbox", name="Our cost")).to_have_value("0.18")
    await take_pictures(window, "ops-models-chosen")
    await page.get_by_role("button", name="See what would change").click()
    await page.get_by_role("button", name="Register 2 models at voyage").click()
    await expect(page.get_by_role("status").first).to_contain_text("It is done")
    # Prices are for finance: the step is named, and is a link for them alone.
    await expect(page.get_by_role("listitem").filter(has_text="Cost and price: our cost 0.18")).to_be_visible()
    await expect(page.get_by_role("link", name="Cost and price")).to_have_count(0)
    finance = await open_window(an_operator(Role.FINANCE_ADMIN, now=site.pages.now))
    there = await finance.open(page.url.removeprefix(site.url).partition("?")[0])
    way = there.get_by_role("link", name="Cost and price")
    await expect(way).to_have_attribute("href", "/ops/prices/new?model=voyageai%2Fvoyage-code-3")
    await take_pictures(window, "ops-provider-with-models")


async def test_operators_on_duty_do_what_the_article_says(
    open_window: NewWindow, site: Site, build: DatabaseBuilder, account: AccountId
) -> None:
    manual = Manual("duty.md")
    _, key = await asyncio.to_thread(build.a_key_and_its_id, account)
    window = await open_window(an_operator(now=site.pages.now), java_script_enabled=False)
    page = await window.open("/ops")
    await page.get_by_role("link", name="Queues and lags").click()
    await expect(page.get_by_role("row", name=re.compile("^Processes that run jobs.*unknown"))).to_be_visible()
    await manual.check(window, "duty-queues")
    await take_pictures(window, "ops-queues")
    await window.open("/ops/incidents/new")
    await page.get_by_role("textbox", name="What does not work").fill("Answers are slow")
    await page.get_by_role("textbox", name="Models that it touches").fill(SERVED)
    await page.get_by_role("textbox", name="What customers read").fill(
        "Some calls take seconds. We look for the cause."
    )
    await page.get_by_role("button", name="See what would change").click()
    await manual.check(window, "duty-confirm")
    await take_pictures(window, "ops-incident-confirm")
    await page.get_by_role("button", name="Open the incident Answers are slow").click()
    await manual.check(window, "duty-incident")
    await window.open(f"/ops/route?a={SERVED}&b={SERVED}&b_exclude=near")
    await expect(page.get_by_role("row", name=re.compile("^Chosen.*differs"))).to_be_visible()
    await manual.check(window, "duty-routes")
    await take_pictures(window, "ops-route-pair")
    await window.open(f"/ops/keys/{wire(KeyId, key)}")
    await manual.check(window, "duty-key")
    await window.open(f"/ops/spaces/tests:{SERVED}?days=7")
    await manual.check(window, "duty-drift")
    await take_pictures(window, "ops-drift")
    assert not manual.unseen
