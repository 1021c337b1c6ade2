"""Operators keep a model's entry in Chromium: accessible, narrow, and by clicks alone, with script and without."""

import pytest
from playwright.async_api import expect
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from tests.builders.database import DatabaseBuilder
from tests.harness.browser import NewWindow, Site
from tests.harness.pages import an_operator
from tests.harness.pictures import FOLDER, take_pictures

pytestmark = pytest.mark.anyio

LONG = "a-model-with-a-name-of-eighty-characters-and-not-one-space-in-it-anywhere-at-all"
MODEL = f"/ops/models/acme/{LONG}"
BARE = "/ops/models/acme/bare"
HOSTILE = (
    "# Big\n\n<script>alert(1)</script> [x](javascript:alert(1)) ![p](https://a.example/p.png)\n\n"
    "\u05e9\u05dc\u05d5\u05dd \u202eevil 漢字かな交じり文\n\n" + "W" * 200 + "\n\n| a | b |\n|---|---|\n| 1 | 2 |"
)
TEXTS = [
    {"section": "about", "body": HOSTILE, "source": "\u05de\u05e7\u05d5\u05e8", "stated_on": "2020-01-01"},
    {"section": "faq", "title": "何?", "body": "漢字。", "source": "W" * 80, "stated_on": "2026-11-01"},
]
_FACTS = """
UPDATE models SET texts = :texts, languages = :words, benchmarks = :results,
    statements = :stated, architecture = 'Qwen3'
WHERE id = :id
"""
_MANY = """
INSERT INTO models (id, owned_by, summary, status, dimensions, max_input_tokens, normalized, pooling, numerics, space)
SELECT 'many/m' || n, 'many', '漢字', 'coming_soon', 8, 8, true, 'undisclosed', 'undisclosed', 'many-' || n
FROM generate_series(0, 999) n
"""


@pytest.fixture(scope="module")
def build(build: DatabaseBuilder) -> DatabaseBuilder:
    """With a thousand models, one that lacks everything, and one whose every part is hard to lay out."""
    build.a_model("acme/bare")
    build.a_model(f"acme/{LONG}")
    build.rows(_MANY)
    return build


@pytest.fixture
async def site(site: Site) -> Site:
    source = {"source": "The card", "stated_on": "2026-11-24", "evidence": f"https://acme.example/{LONG}"}
    facts = {
        "texts": TEXTS,
        "words": "עברית 漢字",
        "results": [{"name": "MTEB", "value": "64.55", "unit": "of 100", "measured_by": "Acme", **source}],
        "stated": [{"fact": "architecture", **source}, {"fact": "languages", "value": HOSTILE[:300], **source}],
    }
    statement = text(_FACTS).bindparams(*(bindparam(name, type_=JSONB) for name in ("texts", "results", "stated")))
    async with site.pages.context.writes.db.transaction() as tx:
        await tx.execute(statement, {**facts, "id": f"acme/{LONG}"})
    await site.pages.context.reads.catch_up()
    return site


async def test_its_pages_are_accessible_and_fit_a_narrow_screen(open_window: NewWindow, site: Site) -> None:
    ops = await open_window(an_operator(now=site.pages.now))
    pages = {
        "ops-model-list": "/ops/models",
        "ops-model": MODEL,
        "ops-model-text": f"{MODEL}/texts/1",
    }
    if FOLDER:
        pages |= {"ops-model-bare": BARE, "ops-model-edit": f"{MODEL}/edit", "ops-model-fact": f"{MODEL}/facts/2"}
    for name, path in pages.items():
        await ops.open(path)
        await ops.check_accessible()
        await ops.check_fits()
        await take_pictures(ops, name)


@pytest.mark.parametrize("has_script", [True, False], ids=["script", "no-script"])
async def test_a_text_and_a_fact_are_changed_by_clicks_and_the_model_ends(
    open_window: NewWindow, site: Site, *, has_script: bool
) -> None:
    window = await open_window(an_operator(now=site.pages.now), java_script_enabled=has_script)
    page = await window.open("/ops")
    await page.get_by_role("link", name="Models", exact=True).last.click()
    name = f"acme/clicked-{has_script}".lower()
    await page.get_by_role("link", name="Add a model").click()
    for label, typed in (("Id", name), ("Maker", "acme"), ("Summary", "One."), ("Dimensions", "8")):
        await page.get_by_role("textbox", name=label, exact=True).fill(typed)
    await page.get_by_role("textbox", name="Input limit").fill("64")
    await page.get_by_role("button", name="See what would change").click()
    await page.get_by_role("button", name=f"Add {name}").click()
    await page.get_by_role("link", name="Add a text to About").click()
    await expect(page.get_by_role("combobox", name="Section")).to_have_value("about")
    await page.get_by_role("textbox", name="Text", exact=True).fill(HOSTILE)
    await page.get_by_role("textbox", name="Who says so").fill("The card")
    await page.get_by_role("button", name="See what would change").click()
    await expect(page.get_by_role("heading", name="Big")).to_be_visible()
    if has_script:
        await window.check_accessible()
    await window.check_fits()
    await take_pictures(window, f"ops-model-text-added-{has_script}")
    await page.get_by_role("button", name=f"Add a text to {name}").click()
    await page.get_by_role("link", name="Change “About”").click()
    await page.get_by_role("textbox", name="Text", exact=True).fill(HOSTILE.replace("| 1 |", "| 3 |"))
    await page.get_by_role("button", name="See what would change").click()
    await expect(page.get_by_role("deletion")).to_have_text("\N{MINUS SIGN} | 1 | 2 |")
    await expect(page.get_by_role("insertion")).to_have_text("+ | 3 | 2 |")
    await take_pictures(window, f"ops-model-text-changed-{has_script}")
    await page.get_by_role("button", name=f"Change the text About of {name}").click()
    await page.get_by_role("link", name="Add a source of Architecture").click()
    await page.get_by_role("textbox", name="What stands here").fill("Qwen3")
    await page.get_by_role("textbox", name="Who says so").fill("The card")
    await page.get_by_role("button", name="See what would change").click()
    await take_pictures(window, f"ops-model-fact-added-{has_script}")
    await page.get_by_role("button", name=f"Add a fact to {name}").click()
    await page.get_by_role("link", name="Retire it").click()
    await page.get_by_role("textbox", name="Successor").fill("acme/bare")
    await page.get_by_role("button", name="See what would change").click()
    await expect(page.get_by_text("Nobody is mailed.")).to_be_visible()
    await take_pictures(window, f"ops-model-retired-{has_script}")
    await page.get_by_role("button", name=f"Retire {name}").click()
    await expect(page.get_by_role("status").first).to_contain_text("It is done")
    public = await window.open(f"/models/{name}")
    await expect(public.get_by_text("takes its place.")).to_be_visible()
