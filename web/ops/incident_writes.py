"""What operators say of incidents, each as a page that shows first how the status page will have it."""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
from typing_extensions import override

from router.api.in_process import Outcome
from router.statistics.incidents import Impact, Incident, IncidentState
from router.statistics.status import read_status, with_incident
from web.answers import Answer
from web.faults import NotFound
from web.forms import ConfirmPage
from web.ops.incidents import INCIDENTS, incident_of
from web.ops.write import OPERATIONS, Field, Json, Write
from web.parts.tables import Column
from web.public.status import SERVED, IncidentRow, incident_row
from web.request import PageRequest

LEVELS_HEAD = (Column("What"), Column("Now"), Column("Then"))
STATES = tuple((state.value, state.value) for state in IncidentState)
GOING_ON = tuple(pair for pair in STATES if pair[0] != IncidentState.RESOLVED)
REASON = Field(
    name="reason", label="Reason", kind="area", hint="For whoever looks next; the audit has it, the status page not."
)
MESSAGE = Field(name="message", label="What customers read", kind="area", is_required=True)
FACTS = (
    Field(
        name="title", label="What does not work", hint="In a few words, as customers would say it.", is_required=True
    ),
    Field(
        name="impact",
        label="Impact",
        kind="choice",
        options=tuple((impact.value, impact.value) for impact in Impact),
        initial=Impact.DEGRADED.value,
    ),
    Field(
        name="models",
        label="Models that it touches",
        kind="list",
        hint="By id or alias, with commas between; empty: the whole service.",
        is_empty_sent=True,
    ),
)
BEGAN_AT = Field(name="began_at", label="Began at", hint="Such as 2027-01-31T14:00:00Z; it can be ahead.")
NAMES = {"title": "Title", "impact": "Impact", "touches": "Touches", "began_at": "Began"}
SAID = {"state": "State", "latest": "What customers read"}
ONE = "/ops/incidents/{incident}"


class LevelChange(msgspec.Struct, frozen=True):
    """How the service or a model stands on the status page, now and then."""

    name: str
    now: str
    then: str


class ShownIncidentPage(ConfirmPage, frozen=True, kw_only=True):
    """What would change, and how the status page would show it."""

    template: ClassVar[str] = "ops/confirm_incident.html"

    said: Incident
    incident: IncidentRow
    levels: tuple[LevelChange, ...] = ()
    levels_head: tuple[Column, ...] = LEVELS_HEAD


class IncidentWrite(Write, frozen=True, kw_only=True):
    """A write about an incident. ``fixed`` is what its body says beside what is typed.

    The object has, beside its own fields, what it ``touches`` in words, and the ``state`` and the ``message`` of the
    update of the path; or, where the path names none, the state and message of the latest, as ``latest``.
    """

    fixed: Mapping[str, str] = {}

    @override
    async def act(self, request: PageRequest) -> Answer:
        answer = await Write.act(self, request)
        if not isinstance(answer, ShownIncidentPage):
            return answer
        return msgspec.structs.replace(answer, levels=await _levels(request, answer.said))

    @override
    async def _read(self, request: PageRequest) -> tuple[Json, str]:
        thing, version = await Write._read(self, request)
        return self._view(request, thing), version

    @override
    async def _run(self, request: PageRequest, **how: Any) -> Outcome[Json]:
        outcome = await Write._run(self, request, **how)
        return msgspec.structs.replace(outcome, value=self._view(request, outcome.value))

    @override
    def _body(self, request: PageRequest, form: tuple[tuple[str, str], ...]) -> Json | None:
        return {**(Write._body(self, request, form) or {}), **self.fixed}

    @override
    async def _confirmation(self, request: PageRequest, before: Json, after: Outcome[Json]) -> ConfirmPage:
        page = await Write._confirmation(self, request, before, after)
        facts = {name: getattr(page, name) for name in page.__struct_fields__}
        said = incident_of(after.value)
        return ShownIncidentPage(**facts, said=said, incident=incident_row(said))

    @override
    def _impact(self, request: PageRequest, after: Json) -> None:
        """An incident's impact is a word of its own, not whom a price touches."""

    def _view(self, request: PageRequest, thing: Json) -> Json:
        """Raises ``NotFound`` where the incident has no update as the path names it."""
        if not thing:
            return thing
        named = request.values.get("update")
        update = next((one for one in thing["updates"] if named in (None, one["id"])), None)
        if update is None:
            raise NotFound
        message = {"message" if named else "latest": update["message"]}
        touches = ", ".join(thing["models"]) or "the whole service"
        return {**thing, **message, "state": update["state"], "touches": touches}


async def _levels(request: PageRequest, said: Incident) -> tuple[LevelChange, ...]:
    """How the service and the models that it touches or touched stand now, and would."""
    reads = request.context.reads
    models = sorted(model.id for model in reads.catalog.all() if model.status in SERVED)
    async with reads.db.transaction() as connection:
        now = await read_status(connection, models, request.exchange.now)
        then = with_incident(now, said)
    pairs = zip((now.service, *now.models), (then.service, *then.models), strict=True)
    return tuple(
        LevelChange("The service" if before is now.service else before.name, before.now.value, after.now.value)
        for before, after in pairs
        if before is now.service or before.now is not after.now or before.name in said.models
    )


OPEN = IncidentWrite(
    operation="open_incident",
    verb="Open the incident",
    explanation="It is on the status page and in its feeds at once, and cannot be taken back, but corrected.",
    name="title",
    fields=(*FACTS, BEGAN_AT, MESSAGE, REASON),
    names={**NAMES, **SAID},
    back=INCIDENTS.href or "",
    done="/ops/incidents/{id}",
    crumbs=(OPERATIONS, INCIDENTS),
    is_dangerous=True,
)


def _write(operation: str, verb: str, explanation: str, **more: Any) -> IncidentWrite:  # noqa: ANN401 - its fields
    return IncidentWrite(
        operation=operation,
        verb=verb,
        explanation=explanation,
        name="title",
        values={"incident_id": "incident"} | more.pop("values", {}),
        reads="retrieve_incident",
        back=ONE,
        crumbs=(OPERATIONS, INCIDENTS),
        **more,
    )


UPDATE = _write(
    "update_incident",
    "Say how it stands:",
    "What is known now, above what was said before.",
    fields=(Field(name="state", label="State", kind="choice", options=GOING_ON), MESSAGE, REASON),
    names=SAID,
)
RESOLVE = _write(
    "update_incident",
    "Resolve",
    "It ended. The status page has it among those of ninety days, with this as its last word.",
    fields=(MESSAGE, REASON),
    fixed={"state": IncidentState.RESOLVED.value},
    names=SAID,
)
EDIT = _write(
    "edit_incident",
    "Change what is touched by",
    "Title, impact, models and beginning, also after its end. The status page shows what is set last.",
    fields=(*FACTS, BEGAN_AT, REASON),
    names=NAMES,
)
CORRECT = _write(
    "correct_incident",
    "Correct what was said of",
    "It stays at its own time on the status page, which says that it was corrected. Another state instead of resolved "
    "opens the incident again.",
    values={"update_id": "update"},
    fields=(Field(name="state", label="State", kind="choice", options=STATES), MESSAGE, REASON),
    names={"state": "State", "message": "What customers read"},
)
