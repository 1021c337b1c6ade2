"""The status page says what the statistics say, and nothing where they say nothing: unknown is never well."""

import xml.etree.ElementTree as ElementTree
from datetime import date, timedelta
from functools import partial

import pytest

from router.admin.incidents import open_incident, update_incident
from router.changes.transaction import UnitOfWork
from router.statistics.collect import StatisticsCollector
from router.statistics.counts import Counts
from router.statistics.incidents import Impact, IncidentState
from router.statistics.read import StatisticsState
from router.statistics.status import Level, status_of
from router.statistics.sums import sum_statistics
from router.values import Trace
from store.ids import IncidentId, ModelId
from tests.builders.database import DatabaseBuilder
from tests.builders.values import NOW, a_key, a_model
from tests.harness.pages import Pages

pytestmark = pytest.mark.anyio
MODEL = ModelId("acme/served")
LOST = "<b>lost</b> & found"


@pytest.fixture(scope="module")
def served(build: DatabaseBuilder) -> ModelId:
    model = build.a_model(MODEL)
    build.rows("UPDATE models SET status = 'live' WHERE id = $1", model)
    return model


async def opened(models: list[ModelId], work: UnitOfWork) -> IncidentId:
    return await open_incident(
        work, title=LOST, impact=Impact.OUTAGE, models=models, message="We look.\x0b", began_at=None
    )


@pytest.fixture(scope="module")
def incidents(build: DatabaseBuilder, served: ModelId) -> list[IncidentId]:
    """One that was resolved, and one of the model that goes on."""
    made = [build.as_app(partial(opened, of)) for of in ([], [served])]
    state = IncidentState.RESOLVED
    build.as_app(lambda work: update_incident(work, made[0], state=state, message="It was a cable."))
    return made


async def test_calls_make_a_day_and_a_model_that_nobody_calls_is_unknown(
    pages: Pages, served: ModelId, incidents: list[IncidentId]
) -> None:
    async with pages.reader() as reader:
        early = await reader.get("/status")
        assert "The statistics are late: there are none yet" in early.text
        collector, model = StatisticsCollector(), a_model(MODEL)
        for number in range(100):
            refused = number < 30
            trace = Trace(key=a_key(), model=model)
            status, code = (
                (402, "credit_exhausted") if refused else (503, "upstream_timeout") if number > 98 else (200, "")
            )
            collector.count_call(pages.now, status, code, trace)
        connection = await pages.context.writes.db.connect()
        await collector.write(connection, pages.now)
        await connection.close()
        await sum_statistics(pages.context.writes.db, pages.now)
        with pages.counted() as statements:
            page = await reader.get(f"/status?model={MODEL}")
        assert (page.status_code, len(statements) <= 6) == (200, True)
        assert "The statistics are late" not in page.text
        found = (await reader.get("/status.json")).json()
        by_name = {model["name"]: model for model in found["models"]}
        # 69 of 70: customers' faults are left out; and an outage that goes on is down whatever the calls say.
        assert by_name[MODEL]["days"][-1]["availability"] == pytest.approx(69 / 70)
        assert by_name[MODEL]["status"] == "down"
        assert found["service"]["status"] == "degraded"
        assert all(day["level"] == "unknown" for day in by_name[MODEL]["days"][:-1])
        others = [model["status"] for name, model in by_name.items() if name != MODEL]
        assert set(others) <= {"unknown"}
        assert "&lt;b&gt;lost&lt;/b&gt; &amp; found" in page.text
        assert "It was a cable." in page.text
        feed = ElementTree.fromstring((await reader.get("/status.atom")).content)
        entries = feed.findall("{http://www.w3.org/2005/Atom}entry")
        assert [entry.findtext("{http://www.w3.org/2005/Atom}title") for entry in entries] == [LOST] * 2
        assert (await reader.get("/status?model=none/none")).status_code == 200
        assert (await reader.get("/status?colour=red")).status_code == 400


def test_late_statistics_say_nothing_of_now_and_an_incident_says_it_all_the_same() -> None:
    well: dict[str, Counts] = {MODEL: Counts(answered=1_000)}
    days: dict[str, dict[date, Counts]] = {
        MODEL: {NOW.date(): Counts(answered=1_000), (NOW - timedelta(days=1)).date(): Counts(providers=30)}
    }
    late = StatisticsState(NOW - timedelta(minutes=10), NOW)
    status = status_of(days, well, late, (), [MODEL, "acme/quiet"], NOW)
    assert (status.is_late, status.service.now, status.models[0].now) == (True, Level.UNKNOWN, Level.UNKNOWN)
    fresh = StatisticsState(NOW, NOW)
    status = status_of(days, well, fresh, (), [MODEL, "acme/quiet"], NOW)
    assert [model.now for model in status.models] == [Level.OK, Level.UNKNOWN]
    assert [day.level for day in status.models[0].days[-3:]] == [Level.UNKNOWN, Level.DOWN, Level.OK]
