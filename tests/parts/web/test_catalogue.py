"""The catalogue, a model's page and the comparison, as text: two golden pages, filters, twins, and bad addresses."""

import csv
import difflib
import io
import json
import os
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import httpx
import msgspec
import pytest
from sqlalchemy import text

from router.admin.licenses import record_claim, resolve_license
from router.changes.transaction import transact
from store.ids import AccountId, ModelId
from tests.builders.database import DatabaseBuilder
from tests.builders.registry import OPS
from tests.harness.page_text import page_text
from tests.harness.pages import Pages, a_member

pytestmark = pytest.mark.anyio

GOLDEN = Path(__file__).parent / "golden"
F2LLM, LIVE = "codefuse-ai/F2LLM-v2-4B", "acme/embed-large"
# It has no batch price: its batch calls pay the list price.
ONE_PRICE = "acme/one-price"
FIGURES = """
INSERT INTO endpoint_figures (endpoint_id, span, size, answered, ours, providers, customers, latency)
SELECT e.id, span, 'small', $2::bigint, 0, $3::bigint, 5,
    array_fill(0::bigint, ARRAY[$4::int - 1]) || $2::bigint || array_fill(0::bigint, ARRAY[24 - $4::int])
FROM endpoints e JOIN providers p ON p.id = e.provider_id, unnest(ARRAY['24h', '7d', '30d']) AS span WHERE p.name = $1
"""


@pytest.fixture(scope="module", autouse=True)
def live(build: DatabaseBuilder) -> None:
    """A live model with two endpoints, one of which fails one call in twenty."""
    model = build.a_model(LIVE, nano_per_mtok=10_000_000, batch_nano_per_mtok=6_000_000)
    build.an_endpoint(model, "https://alpha.example/v1", name="alpha", max_batch=2048)
    build.an_endpoint(model, "https://beta.example/v1", name="beta")
    build.a_model(ONE_PRICE, nano_per_mtok=8_000_000)
    build.rows("UPDATE providers SET regions = '{eu}', retention_days = 0, collects_data = false WHERE name = 'alpha'")
    build.rows(FIGURES, "alpha", 1000, 0, 7)
    build.rows(FIGURES, "beta", 950, 50, 11)
    build.rows("INSERT INTO statistics_state SELECT name, now() FROM unnest(ARRAY['written', 'summed']) AS name")


@pytest.fixture(scope="module")
def others(build: DatabaseBuilder, account: AccountId) -> AccountId:
    """Another account; the first one gets a key."""
    build.a_key(account)
    return build.an_account(1, "Other")


def compared(found: str, name: str) -> None:
    """Fails with the difference; `GOLDEN=1` writes the page that was found."""
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("GOLDEN"):
        file.write_text(found)
    difference = difflib.unified_diff(file.read_text().splitlines(), found.splitlines(), "golden", "page", lineterm="")
    assert not (lines := list(difference)), "\n".join(lines)


async def read(pages: Pages, path: str, status: int = 200) -> httpx.Response:
    answer = await pages.reader().get(path)
    assert answer.status_code == status, answer.text
    return answer


