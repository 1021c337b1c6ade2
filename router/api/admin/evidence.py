"""``/admin/v1/evidence``: what customers know better of a model's license; each is looked at once and closed."""

from typing import Annotated, ClassVar, Literal

from fastapi import Query
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncConnection

from catalog import evidence
from catalog.evidence import Evidence, EvidenceState
from router.admin.evidence import resolve_evidence
from router.api.admin.references import model_id_of
from router.api.admin.request import Read, Write
from router.api.fields import AccountIdText, EvidenceIdText, Instant, ModelRef, text_of
from router.api.forms import Body, Page, PageQuery, Resource, answer_of
from router.api.operation import ALL, OPS, V1, Operations
from router.changes.transaction import UnitOfWork
from router.errors import NotFound
from store.ids import EvidenceId, wire

operations = Operations("evidence", f"{V1}/evidence", tag="Licenses", one="evidence")


class EvidenceOut(Resource):
    """What a customer sent, and what became of it."""

    columns: ClassVar[tuple[str, ...]] = ("id", "model", "state", "link", "account", "sent_at")

    id: EvidenceIdText
    model: str
    account: AccountIdText
    body: str = Field(description="Their words: an outsider's text, to be judged.")
    link: str
    sent_by: str
    sent_at: Instant
    state: EvidenceState
    note: str = Field(description="What was done with it.")
    decided_by: str | None
    decided_at: Instant | None
    object: Literal["evidence"] = "evidence"


class EvidenceQuery(PageQuery):
    """Which evidence."""

    model: ModelRef | None = Field(None, description="That of this model, by id or alias.")
    state: EvidenceState | None = Field(None, description="open, accepted or rejected.")


class EvidenceResolve(Body):
    """What became of it. A claim or a resolution that follows from it is recorded apart."""

    state: Literal["accepted", "rejected"] = Field(description="What it was found to be.")
    note: Annotated[str, text_of(2000)] = Field(description="What was done with it, for whoever looks next.")


@operations.get("", verb="list", summary="List evidence", roles=ALL)
async def list_(admin: Read, query: Annotated[EvidenceQuery, Query()]) -> Page[EvidenceOut]:
    """What customers sent about licenses, the oldest first."""
    after = query.after_id(EvidenceId)

    async def ask(connection: AsyncConnection) -> list[EvidenceOut]:
        model = None if query.model is None else await model_id_of(connection, query.model)
        found = await evidence.list_evidence(
            connection,
            model_id=model,
            state=query.state,
            after=None if after is None else EvidenceId(after),
            limit=query.limit + 1,
        )
        return [_out(one) for one in found]

    return admin.page(query, await admin.read(ask), lambda row: wire(EvidenceId, row.id))


@operations.get("/{evidence_id}", verb="show", summary="Retrieve evidence", roles=ALL)
async def retrieve(admin: Read, evidence_id: EvidenceIdText) -> EvidenceOut:
    """One piece of evidence."""

    async def ask(connection: AsyncConnection) -> EvidenceOut:
        found = await evidence.find(connection, evidence_id)
        if found is None:
            raise NotFound(f"There is no evidence {wire(EvidenceId, evidence_id)}.", param="evidence_id")
        return _out(found)

    return await admin.read(ask)


@operations.post("/{evidence_id}/resolve", verb="resolve", summary="Close evidence", roles=OPS)
async def resolve(admin: Write, evidence_id: EvidenceIdText, body: EvidenceResolve) -> EvidenceOut:
    """It was looked at: accepted or rejected, and what was done."""

    async def command(work: UnitOfWork) -> EvidenceOut:
        return _out(await resolve_evidence(work, evidence_id, EvidenceState(body.state), note=body.note))

    return await admin.change(command)


def _out(found: Evidence) -> EvidenceOut:
    return answer_of(EvidenceOut, found, model=found.model_id, account=found.account_id)
