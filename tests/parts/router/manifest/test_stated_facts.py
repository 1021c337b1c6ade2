"""What sources state of a model goes through the catalogue file with its sources, and comes back the same."""

import re
from datetime import UTC, datetime

import pytest

from catalog import models
from router.changes.audit import list_changes
from router.manifest import current_state, export
from router.manifest.values import FileRefused
from store.postgres import Database
from tests.builders.manifest import EXAMPLE, MODEL, apply, plan

pytestmark = pytest.mark.anyio

DESCRIBED = """\
    architecture: Qwen3
    updated_on: 2026-05
    language_codes: [no, de]
    downloads: {per_month: 41_100, source: Acme, stated_on: 2026-11-24, evidence: ""}
    statements:
      - {fact: updated_on, source: Acme, stated_on: 2026-11-24}
      - {fact: architecture, value: a Qwen3, source: Acme, stated_on: 2026-11-24, evidence: "https://acme.example"}
      - {fact: language_codes, source: Acme, stated_on: 2026-11-24}
    benchmarks:
      - {name: MTEB, value: 67.10, unit: mean, measured_by: Acme, source: Acme, stated_on: 2026-11-24}
    texts:
      - {section: training, body: "Last on the page, first here.", source: Acme, stated_on: 2026-11-24}
      - {section: about, body: "A *model*.", source: Acme, stated_on: 2026-11-24}
"""


async def test_what_sources_state_goes_through_a_file_and_back(db: Database) -> None:
    described = EXAMPLE.replace("    aliases: [embed-1]\n", "    aliases: [embed-1]\n" + DESCRIBED)
    assert described != EXAMPLE
    await apply(db, described)
    async with db.transaction() as connection:
        model = await models.get(connection, MODEL)
        written = export.manifest_text(await current_state.load(connection, "file", datetime.now(UTC)))
    assert model.language_codes == ("de", "no")  # plain words, and no is no false
    assert [text.section.value for text in model.texts] == ["training", "about"]
    assert (model.benchmarks[0].value, model.downloads and model.downloads.per_month) == ("67.10", 41_100)
    for file in (described, written):
        assert not (await plan(db, file)).diff.steps, file
    again = described.replace("A *model*.", "A *good* model.")
    await apply(db, again)
    async with db.transaction() as connection:
        edited = [row.change for row in await list_changes(connection) if row.change.action == "model.edit"]
    assert [list(change.after or {}) for change in edited] == [["texts"]]
    for instead, place in (
        (described.replace("section: about", "section: intro"), "texts[1].section"),
        (
            described.replace(
                "source: Acme, stated_on: 2026-11-24}\n      - {fact: arch", "stated_on: 1}\n      - {fact: arch"
            ),
            "statements[0]",
        ),
    ):
        with pytest.raises(FileRefused, match=re.escape(place)):
            await plan(db, instead)