async def test_the_page_of_f2llm_v2_4b_says_what_its_sources_say_and_no_more(pages: Pages) -> None:
    answer = await read(pages, f"/models/{F2LLM}")
    found = page_text(answer.text)
    compared(found, "f2llm_v2_4b")
    for sentence in (
        *("◌ coming soon codefuse-ai/F2LLM-v2-4B published Mar 2026 · updated May 2026", "200+ languages"),
        *("est. $0.008 per 1M tokens", "the same for every size of the family from 80M to 14B; set at launch"),
        *("Providers: 0 none serves it yet", "41.1K a month, as of 2026-11-24", "Architecture: Qwen3"),
        *(
            "4,022,468,096 (4B)",
            "2,560 shortens to 8, 16, 32, 64, 128, 256, 512, 1024, 2048",
            "8,192 tokens as evaluated",
        ),
        *("40,960 tokens, the architecture's ceiling", "trained near 1,000", "Length of vectors: 1", "bf16"),
        *("Sources disagree.", "Apache-2.0 AND CC-BY-NC-ND-4.0", "the estimate of its price is no offer"),
        *("A statement about another model, codefuse-ai/F2LLM-v2-14B:", "282 natural languages", "More than 200"),
        "retrieve passages that can help answer the question.\\nQuery: before queries, and nothing before documents.",
    ):
        assert sentence in found, sentence
    alone = re.compile(r"apache", re.IGNORECASE)
    data = json.loads(re.findall(r'<script type="application/ld\+json">(.*?)</script>', answer.text)[0])
    assert "license" not in data
    assert "offers" not in data
    assert f'<link rel="canonical" href="{pages.context.origins.public}/models/{F2LLM}">' in answer.text
    assert 'property="og:description"' in answer.text
    listed = json.loads((await read(pages, f"/models.json?q={F2LLM}")).text)["data"]
    assert [one["license_in_words"] for one in listed] == ["claims conflict"]
    for path in (f"/models?q={F2LLM}", f"/models.csv?q={F2LLM}", f"/compare?m={F2LLM}&m={LIVE}", "/models.atom"):
        assert not alone.search((await read(pages, path)).text), path
    twin = json.loads((await read(pages, f"/models/{F2LLM}.json")).text)
    assert (twin["license"], twin["license_conflict"]) == ("Apache-2.0 AND CC-BY-NC-ND-4.0", True)
    markdown = (await read(pages, f"/models/{F2LLM}.md")).text
    assert "What holds: Apache-2.0 AND CC-BY-NC-ND-4.0." in markdown
    assert "A statement about another model, codefuse-ai/F2LLM-v2-14B:" in markdown
    for line in (
        *("- research use: yes, with attribution.", "- MTEB, multilingual: 67.06 (mean score, of 100), measured by"),
        *("- Trained widths: 8, 16,", "## Changes of this entry", "0 accounts want this model."),
        "- Updated: May 2026 (source: gigarouter catalogue page, 2026-11-24",
    ):
        assert line in markdown, line


async def test_the_page_of_a_live_model_with_a_degraded_endpoint(pages: Pages) -> None:
    found = page_text((await read(pages, f"/models/{LIVE}")).text)
    compared(re.sub(r"As of .*?\.", "", found), "live")
    assert "alpha | ● live | eu | $0.01 | $0.006" in found
    assert "beta | ◐ degraded" in found
    assert "Your vote" not in found
    data = re.findall(r'ld\+json">(.*?)</script>', (await read(pages, f"/models/{LIVE}")).text)[0]
    assert json.loads(data)["offers"]["price"] == "0.01"


async def test_a_member_sees_what_holds_for_their_keys_votes_and_sends_evidence(
    pages: Pages, account: AccountId, others: AccountId
) -> None:
    ann = pages.reader(a_member(account, now=pages.now))
    path = f"/models/{F2LLM}"
    with pages.counted() as statements:
        page = await ann.get(path)
    # A new connection's own settings are no page's.
    assert len([one for one in statements if "set_config" not in one]) <= 6
    found = page_text(page.text)
    assert re.search(r"- \S+, declared for commercial use: may not call it\. CC-BY-NC-ND-4.0 does not permit", found)
    mine = (await ann.get("/models?mine=1")).text
    assert LIVE in mine
    assert f'value="{F2LLM}"' not in mine
    for models, may in ((["codefuse-ai/F2LLM-v2-80M"], False), (list[str](), True)):
        async with pages.context.writes.db.transaction() as tx:
            await tx.execute(text("UPDATE keys SET models = :models"), {"models": models})
        await pages.context.reads.catch_up()
        assert (LIVE in (await ann.get("/models?mine=1")).text) is may
    [action] = set(re.findall(r'action="(/accounts/[^"]+)"', page.text))
    voted = await ann.post(action, data={"act": "vote", "note": "1B tokens a month"})
    assert voted.status_code == 303
    after = page_text((await ann.get(voted.headers["location"])).text)
    assert "Your vote is counted." in after
    assert "[button] Take back the vote of Acme" in after
    await ann.post(action, data={"act": "withdraw"})
    assert "[button] Vote for F2LLM-v2-4B as Acme" in page_text((await ann.get(path)).text)
    refused = await ann.post(action, data={"act": "evidence", "text": "It is MIT.", "link": "no link"})
    assert refused.status_code == 400
    assert "It is MIT." in refused.text  # nothing typed is lost
    sent = await ann.post(action, data={"act": "evidence", "text": "It is MIT.", "link": "https://acme.example"})
    assert sent.headers["location"] == f"/models/{F2LLM}?done=evidence#license"
    assert (await ann.post(action, data={"act": "delete"})).status_code == 400
    stranger = pages.reader(a_member(others, now=pages.now), "eve")
    assert (await stranger.post(action, data={"act": "vote"})).status_code == 404


