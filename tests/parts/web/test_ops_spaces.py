"""A vector space's page: distances over time with what is allowed, and each quarantine, drawn and in tables."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from store.ids import EndpointId, new_id, wire
from tests.builders.database import DatabaseBuilder
from tests.harness.pages import Pages, an_operator
from tests.harness.reading import Reader, words_of

pytestmark = pytest.mark.anyio

MODEL = "tests/drifting"
PROBE = "INSERT INTO probes (id, endpoint_id, at, occasion, verdict, report) VALUES ($1, $2, $3, 'periodic', $4, $5)"


def a_report(distance: float) -> str:
    """A full verification; the texts that are drawn are further apart than any of the reference."""
    steps = [("in one batch", distance), ("alone", distance / 2), ("drawn texts", 0.5)]
    agreements = [
        {"name": name, "agreement": {"rows": 24, "cosine_min": 1 - apart, "cosine_median": 1 - apart / 10}}
        for name, apart in steps
    ]
    return json.dumps({"steps": agreements})


class Drifted(NamedTuple):
    space: str
    far: str


@pytest.fixture(scope="module")
def drifted(build: DatabaseBuilder) -> Drifted:
    model = build.a_model(MODEL)
    for place, name in enumerate(("near", "far")):
        build.an_endpoint(model, f"http://127.0.0.1:{place + 1}", name=name)
    now = datetime.now(UTC)
    rows = build.rows(
        "SELECT e.id, p.name FROM endpoints e JOIN providers p ON p.id = provider_id WHERE model_id = $1", model
    )
    ids: dict[str, Any] = {row["name"]: row["id"] for row in rows}
    for number in range(20):
        at, distance = now - timedelta(hours=6 * number, minutes=1), 0.0001 * (20 - number)
        build.rows(PROBE, new_id(at), ids["near"], at, "same_space", a_report(distance))
    build.rows(PROBE, new_id(), ids["far"], now - timedelta(minutes=1), "no_answer", "{}")
    audit = (
        "INSERT INTO audit (id, at, actor, action, subject, after, reason)"
        " VALUES ($1, $2, 'jobs', 'endpoint.quarantined', $3, $4, $5)"
    )
    at = now - timedelta(hours=30)
    subject, cause = wire(EndpointId, EndpointId(ids["near"])), '{"quarantine_cause": "space_mismatch"}'
    build.rows(audit, new_id(at), at, subject, cause, "It answers <i>Latin</i>.")
    known = build.value("SELECT space FROM models WHERE id = $1", model)
    return Drifted(known, wire(EndpointId, EndpointId(ids["far"])))


async def test_a_space_shows_how_its_endpoints_drifted(pages: Pages, drifted: Drifted) -> None:
    space = drifted.space
    ops = Reader(pages.reader(an_operator(now=pages.now)))
    listed = await ops.open("/ops/spaces")
    assert f"{space} {MODEL} 2" in words_of(listed)
    [href] = re.findall(rf'href="(/ops/spaces/[^"]*)">{re.escape(space)}<', listed.text)
    await ops.open(href)
    with pages.counted() as statements:
        shown = await ops.open(href)
    assert len([one for one in statements if "set_config" not in one]) <= 6
    seen = words_of(shown)
    # The largest distance of the reference's texts; those that were drawn are measured otherwise.
    assert f"{MODEL} at near" in seen
    assert "same space 0.002 0.0002" in seen
    assert "no answer not measured not measured" in seen
    assert "space mismatch It answers <i>Latin</i>." in seen
    assert shown.text.count('class="level"') == 1
    assert re.search(r'class="event"[^>]*><title>[^<]*quarantined[^<]*Latin', shown.text)
    [values] = re.findall(rf'data-name="{MODEL} at near" data-values="([^"]*)"', shown.text)
    drawn = [float(value) for value in values.split("|") if value]
    assert drawn == sorted(drawn)
    assert max(drawn) == pytest.approx(0.002)
    # The table has each number that is drawn.
    assert len(re.findall(rf'<th scope="row">{MODEL} at near</th>', shown.text)) == len(drawn)


async def test_a_span_and_an_endpoint_are_in_the_address(pages: Pages, drifted: Drifted) -> None:
    ops = Reader(pages.reader(an_operator(now=pages.now)))
    base, far = f"/ops/spaces/{drifted.space}", drifted.far
    one = await ops.open(f"{base}?days=1&endpoint={far}")
    assert "None in this span" in words_of(one)
    assert "near" not in words_of(one).partition("Quarantines")[0]
    assert f'href="/ops/spaces/{quote(drifted.space)}?endpoint={far}"' in (await ops.open(f"/ops/endpoints/{far}")).text
    for address in (f"{base}?endpoint=ep_{'0' * 32}", f"{base}?endpoint=x", "/ops/spaces/none"):
        await ops.open(address, status=404)
    await ops.open(f"{base}?days=2", status=400)
