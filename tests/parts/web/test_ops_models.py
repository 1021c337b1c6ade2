"""Operators keep a model's entry on pages: fields, facts with sources, texts, results, and the moves of its life."""

import asyncio
import re
from datetime import UTC, datetime

import pytest

from router.identity.members import Role
from store.ids import AccountId, wire
from tests.builders.database import DatabaseBuilder
from tests.harness.pages import Pages, an_operator
from tests.harness.reading import Reader, form_of, words_of

pytestmark = pytest.mark.anyio

SEEDED = "codefuse-ai/F2LLM-v2-4B"
TODAY = datetime.now(UTC).date().isoformat()
# Markup, a link that runs, a heading, a mark that turns the direction, two scripts.
HOSTILE = (
    "# Big\n\n<script>alert(1)</script> [x](javascript:alert(1)) ![p](https://a.example/p.png)\n\n"
    "\u05e9\u05dc\u05d5\u05dd \u200f(1) 漢字"
)
NEEDED = {"owned_by": "acme", "dimensions": "384", "max_input_tokens": "512", "normalized": "1"}
SOURCE = {"source": "Acme's card", "evidence": "https://acme.example/card", "stated_on": "2026-11-24"}


@pytest.fixture
def ops(pages: Pages) -> Reader:
    return Reader(pages.reader(an_operator(now=pages.now)))


async def add(ops: Reader, name: str, **facts: str) -> str:
    """A model that a page added; the address of its page."""
    await ops.write("/ops/models/new", **NEEDED, id=f"acme/{name}", summary="One.", **facts)
    return f"/ops/models/acme/{name}"


async def test_a_model_is_added_with_its_page_to_come_and_edited_against_somebody_faster(ops: Reader) -> None:
    form = await ops.open("/ops/models/new")
    refused = await ops.send(form, status=400, **NEEDED | {"dimensions": "wide"}, id="acme/first", summary="S.")
    assert form_of(refused).fields["dimensions"] == "wide"
    assert "aria-invalid" in refused.text
    prompts = 'query=find:\ndocument="a:\\nb "'
    proposed = await ops.send(
        form, 200, **NEEDED, id="acme/first", summary="S.", prompts=prompts, trained_dimensions="64"
    )
    assert form_of(proposed).button == "Add acme/first"
    assert "As the page of acme/first would show it" in words_of(proposed)
    assert "Dimensions 384 shortens to 64" in words_of(proposed)
    done = words_of(await ops.confirm(proposed))
    assert "It is done" in done
    assert "It has no license" in done

    edit = "/ops/models/acme/first/edit"
    late = await ops.open(edit)
    assert form_of(late).fields["prompts"] == prompts
    await ops.write(edit, note="Theirs.", languages="de")
    mine = await ops.send(late, status=409, summary="Mine, typed at length.", pooling="mean")
    assert "Somebody else changed it" in words_of(mine)
    assert "Note Theirs." in words_of(mine)
    assert form_of(mine).fields["summary"] == "Mine, typed at length."
    proposed = await ops.send(mine, reason="Read again.")
    assert "\N{MINUS SIGN} S." in words_of(proposed)
    assert "+ Mine, typed at length." in words_of(proposed)
    assert "Pooling undisclosed mean" in words_of(proposed)
    done = words_of(await ops.confirm(proposed))
    assert "Mine, typed at length." in done
    assert "Read again." in done
    await ops.write(edit, trained_dimensions="", prompts="", note="")
    assert "Trained widths nothing" in words_of(await ops.open("/ops/models/acme/first"))