async def test_filters_order_and_the_twins_have_the_same_rows(pages: Pages) -> None:
    address = "?owner=codefuse-ai&sort=-size&status=soon&shortens=1"
    page = await read(pages, f"/models{address}")
    shown = re.findall(r'<th scope="row"><input type="checkbox" name="m" value="([^"]+)"', page.text)
    assert [one.rpartition("-")[2] for one in shown] == ["14B", "8B", "4B", "1.7B", "0.6B", "330M", "160M", "80M"]
    as_json = json.loads((await read(pages, f"/models.json{address}")).text)
    as_csv = list(csv.DictReader(io.StringIO((await read(pages, f"/models.csv{address}")).text)))
    assert [one["id"] for one in as_json["data"]] == [one["id"] for one in as_csv] == shown
    assert as_csv[0].keys() == as_json["data"][0].keys()
    every = await read(pages, "/models?sort=size")
    unknown_last = re.findall(r'name="m" value="([^"]+)"', every.text)
    down = re.findall(r'name="m" value="([^"]+)"', (await read(pages, "/models?sort=-size")).text)
    assert unknown_last[-1] == down[-1]
    assert "No model fits" in (await read(pages, "/models?q=nothing-has-that-name")).text
    feed = ET.fromstring((await read(pages, "/models.atom")).content)
    assert len(feed.findall("{http://www.w3.org/2005/Atom}entry")) > 20
    some = "?q=embed-large"
    assert f'href="/models.atom{some}"' in (await read(pages, f"/models{some}")).text
    feed = ET.fromstring((await read(pages, f"/models.atom{some}")).content)
    titles = [entry[0].text or "" for entry in feed.findall("{http://www.w3.org/2005/Atom}entry")]
    assert titles
    assert all(title.startswith(f"{LIVE}: ") for title in titles)


async def test_a_batch_call_pays_the_list_price_where_there_is_no_other(pages: Pages) -> None:
    for address in ("/models?q=one-price", f"/compare?m={ONE_PRICE}&m={LIVE}"):
        assert "as list" in (await read(pages, address)).text
    [listed] = json.loads((await read(pages, "/models.json?q=one-price")).text)["data"]
    assert listed["batch_usd_per_mtok"] == listed["usd_per_mtok"] == "0.008"
    order = re.findall(r'name="m" value="(acme/[^"]+)"', (await read(pages, "/models?q=acme/&sort=batch")).text)
    assert order == [LIVE, ONE_PRICE]


