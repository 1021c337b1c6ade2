"""Operators say what does not work; it is shown first as the status page, its JSON and its Atom will have it."""

import xml.etree.ElementTree as ElementTree
from datetime import timedelta

import pytest

from router.identity.members import Role
from store.ids import ModelId
from tests.builders.database import DatabaseBuilder
from tests.harness.pages import Pages, an_operator
from tests.harness.reading import Reader, form_of, words_of

pytestmark = pytest.mark.anyio
MODEL = ModelId("acme/served")
ATOM = "{http://www.w3.org/2005/Atom}"


@pytest.fixture(scope="module", autouse=True)
def served(build: DatabaseBuilder) -> None:
    build.rows("UPDATE models SET status = 'live' WHERE id = $1", build.a_model(MODEL))


async def feeds_agree(public: Reader) -> dict[str, str]:
    """What the Atom feed says of the newest incident, after it was compared with the JSON."""
    found = (await public.open("/status.json")).json()["incidents"]
    entries = ElementTree.fromstring((await public.open("/status.atom")).content).findall(f"{ATOM}entry")
    texts = [{child.tag.removeprefix(ATOM): child.text or "" for child in entry} for entry in entries]
    for one, entry in zip(found, texts, strict=True):
        assert (one["title"], one["updated_at"][:19]) == (entry["title"], entry["updated"].rstrip("Z"))
        assert all(message in entry["content"] for _, _, message, _ in one["updates"])
        assert (", ".join(one["models"]) or "the whole service") in entry["content"]
    return texts[0]


async def test_an_incident_is_opened_updated_changed_resolved_and_corrected(pages: Pages) -> None:
    ops, public = Reader(pages.reader(an_operator(now=pages.now), "olga")), Reader(pages.reader())
    assert "None goes on." in words_of(await ops.open("/ops/incidents"))
    facts = {"title": "Answers are slow", "impact": "degraded", "message": "We look.", "reason": "p95 alarm"}
    shown = await ops.send(await ops.open("/ops/incidents/new"), 200, **facts)
    assert form_of(shown).button == "Open the incident Answers are slow"
    assert "How the status page will show it Answers are slow degraded · investigating" in words_of(shown)
    assert "The service ? unknown ◐ degraded" in words_of(shown)
    assert "Answers are slow" not in (await public.open("/status")).text
    opened = await ops.confirm(shown)
    one = str(opened.url.path)
    assert "It is done" in words_of(opened)
    entry = await feeds_agree(public)
    assert entry["content"].startswith("degraded: the whole service")
    assert "p95 alarm" not in (await public.open("/status")).text + entry["content"]

    touched = await ops.send(await ops.open(f"{one}/edit"), models=MODEL, impact="outage", reason="One model alone.")
    assert "Touches the whole service acme/served" in words_of(touched)
    assert "The service ◐ degraded ◐ degraded as before acme/served ◐ degraded ✕ down" in words_of(touched)
    await ops.confirm(touched)
    await ops.write(f"{one}/update", state="identified", message="It is a cable.")
    entry = await feeds_agree(public)
    assert entry["content"].startswith(f"outage: {MODEL}")
    resolved = words_of(await ops.write(f"{one}/resolve", message="It is mended.", reason="The p95 is back."))
    assert "Resolve it" not in resolved
    assert "None goes on." in words_of(listed := await ops.open("/ops/incidents"))
    assert "Answers are slow" in words_of(listed)

    # The update that ended it was wrong: what is put right stands at its own time, and it goes on again.
    link = (await ops.open(one)).text.partition("/updates/")[2].partition('"')[0]
    form = await ops.open(f"{one}/updates/{link}")
    assert form_of(form).fields["message"] == "It is mended."
    again = words_of(await ops.write(f"{one}/updates/{link}", state="monitoring", message="It is mended, we watch."))
    assert "Resolve it" in again
    status = words_of(await public.open("/status"))
    assert "Going on Answers are slow outage · monitoring" in status
    assert "It is mended, we watch. Corrected" in status
    assert "(corrected " in (await feeds_agree(public))["content"]
    emptied = words_of(await ops.write(f"{one}/edit", models=""))
    assert "Touches the whole service" in emptied
    earlier = (await ops.open(one)).text.rpartition("/updates/")[2].partition('"')[0]
    refused = await ops.send(await ops.open(f"{one}/updates/{earlier}"), status=400, state="resolved", message="No.")
    assert "Only the latest update can say that it is resolved." in words_of(refused)
    assert form_of(refused).fields["message"] == "No."


async def test_what_another_operator_said_meanwhile_is_shown_and_nothing_typed_is_lost(pages: Pages) -> None:
    ops, other = (Reader(pages.reader(an_operator(now=pages.now), name)) for name in ("olga", "otto"))
    ahead = f"{pages.now + timedelta(days=2):%Y-%m-%dT%H:%M:%SZ}"
    facts = {"title": "A new machine", "impact": "maintenance", "message": "Calls wait a minute.", "began_at": ahead}
    one = str((await ops.write("/ops/incidents/new", **facts)).url.path)
    assert "Planned A new machine" in words_of(await Reader(pages.reader()).open("/status"))
    form = await ops.open(f"{one}/update")
    await other.write(f"{one}/update", state="identified", message="It is at hand.")
    refused = await ops.send(form, status=409, state="monitoring", message="My own words.", reason="Mine.")
    said = words_of(refused)
    assert "Somebody else changed it meanwhile" in said
    assert "What customers read Calls wait a minute. It is at hand." in said
    assert form_of(refused).fields["message"] == "My own words."
    done = words_of(await ops.confirm(await ops.send(refused)))
    assert "My own words." in done
    with pages.counted() as statements:
        await ops.open(one)
    assert len(statements) <= 6
    reads = Reader(pages.reader(an_operator(Role.FINANCE_ADMIN, now=pages.now), "fred"))
    assert "My own words." in words_of(await reads.open(one))
    await reads.open(f"{one}/update", status=403)
    assert "It was put off." in words_of(await ops.write(f"{one}/resolve", message="It was put off."))
    for path in ("/ops/incidents/incident_0", f"{one}/updates/update_{'0' * 32}", f"{one}/updates/key_0"):
        await ops.open(path, status=404)