async def test_a_fact_is_set_with_its_source_and_goes_with_it(ops: Reader) -> None:
    base = await add(ops, "fact")
    form = await ops.open(f"{base}/facts/new?fact=architecture")
    assert form_of(form).fields | {"fact": "architecture", "stated_on": TODAY} == form_of(form).fields
    wrong = await ops.send(form, status=400, **SOURCE | {"evidence": "card"}, here="Qwen3")
    assert "Its evidence is a link" in words_of(wrong)
    proposed = await ops.send(form, 200, **SOURCE, here="Qwen3", reason="Its card says so.")
    assert form_of(proposed).button == "Add a fact to acme/fact"
    assert "Architecture Qwen3 Source: Acme's card , 2026-11-24" in words_of(proposed)
    shown = words_of(await ops.confirm(proposed))
    assert re.search(r"Architecture Qwen3 Acme's card , 2026-11-24 mem_\w+, 2\d{3}-", shown)
    changed = await ops.send(await ops.open(f"{base}/facts/1"), source="Acme's letter")
    assert form_of(changed).button == "Change the fact architecture by Acme's card of acme/fact"
    assert "Who says so Acme's card Acme's letter" in words_of(changed)
    await ops.confirm(changed)
    kept = await ops.send(await ops.open(f"{base}/facts/1/withdraw"), status=400)
    assert "needs a source" in words_of(kept)
    gone = words_of(await ops.confirm(await ops.send(await ops.open(f"{base}/facts/1/withdraw"), clears="1")))
    assert "Architecture missing no source" in gone
    await ops.open(f"{base}/facts/1", status=404)

    wide = await ops.send(await ops.open(f"{base}/facts/new?fact=dimensions"), 200, **SOURCE, here="512")
    assert "Dimensions 512" in words_of(wide)
    priced = await ops.send(await ops.open(f"{base}/estimate"), usd_per_mtok="0.02", source="Its list")
    assert "est. $0.02 per 1M tokens" in words_of(priced)
    await ops.confirm(priced)
    await ops.write(f"{base}/downloads", per_month="41100", source="A hub")
    await ops.write(f"{base}/benchmarks/new", name="MTEB", value="64.55", unit="of 100", measured_by="Acme", **SOURCE)
    shown = words_of(await ops.open(base))
    assert "0.02 USD per 1M tokens" in shown
    assert "41,100 a month" in shown
    assert "MTEB : 64.55 (of 100), measured by Acme" in shown
    await ops.write(f"{base}/estimate/withdraw")
    await ops.open(f"{base}/estimate/withdraw", status=404)


async def test_a_text_is_compared_line_by_line_and_shown_as_the_page_would(ops: Reader, pages: Pages) -> None:
    base = await add(ops, "text")
    form = await ops.open(f"{base}/texts/new?section=about")
    proposed = await ops.send(form, 200, **SOURCE, body=HOSTILE)
    assert form_of(proposed).button == "Add a text to acme/text"
    for hostile in ("<script>alert", 'href="javascript:', "<img"):
        assert hostile not in proposed.text.partition('class="preview"')[2].partition("</main>")[0]
    assert "<h3>Big</h3>" in proposed.text
    assert "漢字" in words_of(proposed)
    await ops.confirm(proposed)
    await ops.write(f"{base}/texts/new", **SOURCE, section="faq", title="Why?", body="Because.")
    await ops.write(f"{base}/texts/new", **SOURCE, section="about", body="Before the first.", position="1")

    late = await ops.open(f"{base}/texts/2")
    assert (
        form_of(late)
        .fields["body"]
        .endswith("\N{LEFT-POINTING ANGLE BRACKET}U+200F\N{RIGHT-POINTING ANGLE BRACKET}(1) 漢字")
    )
    await ops.write(f"{base}/texts/2", body=f"{HOSTILE}\n\nTheirs.")
    await ops.write(f"{base}/texts/1/withdraw", reason="It said nothing.")
    # What was opened as the second text is the first now.
    mine = await ops.send(late, status=409, body="# Big\n\nMine.")
    assert "+ Theirs." in words_of(mine)
    assert form_of(mine).fields["body"] == "# Big\n\nMine."
    proposed = await ops.send(mine)
    assert form_of(proposed).button == "Change the text About of acme/text"
    assert "\N{MINUS SIGN} Theirs." in words_of(proposed)
    assert "+ Mine." in words_of(proposed)
    await ops.confirm(proposed)
    await pages.context.reads.catch_up()
    texts = [text.body for text in pages.context.reads.catalog.get("acme/text").texts]  # type: ignore[union-attr]
    assert texts == ["# Big\n\nMine.", "Because."]

    marked = await ops.send(
        await ops.open(f"{base}/texts/1"),
        body="(1)\N{LEFT-POINTING ANGLE BRACKET}U+200F\N{RIGHT-POINTING ANGLE BRACKET}",
    )
    await ops.confirm(marked)
    await pages.context.reads.catch_up()
    assert pages.context.reads.catalog.get("acme/text").texts[0].body == "(1)\u200f"  # type: ignore[union-attr]
    far = await ops.send(await ops.open(f"{base}/texts/1"), status=400, body="x" * 8001)
    assert "A text has 1 to 8000 characters." in words_of(far)