async def test_a_comparison_is_its_address(pages: Pages) -> None:
    found = page_text((await read(pages, f"/compare?m=F2LLM-v2-4B&m={LIVE}&m=F2LLM-v2-8B&tokens=1000000")).text)
    compared(found, "compare")
    assert "1,000,000 tokens a month" in found
    assert "Same vector space? | no." in found
    single = page_text((await read(pages, f"/compare?m={LIVE}&m={LIVE}")).text)
    assert f"{LIVE} is chosen." in single
    assert "Add one to three models" in single
    assert "Name two to four models" in (await read(pages, "/compare")).text
    assert "There is no model no/such" in (await read(pages, f"/compare?m={LIVE}&m=no/such", 404)).text
    four = "&".join(f"m=codefuse-ai/F2LLM-v2-{size}" for size in ("80M", "160M", "330M", "0.6B", "1.7B"))
    assert (await pages.reader().get(f"/compare?{four}")).status_code == 400


BAD_ADDRESSES = [
    ("/models?limit=0", 400),
    ("/models?sort=colour", 400),
    ("/models?price_max=-1", 400),
    ("/models?price_max=nan", 400),
    ("/models?dims_max=٣", 400),
    ("/models?dims_max=99999999999999999999", 400),
    ("/models?status=soon&status=nowhere", 400),
    ("/models?q=" + "x" * 300, 400),
    ("/models?status=live&status=soon&license=unknown", 200),
    ("/models?q=%00", 400),
    ("/models?q=%ff", 400),
    ("/models.csv?sort=", 200),
    ("/models/..%2f..%2fetc", 404),
    ("/models/a/b%3Fc", 404),
    ("/models/nobody/nothing", 404),
    ("/models/nothing", 404),
    (f"/models/{F2LLM}?tokens=-1", 400),
    (f"/models/{F2LLM}?tokens=0&vectors=0", 200),
    ("/compare?m=nobody/nothing", 404),
    ("/compare?m=", 200),
]


async def test_a_bad_address_is_a_sentence(pages: Pages) -> None:
    client = pages.reader()
    for path, status in BAD_ADDRESSES:
        answer = await client.get(path)
        assert answer.status_code == status, path
        assert "internal_error" not in answer.text
        assert not re.search(r"\b(int|str|float|null|RFC3339)\b", page_text(answer.text).partition("Code:")[0]), path
        if status == 404 and "nothing" in path:
            assert "There is no model no" in answer.text


async def test_two_hundred_models_are_light_and_cost_no_more_statements_than_one(
    pages: Pages,
) -> None:
    with pages.counted() as few:
        await read(pages, "/models?q=80M")
    catalog = pages.context.reads.catalog
    some = [msgspec.structs.replace(one, id=f"{one.id}-{n}", aliases=()) for n in range(9) for one in catalog.all()]
    catalog.replace(some[:200])
    with pages.counted() as many:
        answer = await pages.reader().get("/models", headers={"accept-encoding": "gzip"})
    assert "200 of 200 models" in answer.text
    assert len(answer.content) <= 150_000
    assert int(answer.headers["content-length"]) <= 20_000
    assert len(many) <= len(few) <= 6


async def test_page_chip_list_api_and_verdict_change_together_when_a_license_is_resolved(pages: Pages) -> None:
    model, db = ModelId("codefuse-ai/F2LLM-v2-330M"), pages.context.writes.db

    async def told() -> set[str]:
        await pages.context.reads.catch_up()
        page = page_text((await read(pages, f"/models/{model}")).text)
        [listed] = json.loads((await read(pages, f"/models.json?q={model}")).text)["data"]
        answered = json.loads((await read(pages, f"/models/{model}.json")).text)
        chip = next(line for line in page.splitlines() if line.startswith("* License:"))
        return {chip[13:], listed["license_in_words"], answered["license_verdict"]["in_words"]}

    claimed = {"license": "CC-BY-NC-4.0", "source": "a blog", "evidence": "https://acme.example"}
    await transact(db, OPS, lambda work: record_claim(work, model, **claimed, claimed_on=pages.now.date()))
    assert await told() == {"claims conflict"}
    ruling = {"license": "Apache-2.0", "reason": "Its maker said so.", "evidence": "https://acme.example"}
    await transact(db, OPS, lambda work: resolve_license(work, model, **ruling))
    assert await told() == {"commercial use permitted"}