async def test_a_move_says_who_is_mailed_and_names_a_successor(ops: Reader, pages: Pages) -> None:
    base = await add(ops, "old")
    refused = await ops.send(await ops.open(f"{base}/launch"), status=409, reason="Now.")
    assert "It has no price in force" in words_of(refused)
    wrong = await ops.send(await ops.open(f"{base}/retire"), status=404, successor="acme/nobody")
    assert form_of(wrong).fields["successor"] == "acme/nobody"
    proposed = await ops.send(await ops.open(f"{base}/retire"), successor=SEEDED, reason="It is better.")
    assert form_of(proposed).button == "Retire acme/old"
    assert f"Successor none {SEEDED}" in words_of(proposed)
    assert "Nobody is mailed." in words_of(proposed)
    assert f"{SEEDED} takes its place." in words_of(proposed)
    assert "Announce it again" in words_of(await ops.confirm(proposed))
    seen = words_of(await pages.reader().get("/models/acme/old"))
    assert f"{SEEDED} takes its place." in seen
    finance = Reader(pages.reader(an_operator(Role.FINANCE_ADMIN, now=pages.now), "fred"))
    assert "Its latest changes" in words_of(await finance.open(base))
    await finance.open(f"{base}/edit", status=403)


@pytest.fixture(scope="module")
def used(build: DatabaseBuilder, account: AccountId) -> str:
    """A live model that the account called today, with a key that may call no other."""
    model = build.a_model("tests/used")
    build.an_endpoint(model, "http://127.0.0.1:1", name="used")
    build.rows(_CALLED, account, model)
    build.rows(_COUNTED, account, model)
    build.a_key(account)
    build.rows("UPDATE keys SET models = ARRAY[$1]", model)
    return model


async def test_who_used_a_model_of_late_is_named_before_it_ends(ops: Reader, used: str, account: AccountId) -> None:
    proposed = await ops.send(await ops.open(f"/ops/models/{used}/deprecate"), reason="A better one is there.")
    seen = words_of(proposed)
    assert "By the last 30 days: 1 account, 1 call, 1,000,000 tokens." in seen
    assert "1 account is mailed at 0 addresses" in seen
    assert "1 key names it among the models that may be called; 1 of them names no other." in seen
    assert "Acme 1 1,000,000 yes" in seen
    assert wire(AccountId, account) in proposed.text
    assert "It is deprecated: it is served on" in seen
    assert "Retire it" in words_of(await ops.confirm(proposed))


async def test_the_list_finds_what_is_asked_for_and_costs_the_same_for_one_and_a_thousand(
    ops: Reader, pages: Pages, build: DatabaseBuilder
) -> None:
    counts = []
    for fill in (None, _MANY):
        if fill is not None:
            await asyncio.to_thread(build.rows, fill)
            await pages.context.reads.catch_up()
        for path in (
            "/ops/models",
            f"/ops/models/{SEEDED}",
            f"/ops/models/{SEEDED}/edit",
            f"/ops/models/{SEEDED}/texts/1",
        ):
            await ops.open(path)
            with pages.counted() as statements:
                await ops.open(path)
            counts.append(len([one for one in statements if "set_config" not in one]))
    half = len(counts) // 2
    assert counts[:half] == counts[half:]
    assert max(counts) <= 6
    assert "100 of 1000 models" in words_of(await ops.open("/ops/models?q=many&sort=-votes"))
    assert "many/m999" in words_of(await ops.open("/ops/models?q=many&page=10"))
    seen = words_of(await ops.open("/ops/models?lacks=facts&status=coming_soon&q=m7+MANY"))
    assert "many/m7 ◌ coming soon ? license unknown published on, parameters" in seen
    assert "No model fits" in words_of(await ops.open("/ops/models?q=nothing-like-it"))


_CALLED = """
INSERT INTO usage_events (request_id, occurred_at, account_id, key_id, model_id, provider_id, endpoint_id, space,
    inputs, tokens, price_id, nano_per_mtok, cost_nano, charged_nano, overdraft_nano, held_nano, provider_cost_nano,
    latency_ms, attempts)
SELECT gen_random_uuid(), now() - interval '1 minute', $1, e.id, e.model_id, e.provider_id, e.id, 's', 1, 1000000, e.id,
    0, 0, 0, 0, 0, 0, 90, 1
FROM endpoints e WHERE e.model_id = $2
"""
_COUNTED = """
INSERT INTO usage_by_day SELECT (jsonb_populate_record(NULL::usage_by_day, (
    SELECT jsonb_object_agg(column_name, 0) FROM information_schema.columns
    WHERE table_name = 'usage_by_day' AND data_type = 'bigint'
) || jsonb_build_object('account_id', CAST($1 AS uuid), 'at', now(), 'key_id', gen_random_uuid(),
    'model_id', CAST($2 AS text), 'lane', 'interactive', 'provider_id', gen_random_uuid(), 'calls', 1))).*
"""
_MANY = """
INSERT INTO models (id, owned_by, summary, status, dimensions, max_input_tokens, normalized, pooling, numerics, space)
SELECT 'many/m' || n, 'many', 'One.', 'coming_soon', 8, 8, true, 'undisclosed', 'undisclosed', 'many-' || n
FROM generate_series(0, 999) n
"""
